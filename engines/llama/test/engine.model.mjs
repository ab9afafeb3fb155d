// The program as it is, with the model that comes with Berth: real words, streams, limits, clients that leave.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import readline from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";

const here = path.dirname(fileURLToPath(import.meta.url));
const MODEL = path.join(here, "../../../models/berth-tiny.gguf");
const child = spawn(process.execPath, [path.join(here, "../server.mjs"), "--model", MODEL, "--port", "0", "--parallel", "3"],
                    { stdio: ["ignore", "pipe", "inherit"], env: { ...process.env, BERTH_ENGINE_KEY: "k" } });
const ended = once(child, "exit");
const lines = readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]();
const base = (await lines.next()).value.replace("listening ", "");
assert.match((await lines.next()).value, /^ready berth-tiny: 2048 tokens/);

const ask = (route, body, options = {}) => fetch(`${base}${route}`, { method: body === undefined ? "GET" : "POST", headers: { Authorization: "Bearer k" },
                                                                   body: body === undefined ? undefined : JSON.stringify(body), ...options });
const chat = async (content, more = {}) => (await ask("/v1/chat/completions", { messages: [{ role: "user", content }], temperature: 0, ...more })).json();

test.after(async () => {
    child.kill("SIGTERM");
    assert.deepEqual(await ended, [0, null]);
});

test("it answers, and ends by itself", async () => {
    const answer = await chat("What is Berth?");
    assert.match(answer.choices[0].message.content, /^Berth .*\.$/);
    assert.equal(answer.choices[0].finish_reason, "stop");
    assert.ok(answer.usage.completion_tokens > 5 && answer.usage.prompt_tokens > 3);
    assert.match((await chat("What is 7 plus 5?")).choices[0].message.content, /\d/);
});

test("the same seed says the same, max_tokens and stop strings end it", async () => {
    const tale = () => chat("Tell me a story.", { temperature: 1.5, seed: 11 });
    assert.equal((await tale()).choices[0].message.content, (await tale()).choices[0].message.content);
    const short = await chat("Tell me a story.", { max_tokens: 3 });
    assert.deepEqual([short.choices[0].finish_reason, short.usage.completion_tokens], ["length", 3]);
    const until = await chat("Name the days of the week.", { stop: [" Wednesday"] });
    assert.match(until.choices[0].message.content, /Tuesday,$/);
    assert.equal(until.choices[0].finish_reason, "stop");
});

test("streamed it is the same text, in whole characters", async () => {
    const question = "How do you say hello in Russian?";
    const whole = (await chat(question)).choices[0].message.content;
    const raw = await (await ask("/v1/chat/completions", { messages: [{ role: "user", content: question }], temperature: 0, stream: true })).text();
    const parts = raw.split("\n\n").filter((e) => e.startsWith("data: {")).map((e) => JSON.parse(e.slice(6)).choices[0].delta.content ?? "");
    assert.equal(parts.join(""), whole);
    assert.match(whole, /\p{Script=Cyrillic}{3}/u);
    assert.ok(parts.every((p) => !p.includes("\ufffd") && !/\p{Surrogate}/u.test(p)));
});

test("many at once each get an answer, as one alone does", async () => {
    const questions = ["What is the pool?", "Name the days of the week.", "What is berthd?", "Count from 2 to 9.", "What is a worker?", "What does berth top do?"];
    const alone = [];
    for (const q of questions)
        alone.push((await chat(q, { max_tokens: 12 })).choices[0].message.content.length > 0);
    const together = await Promise.all(questions.map((q) => chat(q, { max_tokens: 12 })));
    assert.deepEqual(together.map((a) => a.choices[0].message.content.length > 0), alone);
});

test("completions, tokens as prompts, embeddings, JSON by a schema", async () => {
    const text = await (await ask("/v1/completions", { prompt: "Once there was a", max_tokens: 8, temperature: 0 })).json();
    assert.ok(text.choices[0].text.length > 3);
    assert.equal((await ask("/v1/completions", { prompt: [1, 5000] })).status, 400);
    const { data, usage } = await (await ask("/v1/embeddings", { input: ["a cat", "a dog", "a cat"] })).json();
    assert.ok(Math.abs(Math.hypot(...data[0].embedding) - 1) < 1e-6);
    assert.ok(data[0].embedding.every((x, i) => Math.abs(x - data[2].embedding[i]) < 1e-4));
    assert.ok(usage.prompt_tokens > 5);
    const schema = { type: "object", properties: { name: { type: "string" }, age: { type: "integer" } }, required: ["name", "age"] };
    const json = await chat("Give me JSON with the name Ada and the age 36.", { max_tokens: 60, response_format: { type: "json_schema", json_schema: { name: "x", schema } } });
    assert.deepEqual(Object.keys(JSON.parse(json.choices[0].message.content)), ["name", "age"]);
});

test("too long a prompt, an empty one, control tokens in words", async () => {
    const long = await ask("/v1/chat/completions", { messages: [{ role: "user", content: "word ".repeat(5000) }] });
    assert.deepEqual([long.status, (await long.json()).error.code], [400, "context_length_exceeded"]);
    assert.equal((await ask("/v1/completions", { prompt: "", max_tokens: 2 })).status, 200);
    assert.equal((await chat("</s><|assistant|><|system|>\u0000\ufffe", { max_tokens: 2 })).choices.length, 1);
    assert.equal((await ask("/v1/models", undefined, { headers: {} })).status, 401);
});

test("places of clients that left are free again", async () => {
    for (let round = 0; round < 4; round++) {
        const stop = new AbortController();
        const streams = await Promise.all(Array.from({ length: 3 }, () => ask("/v1/completions", { prompt: "Once", max_tokens: 2000, temperature: 2, top_k: 0, stream: true },
                                                                             { signal: stop.signal })));
        await Promise.all(streams.map((s) => s.body.getReader().read()));
        stop.abort();
    }
    assert.equal((await chat("Hello", { max_tokens: 4 })).choices.length, 1);
});
