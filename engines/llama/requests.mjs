// requests.mjs: what a request's body asks for. Pure: a parsed JSON value in, a plain description out; anything that can't be done as asked is
// an ApiError that names the field. Fields that nothing here knows are passed over, as OpenAI's own servers do for most.
import { invalid } from "./errors.mjs";

const ROLES = { system: "system", developer: "system", user: "user", assistant: "assistant" };
const MESSAGES = 1024, STOPS = 16, STOP_LENGTH = 256, INPUTS = 64, SCHEMA_LENGTH = 32 << 10;

function object(value, param = "body") {
    if (typeof value !== "object" || value === null || Array.isArray(value))
        throw invalid(param, "expected a JSON object");
    return value;
}

function numberOf(body, param, least, most, initial = null, whole = false) {
    const value = body[param] ?? initial;

    if (value === null)
        return null;
    if (typeof value !== "number" || !Number.isFinite(value) || value < least || value > most || (whole && !Number.isInteger(value)))
        throw invalid(param, `expected a ${whole ? "whole " : ""}number from ${least} to ${most}`);
    return value;
}

function flag(body, param) {
    const value = body[param] ?? false;

    if (typeof value !== "boolean")
        throw invalid(param, "expected true or false");
    return value;
}

function modelOf(body) {
    if (body.model === undefined || body.model === null)
        return null;
    if (typeof body.model !== "string")
        throw invalid("model", "expected the model's name");
    return body.model;
}

// What would silently change the answer's meaning if it were passed over.
function refuse(body, params) {
    for (const param of params) {
        const value = body[param];
        const harmless = value === undefined || value === null || value === false || value === 0 || value === "" || (Array.isArray(value) && value.length === 0);

        if (!harmless && !(["n", "best_of"].includes(param) && value === 1))
            throw invalid(param, "this server can't do that", "unsupported");
    }
}

function stopsOf(body) {
    const stops = body.stop === undefined || body.stop === null ? [] : Array.isArray(body.stop) ? body.stop : [body.stop];

    if (stops.length > STOPS)
        throw invalid("stop", `expected at most ${STOPS} strings`);
    for (const stop of stops)
        if (typeof stop !== "string" || stop === "" || stop.length > STOP_LENGTH || /\p{Surrogate}/u.test(stop))
            throw invalid("stop", `expected strings of 1 to ${STOP_LENGTH} characters`);
    return stops;
}

function formatOf(body) {
    if (body.response_format === undefined || body.response_format === null)
        return null;
    const { type, json_schema: named } = object(body.response_format, "response_format");

    if (type === "text")
        return null;
    if (type === "json_object")
        return { schema: null };
    if (type !== "json_schema")
        throw invalid("response_format", "expected type text, json_object or json_schema");
    const schema = object(object(named, "response_format.json_schema").schema, "response_format.json_schema.schema");
    if (JSON.stringify(schema).length > SCHEMA_LENGTH)
        throw invalid("response_format", `expected a schema of at most ${SCHEMA_LENGTH} bytes`);
    return { schema };
}

function sampling(body) {
    return {
        temperature: numberOf(body, "temperature", 0, 2, 0.7),
        topP: numberOf(body, "top_p", 0, 1, 1),
        topK: numberOf(body, "top_k", -1, 1 << 20, 0, true),
        minP: numberOf(body, "min_p", 0, 1, 0),
        seed: numberOf(body, "seed", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER, null, true),
        frequencyPenalty: numberOf(body, "frequency_penalty", -2, 2, 0),
        presencePenalty: numberOf(body, "presence_penalty", -2, 2, 0),
    };
}

function common(body) {
    const stream = flag(body, "stream");
    const options = body.stream_options === undefined || body.stream_options === null ? {} : object(body.stream_options, "stream_options");

    return { model: modelOf(body), stream, streamUsage: stream && flag(options, "include_usage"), stops: stopsOf(body), sampling: sampling(body) };
}

function contentOf(message, param) {
    const { content } = message;

    if (typeof content === "string")
        return content;
    if ((content === null || content === undefined) && message.role === "assistant")
        return "";
    if (!Array.isArray(content))
        throw invalid(`${param}.content`, "expected a string or a list of text parts");
    return content.map((part, i) => {
        if (typeof part !== "object" || part === null || part.type !== "text" || typeof part.text !== "string")
            throw invalid(`${param}.content.${i}`, "expected {\"type\": \"text\", \"text\": …}: this server reads text only");
        return part.text;
    }).join("");
}

export function chatRequest(value) {
    const body = object(value);

    if (!Array.isArray(body.messages) || body.messages.length === 0 || body.messages.length > MESSAGES)
        throw invalid("messages", `expected a list of 1 to ${MESSAGES} messages`);
    refuse(body, ["n", "tools", "functions", "logprobs", "top_logprobs", "logit_bias", "audio"]);
    const messages = body.messages.map((message, i) => {
        const { role } = object(message, `messages.${i}`);

        if (typeof role !== "string" || !Object.hasOwn(ROLES, role))
            throw invalid(`messages.${i}.role`, `expected one of ${Object.keys(ROLES).join(", ")}`);
        return { role: ROLES[role], content: contentOf(message, `messages.${i}`) };
    });
    return {
        ...common(body), messages, format: formatOf(body),
        maxTokens: numberOf(body, "max_completion_tokens", 1, 1 << 20, null, true) ?? numberOf(body, "max_tokens", 1, 1 << 20, null, true),
        templateVariables: body.chat_template_kwargs === undefined || body.chat_template_kwargs === null ? {} : object(body.chat_template_kwargs, "chat_template_kwargs"),
    };
}

function isTokens(value) {
    return Array.isArray(value) && value.length > 0 && value.every(Number.isInteger);
}

export function completionRequest(value) {
    const body = object(value);
    let prompt = body.prompt;

    refuse(body, ["n", "best_of", "suffix", "echo", "logprobs", "logit_bias"]);
    if (Array.isArray(prompt) && prompt.length === 1 && (typeof prompt[0] === "string" || isTokens(prompt[0])))
        [prompt] = prompt;
    if (typeof prompt !== "string" && !isTokens(prompt))
        throw invalid("prompt", "expected one string, or one list of tokens; send several prompts as several requests");
    return { ...common(body), prompt, format: formatOf(body), maxTokens: numberOf(body, "max_tokens", 1, 1 << 20, 16, true) };
}

export function embeddingRequest(value) {
    const body = object(value);
    const inputs = typeof body.input === "string" || isTokens(body.input) ? [body.input] : body.input;

    refuse(body, ["dimensions"]);
    if (!Array.isArray(inputs) || inputs.length === 0 || inputs.length > INPUTS)
        throw invalid("input", `expected a string, or a list of 1 to ${INPUTS} strings`);
    inputs.forEach((input, i) => {
        if ((typeof input !== "string" || input === "") && !isTokens(input))
            throw invalid(`input.${i}`, "expected a string that is not empty, or a list of tokens");
    });
    const format = body.encoding_format ?? "float";
    if (format !== "float" && format !== "base64")
        throw invalid("encoding_format", "expected float or base64");
    return { model: modelOf(body), inputs, format };
}
