// Bodies: what they ask for, and a named complaint about each thing that is wrong or can't be done.
import assert from "node:assert/strict";
import test from "node:test";
import { ApiError } from "../errors.mjs";
import { chatRequest, completionRequest, embeddingRequest } from "../requests.mjs";

const HELLO = [{ role: "user", content: "Hello" }];

function complains(parse, body, param, message = /./) {
    assert.throws(() => parse(body), (e) => e instanceof ApiError && e.status === 400 && e.param === param && message.test(e.message), JSON.stringify(body));
}

test("a chat request with everything", () => {
    const request = chatRequest({
        model: "m", messages: [{ role: "developer", content: "Be short." }, { role: "user", content: [{ type: "text", text: "a" }, { type: "text", text: "b" }] },
                               { role: "assistant", content: null }],
        stream: true, stream_options: { include_usage: true }, stop: ["x", "y"], max_tokens: 5, max_completion_tokens: 7, temperature: 0, top_p: 0.5, seed: -3,
        n: 1, tools: [], logprobs: false, user: "somebody", response_format: { type: "json_object" },
    });
    assert.deepEqual(request.messages, [{ role: "system", content: "Be short." }, { role: "user", content: "ab" }, { role: "assistant", content: "" }]);
    assert.deepEqual([request.stream, request.streamUsage, request.stops, request.maxTokens], [true, true, ["x", "y"], 7]);
    assert.deepEqual([request.sampling.temperature, request.sampling.topP, request.sampling.seed, request.format], [0, 0.5, -3, { schema: null }]);
});

test("a plain request", () => {
    const request = chatRequest({ messages: HELLO });
    assert.deepEqual([request.model, request.stream, request.streamUsage, request.maxTokens, request.format, request.stops], [null, false, false, null, null, []]);
    assert.equal(completionRequest({ prompt: "a" }).maxTokens, 16);
    assert.deepEqual(completionRequest({ prompt: [[1, 2]] }).prompt, [1, 2]);
    assert.deepEqual(embeddingRequest({ input: ["a", [1, 2]], encoding_format: "base64" }), { model: null, inputs: ["a", [1, 2]], format: "base64" });
    assert.deepEqual(embeddingRequest({ input: [3] }).inputs, [[3]]);
});

test("bodies that are no requests", () => {
    for (const body of [null, 1, "x", [], true]) {
        for (const parse of [chatRequest, completionRequest, embeddingRequest])
            complains(parse, body, "body", /JSON object/);
    }
    complains(chatRequest, {}, "messages");
    complains(chatRequest, { messages: [] }, "messages");
    complains(chatRequest, { messages: Array(1025).fill(HELLO[0]) }, "messages");
    complains(chatRequest, { messages: [7] }, "messages.0");
    complains(chatRequest, { messages: [{ role: "robot", content: "" }] }, "messages.0.role");
    complains(chatRequest, { messages: [{ role: "__proto__", content: "" }] }, "messages.0.role");
    complains(chatRequest, { messages: [{ role: "user" }] }, "messages.0.content");
    complains(chatRequest, { messages: [{ role: "user", content: [{ type: "image_url" }] }] }, "messages.0.content.0", /text only/);
    complains(completionRequest, {}, "prompt");
    complains(completionRequest, { prompt: ["a", "b"] }, "prompt");
    complains(completionRequest, { prompt: [1.5] }, "prompt");
    complains(embeddingRequest, { input: "" }, "input.0");
    complains(embeddingRequest, { input: [] }, "input");
    complains(embeddingRequest, { input: Array(65).fill("a") }, "input");
    complains(embeddingRequest, { input: "a", encoding_format: "int8" }, "encoding_format");
});

test("values out of range, and what would change the answer's meaning", () => {
    for (const [param, values] of Object.entries({
        temperature: [-0.1, 2.1, "1", NaN, []], top_p: [-1, 1.1], max_tokens: [0, -1, 1.5, "9"], seed: [0.5, "x"], stream: [1, "yes"], stop: [[""], [1], "", Array(17).fill("a"), "\ud800"],
        model: [1, {}], n: [2], tools: [[{}]], logprobs: [true], logit_bias: [{ 1: 1 }], frequency_penalty: [3], stream_options: [1],
        response_format: [{ type: "xml" }, 3], chat_template_kwargs: [[1]],
    })) {
        for (const value of values)
            complains(chatRequest, { messages: HELLO, stream: true, [param]: value }, param);
    }
    complains(completionRequest, { prompt: "a", echo: true }, "echo", /can't do that/);
    complains(completionRequest, { prompt: "a", suffix: "b" }, "suffix");
    complains(chatRequest, { messages: HELLO, response_format: { type: "json_schema", json_schema: { schema: { enum: ["x".repeat(40000)] } } } }, "response_format");
});
