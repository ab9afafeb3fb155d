// http.mjs: OpenAI's routes around an engine. Limits what a client may send and how long it may take, checks its key, ends the work of clients
// that leave, and never lets a broken answer look like a complete one.
import { createHash, randomUUID, timingSafeEqual } from "node:crypto";
import { once } from "node:events";
import http from "node:http";
import { Answer, embeddings, models } from "./answers.mjs";
import { ApiError, asApiError } from "./errors.mjs";
import { chatRequest, completionRequest, embeddingRequest } from "./requests.mjs";

const STALLED_MS = 60_000; // a reader that takes nothing for so long has left

const ROUTES = {
    "GET /health": { open: true, serve: health },
    "GET /v1/models": { serve: listModels },
    "POST /v1/chat/completions": { serve: (at) => generate(at, "chat", chatRequest, (...words) => at.engine.chat(...words)) },
    "POST /v1/completions": { serve: (at) => generate(at, "completion", completionRequest, (...words) => at.engine.complete(...words)) },
    "POST /v1/embeddings": { serve: embed },
};

// options: { name, bodyLimit, key (null: none asked for), log, created, stalledMs }. engine: null until it is loaded; set it with server.engine = ….
export function createServer(options) {
    const server = http.createServer({ requestTimeout: 60_000, headersTimeout: 20_000, keepAliveTimeout: 75_000 }, (request, response) => {
        answer(server, options, request, response);
    });

    server.engine = null;
    server.maxConnections = 2048;
    return server;
}

async function answer(server, options, request, response) {
    const left = new AbortController();
    const at = { engine: server.engine, options, request, response, signal: left.signal };

    response.on("close", () => left.abort(new Error("the client left")));
    response.on("error", () => left.abort(new Error("the client left")));
    try {
        const route = routeOf(request);

        if (!route.open) {
            authorize(request, options.key);
            if (at.engine === null)
                throw new ApiError(503, "The model is still being loaded.", { type: "server_error", code: "loading" });
        }
        await route.serve(at);
    } catch (error) {
        fail(at, error);
    }
}

function routeOf({ method, url }) {
    const path = url.split("?", 1)[0];
    const route = ROUTES[`${method} ${path}`] ?? (method === "HEAD" ? ROUTES[`GET ${path}`] : undefined);

    if (route !== undefined)
        return route;
    if (Object.keys(ROUTES).some((known) => known.endsWith(` ${path}`)))
        throw new ApiError(405, `${path} does not take ${method}.`, { code: "method_not_allowed" });
    throw new ApiError(404, `There is no ${method} ${path.slice(0, 100)} here.`, { code: "not_found" });
}

function authorize(request, key) {
    if (key === null)
        return;
    const given = /^Bearer (.+)$/i.exec(request.headers.authorization ?? "")?.[1] ?? "";
    const digest = (text) => createHash("sha256").update(text).digest();

    if (!timingSafeEqual(digest(given), digest(key)))
        throw new ApiError(401, "The key is missing or wrong; send it as Authorization: Bearer KEY.", { type: "authentication_error", code: "invalid_api_key" });
}

function fail({ request, response, options, signal }, thrown) {
    if (signal.aborted)
        return;
    const error = asApiError(thrown);

    if (error !== thrown)
        options.log(`${request.method} ${request.url.slice(0, 100)}: ${thrown?.stack ?? thrown}`);
    if (response.headersSent) {
        // In the middle of a stream: an error event, and no [DONE].
        response.end(`data: ${JSON.stringify(error.body())}\n\n`);
        return;
    }
    // What is left of a body that was too long is not read.
    if (!request.complete)
        response.setHeader("Connection", "close");
    send(response, error.status, error.body());
}

function send(response, status, value) {
    const body = JSON.stringify(value);

    response.writeHead(status, { "Content-Type": "application/json", "Content-Length": Buffer.byteLength(body) });
    response.end(body);
}

async function bodyOf({ request, options: { bodyLimit } }) {
    const tooLong = new ApiError(413, `The body is longer than ${bodyLimit} bytes.`, { code: "body_too_large" });
    const parts = [];
    let size = 0;

    if (Number(request.headers["content-length"] ?? 0) > bodyLimit)
        throw tooLong;
    for await (const part of request.iterator({ destroyOnReturn: false })) {
        size += part.length;
        if (size > bodyLimit)
            throw tooLong;
        parts.push(part);
    }
    try {
        return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(Buffer.concat(parts)));
    } catch (error) {
        throw new ApiError(400, `The body is not JSON: ${error.message}`, { code: "invalid_json" });
    }
}

function checkModel(asked, { name }) {
    if (asked !== null && asked !== name)
        throw new ApiError(404, `The model "${asked.slice(0, 100)}" is not here; this server has "${name}".`, { param: "model", code: "model_not_found" });
}

function health({ engine, response }) {
    if (engine === null)
        send(response, 503, { status: "loading" });
    else
        send(response, 200, { status: "ok", waiting: engine.waiting });
}

function listModels({ engine, options, response }) {
    send(response, 200, models(options.name, options.created, engine.context));
}

async function embed(at) {
    const request = embeddingRequest(await bodyOf(at));

    checkModel(request.model, at.options);
    send(at.response, 200, embeddings(at.options.name, await at.engine.embed(request, at.signal), request.format));
}

async function generate(at, kind, parse, start) {
    const request = parse(await bodyOf(at));

    checkModel(request.model, at.options);
    const made = new Answer(kind, at.options.name, randomUUID().replaceAll("-", ""), Math.floor(Date.now() / 1000));
    const parts = start(request, at.signal);
    if (request.stream)
        await stream(at, made, parts, request.streamUsage);
    else
        await whole(at, made, parts);
}

async function whole({ response }, made, parts) {
    let text = "";

    for await (const part of parts) {
        if (part.finish === undefined)
            text += part.text;
        else
            send(response, 200, made.whole(text, part.finish, part.usage));
    }
}

async function stream({ response, options, signal }, made, parts, usage) {
    const write = (value) => written(response, `data: ${typeof value === "string" ? value : JSON.stringify(value)}\n\n`, signal, options.stalledMs ?? STALLED_MS);

    for await (const part of parts) {
        if (!response.headersSent) {
            response.writeHead(200, { "Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-store", "X-Accel-Buffering": "no" });
            if (made.begin() !== null)
                await write(made.begin());
        }
        if (part.finish === undefined) {
            await write(made.text(part.text));
            continue;
        }
        await write(made.end(part.finish));
        if (usage)
            await write(made.usage(part.usage));
        await write("[DONE]");
    }
    response.end();
}

// Waits while the client takes nothing; one that stays so is cut off.
async function written(response, text, signal, stalledMs) {
    signal.throwIfAborted();
    if (response.write(text))
        return;
    const timer = setTimeout(() => response.destroy(), stalledMs);
    try {
        await once(response, "drain", { signal });
    } finally {
        clearTimeout(timer);
    }
}
