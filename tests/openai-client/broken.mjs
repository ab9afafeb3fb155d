// broken.mjs: what OpenAI's own client for JavaScript makes of a stream whose engine broke off: an error, never a clean end.
//   OPENAI_BASE_URL, OPENAI_API_KEY: the pool's /v1 and a key, before an engine that fails as it is told ("double"); run by tests/system/test_openai_client.py
import assert from "node:assert/strict";
import test from "node:test";
import OpenAI, { APIError } from "openai";

const openai = new OpenAI({ maxRetries: 0, timeout: 300_000 });
const messages = [{ role: "user", content: "hello" }];

for (const fault of ["die_mid", "cut", "broken", "clean"])
    test(`an engine that fails in mid-stream: ${fault}`, async () => {
        const parts = [];
        await assert.rejects(async () => {
            for await (const part of await openai.chat.completions.create({ model: "m", messages, stream: true, double: { fault } }))
                parts.push(part.choices[0]);
        }, (e) => e instanceof APIError && /engine/.test(e.message));
        assert.ok(parts.length >= 2, "what came before it was handed on");
        assert.ok(parts.every((p) => p?.finish_reason == null));
    });

test("the client's own reader of streams raises it, too", async () => {
    await assert.rejects(openai.chat.completions.stream({ model: "m", messages, double: { fault: "die_mid" } }).finalMessage(), (e) => /engine/.test(e.message));
});

test("completions", async () => {
    await assert.rejects(async () => {
        for await (const part of await openai.completions.create({ model: "m", prompt: "x", stream: true, double: { fault: "die_mid" } }))
            assert.ok(part.choices);
    }, APIError);
});

test("an ordinary stream afterwards", async () => {
    let text = "";
    for await (const part of await openai.chat.completions.create({ model: "m", messages, stream: true }))
        text += part.choices[0]?.delta.content ?? "";
    assert.equal(text, "word ".repeat(5));
});
