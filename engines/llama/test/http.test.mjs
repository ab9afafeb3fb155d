// The routes around an engine that does as told: shapes, keys, limits, and clients and engines that break off.
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import test from "node:test";
import { ApiError } from "../errors.mjs";
import { createServer } from "../http.mjs";

const USAGE = { prompt: 3, answer: 2, reused: 1 };
const ASK = { messages: [{ role: "user", content: "Hi" }] };

async function* says(...words) {
    for (const text of words)
        yield { text };
    yield { finish: "stop", usage: USAGE };
}

function engine(more) {
    return { context: 100, waiting: 0, chat: () => says("Hel", "lo"), complete: () => says("wor", "ld"), embed: async () => ({ vectors: [[0.6, 0.8]], tokens: 2 }), ...more };
}

async function served(t, { key = null, bodyLimit = 10_000, stalledMs, engine: given = engine() } = {}) {
    const logged = [];
    const server = createServer({ name: "m", bodyLimit, key, created: 1, stalledMs, log: (text) => logged.push(text) });

    server.engine = given;
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    t.after(() => {
        server.close();
        server.closeAllConnections();
    });
    const { port } = server.address();
    const ask = (path, body, options = {}) => fetch(`http://127.0.0.1:${port}${path}`,
                                                    body === undefined ? options : { method: "POST", body: typeof body === "string" ? body : JSON.stringify(body), ...options });
    return { server, port, ask, logged };
}

async function refused(response, status, code) {
    assert.equal(response.status, status);
    const { error } = await response.json();
    assert.equal(typeof error.message, "string");
    assert.equal(error.code, code);
    return error;
}

function events(text) {
    return text.split("\n\n").filter((e) => e !== "").map((e) => {
        assert.ok(e.startsWith("data: "), e);
        return e === "data: [DONE]" ? "[DONE]" : JSON.parse(e.slice(6));
    });
}

test("answers in OpenAI's shape", async (t) => {
    const { ask } = await served(t);
    const chat = await (await ask("/v1/chat/completions", { ...ASK, model: "m" })).json();
    assert.equal(chat.object, "chat.completion");
    assert.deepEqual(chat.choices[0].message, { role: "assistant", content: "Hello", refusal: null });
    assert.deepEqual([chat.choices[0].finish_reason, chat.model], ["stop", "m"]);
    assert.deepEqual(chat.usage, { prompt_tokens: 3, completion_tokens: 2, total_tokens: 5, prompt_tokens_details: { cached_tokens: 1 } });
    const text = await (await ask("/v1/completions", { prompt: "x" })).json();
    assert.deepEqual([text.object, text.choices[0].text], ["text_completion", "world"]);
    const models = await (await ask("/v1/models")).json();
    assert.deepEqual(models.data.map((m) => m.id), ["m"]);
    assert.equal((await ask("/health")).status, 200);
});

test("streams: role, words, end, usage when asked, [DONE]", async (t) => {
    const { ask } = await served(t);
    const response = await ask("/v1/chat/completions", { ...ASK, stream: true, stream_options: { include_usage: true } });
    assert.match(response.headers.get("content-type"), /^text\/event-stream/);
    const got = events(await response.text());
    assert.equal(new Set(got.slice(0, -1).map((e) => e.id)).size, 1);
    assert.deepEqual(got.slice(0, -2).map((e) => e.choices[0].delta), [{ role: "assistant", content: "" }, { content: "Hel" }, { content: "lo" }, {}]);
    assert.deepEqual([got.at(-3).choices[0].finish_reason, got.at(-2).usage.total_tokens, got.at(-1)], ["stop", 5, "[DONE]"]);
    const plain = events(await (await ask("/v1/completions", { prompt: "x", stream: true })).text());
    assert.equal(plain.slice(0, -1).map((e) => e.choices[0].text).join(""), "world");
    assert.ok(plain.every((e) => e.usage === undefined));
});

test("embeddings as numbers and as base64", async (t) => {
    const { ask } = await served(t);
    const list = await (await ask("/v1/embeddings", { input: "a" })).json();
    assert.deepEqual(list.data, [{ object: "embedding", index: 0, embedding: [0.6, 0.8] }]);
    const packed = await (await ask("/v1/embeddings", { input: "a", encoding_format: "base64" })).json();
    const raw = Buffer.from(packed.data[0].embedding, "base64");
    assert.deepEqual([raw.readFloatLE(0), raw.readFloatLE(4)], [Math.fround(0.6), Math.fround(0.8)]);
});

test("a key is asked for everywhere but on /health", async (t) => {
    const { ask } = await served(t, { key: "secret" });
    assert.equal((await ask("/health")).status, 200);
    await refused(await ask("/v1/models"), 401, "invalid_api_key");
    await refused(await ask("/v1/chat/completions", ASK, { headers: { Authorization: "Bearer wrong" } }), 401, "invalid_api_key");
    assert.equal((await ask("/v1/chat/completions", ASK, { headers: { Authorization: "Bearer secret" } })).status, 200);
});

