// Tokens to text: whole characters only, nothing of a stop string, and joined it is what was said.
import assert from "node:assert/strict";
import test from "node:test";
import { TextStream } from "../text-stream.mjs";

// Tokens are bytes here, as llama.cpp spells what its vocabulary lacks.
const bytes = (tokens) => new TextDecoder().decode(Uint8Array.from(tokens));

function say(text, stops = []) {
    const stream = new TextStream(bytes, stops), parts = [];

    for (const byte of typeof text === "string" ? Buffer.from(text) : text) {
        parts.push(stream.push(byte));
        if (stream.stopped)
            break;
    }
    parts.push(stream.end());
    return { text: parts.join(""), parts: parts.filter((p) => p !== ""), stopped: stream.stopped };
}

test("characters come whole", () => {
    const { text, parts } = say("añ你👋e\u0301");
    assert.equal(text, "añ你👋e\u0301");
    assert.deepEqual(parts, ["a", "ñ", "你", "👋", "e", "\u0301"]);
});

test("bytes that never become a character are replaced, and hold up nothing for long", () => {
    assert.equal(say([0xff, 0x41, 0xe4, 0xbd]).text, "\ufffdA\ufffd");
    const many = say(Array(40).fill(0xff));
    assert.ok(many.parts.length >= 4 && /^\ufffd+$/.test(many.text));
});

test("text ends before the first stop string, wherever tokens begin", () => {
    assert.deepEqual(say("one two three", ["two"]).text, "one ");
    assert.deepEqual(say("one two three", ["three", "two"]).text, "one ");
    assert.equal(say("one two", ["x"]).stopped, false);
    assert.equal(say("aaab", ["aab"]).text, "a");
    assert.equal(say("ababac", ["abac"]).text, "ab");
    assert.equal(say("say 你好", ["好"]).text, "say 你");
});

test("what might have been a stop string comes when it wasn't", () => {
    assert.deepEqual(say("<|en", ["<|end|>"]), { text: "<|en", parts: ["<|en"], stopped: false });
    assert.equal(say("<|enough", ["<|end|>"]).text, "<|enough");
});

test("any text, any stop strings: joined it is the text before the first", () => {
    let seed = 7;
    const random = (n) => (seed = (seed * 1103515245 + 12345) & 0x7fffffff) % n;
    const letters = ["a", "b", "ä", "你", "👋"];
    const word = (n) => Array.from({ length: n }, () => letters[random(letters.length)]).join("");

    for (let i = 0; i < 3000; i++) {
        const text = word(random(20)), stops = Array.from({ length: random(4) }, () => word(1 + random(4)));
        const ends = stops.map((s) => text.indexOf(s)).filter((at) => at >= 0);
        assert.equal(say(text, stops).text, ends.length > 0 ? text.slice(0, Math.min(...ends)) : text, JSON.stringify({ text, stops }));
    }
});
