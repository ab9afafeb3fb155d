// client.mjs: OpenAI's own client for JavaScript against a pool: what people's programs do, with the model that comes with Berth.
//   OPENAI_BASE_URL, OPENAI_API_KEY: the pool's /v1 and a key; run by tests/system/test_openai_client.py
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI, { APIUserAbortError, AuthenticationError, BadRequestError, NotFoundError } from "openai";

const openai = new OpenAI({ maxRetries: 0, timeout: 300_000 });
const model = "berth-tiny";
const ask = (content, more = {}) => ({ model, temperature: 0, messages: [{ role: "user", content }], ...more });

test("models are listed, also one by one", async () => {
    const names = [];
    for await (const each of openai.models.list())
        names.push(each.id);
    assert.deepEqual(names, [model]);
    assert.equal((await openai.models.retrieve(model)).id, model);
});

test("a chat, whole", async () => {
    const { data: answer, response } = await openai.chat.completions.create(ask("What is Berth?")).withResponse();
    assert.match(answer.choices[0].message.content, /^Berth /);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.equal(answer.model, model);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
    assert.ok(answer.usage.completion_tokens > 3 && answer.usage.prompt_tokens > 3);
    assert.ok(response.headers.get("x-request-id"));
});

test("a chat with history, as a stream, is the same text", async () => {
    const messages = [{ role: "system", content: "You are a helpful assistant." }, { role: "user", content: "My name is Ada." },
                      { role: "assistant", content: "Nice to meet you, Ada!" }, { role: "user", content: "What is my name?" }];
    const whole = await openai.chat.completions.create({ model, temperature: 0, messages });
    const stream = await openai.chat.completions.create({ model, temperature: 0, messages, stream: true, stream_options: { include_usage: true } });
    let text = "", finish, usage, parts = 0;
    for await (const part of stream) {
        text += part.choices[0]?.delta.content ?? "";
        finish = part.choices[0]?.finish_reason ?? finish;
        usage = part.usage ?? usage;
        parts++;
    }
    assert.equal(text, whole.choices[0].message.content);
    assert.match(text, /Ada/);
    assert.equal(finish, "stop");
    assert.equal(usage.completion_tokens, whole.usage.completion_tokens);
    assert.ok(parts > 3);
});

test("characters of several bytes arrive whole in each part", async () => {
    const stream = await openai.chat.completions.create(ask("How do you say hello in Russian?", { stream: true }));
    const parts = [];
    for await (const part of stream)
        parts.push(part.choices[0]?.delta.content ?? "");
    assert.match(parts.join(""), /\p{Script=Cyrillic}{3}/u);
    assert.ok(parts.every((p) => !p.includes("\ufffd")));
});

test("the client's own reader of streams, stop, max_tokens, seed", async () => {
    const runner = openai.chat.completions.stream(ask("Name the days of the week.", { stop: " Wednesday" }));
    assert.match((await runner.finalMessage()).content, /Tuesday,$/);
    const cut = await openai.chat.completions.create(ask("Tell me a story.", { max_tokens: 4 }));
    assert.deepEqual([cut.choices[0].finish_reason, cut.usage.completion_tokens], ["length", 4]);
    const tale = async () => (await openai.chat.completions.create(ask("Tell me a story.", { temperature: 1, seed: 5 }))).choices[0].message.content;
    assert.equal(await tale(), await tale());
});

test("completions, whole and as a stream", async () => {
    const asked = { model, prompt: "Once there was a", max_tokens: 12, temperature: 0 };
    const whole = await openai.completions.create(asked);
    assert.ok(whole.choices[0].text.length > 5);
    let text = "";
    for await (const part of await openai.completions.create({ ...asked, stream: true }))
        text += part.choices[0]?.text ?? "";
    assert.equal(text, whole.choices[0].text);
});

test("embeddings: the client asks for base64 and unpacks it", async () => {
    const { data, usage } = await openai.embeddings.create({ model, input: ["a cat", "a dog"] });
    assert.equal(data.length, 2);
    assert.ok(data[0].embedding.length >= 64);
    assert.ok(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-4);
    const plain = await openai.embeddings.create({ model, input: "a cat", encoding_format: "float" });
    assert.ok(plain.data[0].embedding.every((x, i) => Math.abs(x - data[0].embedding[i]) < 1e-4));
    assert.ok(usage.prompt_tokens > 0);
});

test("JSON by a schema", async () => {
    const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"], additionalProperties: false };
    const answer = await openai.chat.completions.create(ask("Give me JSON with the name Ada and the age 36.", {
        max_tokens: 60, response_format: { type: "json_schema", json_schema: { name: "person", schema } },
    }));
    assert.deepEqual(Object.keys(JSON.parse(answer.choices[0].message.content)), ["name", "age"]);
});

test("errors are the client's own classes", async () => {
    const other = new OpenAI({ apiKey: "not-a-key", maxRetries: 0 });
    await assert.rejects(other.models.list(), AuthenticationError);
    await assert.rejects(openai.chat.completions.create({ ...ask("x"), model: "no-such-model" }), NotFoundError);
    await assert.rejects(openai.models.retrieve("no-such-model"), NotFoundError);
    await assert.rejects(openai.chat.completions.create(ask("x", { temperature: 99 })), (e) => e instanceof BadRequestError && /temperature/.test(e.message));
    await assert.rejects(openai.chat.completions.create({ model, messages: [] }), BadRequestError);
    await assert.rejects(openai.chat.completions.create(ask("word ".repeat(20_000))), BadRequestError);
});

test("a client that breaks off, before and after the first word, leaves the model free", async () => {
    const stop = new AbortController();
    const promise = openai.chat.completions.create(ask("Tell me a story."), { signal: stop.signal });
    stop.abort();
    await assert.rejects(promise, APIUserAbortError);
    // More than the engine has places for: each must come free again.
    for (let i = 0; i < 6; i++) {
        const stream = await openai.completions.create({ model, prompt: "Once", max_tokens: 400, temperature: 2, stream: true });
        for await (const part of stream) {
            assert.ok(part.id);
            break; // the client aborts the request
        }
    }
    assert.ok((await openai.chat.completions.create(ask("Hello"))).choices[0].message.content.length > 3);
});

test("several at once", async () => {
    const answers = await Promise.all(Array.from({ length: 12 }, (_, i) => openai.chat.completions.create(ask(`What is ${i} plus 1?`))));
    assert.ok(answers.every((a) => / plus 1 is \d/.test(a.choices[0].message.content)));
});