test("what can't be served is said", async (t) => {
    const { ask, server } = await served(t);
    await refused(await ask("/v1/nothing"), 404, "not_found");
    await refused(await ask("/v1/chat/completions"), 405, "method_not_allowed");
    await refused(await ask("/v1/chat/completions", "{\"messages\": ["), 400, "invalid_json");
    await refused(await ask("/v1/chat/completions", undefined, { method: "POST", body: Uint8Array.from([0x22, 0xff, 0x22]) }), 400, "invalid_json");
    await refused(await ask("/v1/chat/completions", { ...ASK, model: "other" }), 404, "model_not_found");
    assert.equal((await refused(await ask("/v1/chat/completions", { messages: 1 }), 400, null)).param, "messages");
    await refused(await ask("/v1/chat/completions", { messages: [{ role: "user", content: "x".repeat(20_000) }] }), 413, "body_too_large");
    server.engine = null;
    await refused(await ask("/v1/models"), 503, "loading");
    assert.equal((await ask("/health")).status, 503);
});

test("a body without a length is cut off at the limit", async (t) => {
    const { port } = await served(t, { bodyLimit: 2000 });
    const socket = net.connect(port, "127.0.0.1");
    let got = "";

    socket.on("data", (data) => (got += data));
    socket.on("error", () => {});
    socket.write("POST /v1/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    const chunk = `400\r\n${"x".repeat(1024)}\r\n`;
    const more = setInterval(() => socket.write(chunk), 1); // never ends by itself
    await once(socket, "close");
    clearInterval(more);
    assert.match(got, /^HTTP\/1\.1 413 /);
});

test("an engine that fails before the first word: an error; in the middle: an error event and no [DONE]", async (t) => {
    const failing = async function* (words) {
        for (const text of words)
            yield { text };
        throw new Error("inner detail");
    };
    const { ask, logged } = await served(t, { engine: engine({ chat: () => failing([]), complete: () => failing(["a"]) }) });
    const error = await refused(await ask("/v1/chat/completions", { ...ASK, stream: true }), 500, "engine_failed");
    assert.ok(!error.message.includes("inner detail"));
    const got = events(await (await ask("/v1/completions", { prompt: "x", stream: true })).text());
    assert.equal(got.length, 2);
    assert.equal(got[1].error.code, "engine_failed");
    await refused(await ask("/v1/completions", { prompt: "x" }), 500, "engine_failed");
    assert.equal(logged.filter((line) => line.includes("inner detail")).length, 3);
});

test("a full queue is passed on", async (t) => {
    const full = async function* () {
        throw new ApiError(429, "full", { type: "rate_limit_error", code: "queue_full" });
    };
    const { ask } = await served(t, { engine: engine({ chat: full }) });
    await refused(await ask("/v1/chat/completions", ASK), 429, "queue_full");
});

test("work ends when its client leaves, before and after the first word", async (t) => {
    let begun, left;
    const endless = (words) => async function* (request, signal) {
        begun();
        for (const text of words)
            yield { text };
        await once(signal, "abort");
        left(signal.reason.message);
        signal.throwIfAborted();
    };
    const { ask, logged } = await served(t, { engine: engine({ chat: endless([]), complete: endless(["a"]) }) });

    for (const [path, body] of [["/v1/chat/completions", { ...ASK, stream: true }], ["/v1/chat/completions", ASK], ["/v1/completions", { prompt: "x", stream: true }]]) {
        const stop = new AbortController();
        const working = new Promise((resolve) => (begun = resolve)), gone = new Promise((resolve) => (left = resolve));
        const response = ask(path, body, { signal: stop.signal });
        response.catch(() => {});
        await working;
        if (path === "/v1/completions")
            await (await response).body.getReader().read();
        stop.abort();
        assert.equal(await gone, "the client left");
    }
    assert.deepEqual(logged, []);
});

test("a client that reads nothing is cut off", async (t) => {
    let ended;
    const cut = new Promise((resolve) => (ended = resolve));
    const flood = async function* (request, signal) {
        try {
            for (;;) {
                signal.throwIfAborted();
                yield { text: "x".repeat(1 << 16) };
            }
        } finally {
            ended();
        }
    };
    const { port } = await served(t, { stalledMs: 100, engine: engine({ complete: flood }) });
    const socket = net.connect(port, "127.0.0.1");
    socket.on("error", () => {});
    t.after(() => socket.destroy());
    socket.pause();
    const body = JSON.stringify({ prompt: "x", stream: true });
    socket.write(`POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`);
    await cut;
});
