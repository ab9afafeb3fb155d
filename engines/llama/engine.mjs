// engine.mjs: one model in llama.cpp: as many sequences as requests may be computed at once, batched together by node-llama-cpp; tokens in,
// text out. Downloads and builds nothing: the binaries come with the packages.
import { statSync } from "node:fs";
import { ApiError, invalid } from "./errors.mjs";
import { grammarState, startLlama } from "./llama.mjs";
import { Prompts } from "./prompt.mjs";
import { TextStream } from "./text-stream.mjs";
import { Turns } from "./turns.mjs";

// Threads that wait for each other spin. For a small model they gain nothing, and on a machine that is busy they cost a hundred times as much.
const SMALL_BYTES = 64 << 20;
const PREFILL = 512; // tokens of a prompt computed at a time; between two such parts a client may have left

export async function loadEngine({ model: file, context, parallel, threads, waiting }, log) {
    const few = threads === 0 && statSync(file).size < SMALL_BYTES;
    const llama = await startLlama(few ? 1 : threads, log);
    const model = await llama.loadModel({ modelPath: file });
    const size = Math.min(context, model.trainContextSize);

    if (size < context)
        log(`the model was trained on ${size} tokens at a time; a request may have no more`);
    const made = await model.createContext({ contextSize: size, sequences: parallel, batchSize: Math.min(size, PREFILL) });
    return new Engine(llama, model, made, waiting);
}

class Engine {
    #llama;
    #model;
    #turns;
    #embedder = null;
    #prompts;

    constructor(llama, model, context, waiting) {
        this.#llama = llama;
        this.#model = model;
        this.context = context.getSequence === undefined ? 0 : context.contextSize;
        this.#turns = new Turns(Array.from({ length: context.totalSequences }, () => context.getSequence()), waiting);
        this.#prompts = new Prompts(model.fileInfo.metadata?.tokenizer?.chat_template, {
            tokenize: (text, special) => model.tokenize(text, special, special ? undefined : "trimLeadingSpace"),
            beginToken: model.tokens.shouldPrependBosToken ? model.tokens.bos : null,
            beginText: model.tokens.bosString ?? "",
            endText: model.tokens.eosString ?? "",
        });
    }

    chat(request, signal) {
        return this.#generate(this.#prompts.chat(request.messages, request.templateVariables), request, signal);
    }

    complete(request, signal) {
        return this.#generate(this.#known(this.#prompts.plain(request.prompt), "prompt"), request, signal);
    }

    // Yields { text } as it comes, then { finish, usage }. Checks all that can be refused before the first of them.
    async *#generate(prompt, request, signal) {
        if (prompt.length >= this.context) {
            throw invalid("messages" in request ? "messages" : "prompt",
                          `${prompt.length} tokens are more than the ${this.context} that prompt and answer may have together`, "context_length_exceeded");
        }
        const grammar = await this.#grammar(request.format);
        const sequence = await this.#turns.take(signal, (place) => place.compareContextTokens(prompt).firstDifferentIndex);

        try {
            yield* this.#answer(sequence, prompt, grammar, request, signal);
        } finally {
            this.#turns.give(sequence);
        }
    }

    async *#answer(sequence, prompt, grammar, request, signal) {
        const most = Math.min(request.maxTokens ?? Infinity, this.context - prompt.length);
        const stream = new TextStream((tokens, before) => this.#model.detokenize(tokens, false, before), request.stops);
        let said = 0, finish = "length";

        // What the sequence still knows of an earlier request is not computed again; the last token always is, as its outcome is the answer.
        await sequence.adaptStateToTokens(prompt.slice(0, -1), false);
        const reused = sequence.nextTokenIndex;
        for (let at = reused; at < prompt.length - 1; at = sequence.nextTokenIndex) {
            signal?.throwIfAborted();
            await sequence.evaluateWithoutGeneratingNewTokens(prompt.slice(at, Math.min(at + PREFILL, prompt.length - 1)));
        }
        const tokens = sequence.evaluate(prompt.slice(-1), { ...this.#sampling(request.sampling, prompt), grammarEvaluationState: grammar, yieldEogToken: true });
        for await (const token of tokens) {
            signal?.throwIfAborted();
            said++;
            if (this.#model.isEogToken(token)) {
                finish = "stop";
                break;
            }
            const text = stream.push(token);
            if (text !== "")
                yield { text };
            if (stream.stopped) {
                finish = "stop";
                break;
            }
            if (said >= most)
                break;
        }
        const rest = stream.end();
        if (rest !== "")
            yield { text: rest };
        yield { finish: stream.stopped ? "stop" : finish, usage: { prompt: prompt.length, answer: said, reused } };
    }

    #sampling({ temperature, topP, topK, minP, seed, frequencyPenalty, presencePenalty }, prompt) {
        const penalties = frequencyPenalty !== 0 || presencePenalty !== 0;

        return {
            temperature, topP, topK: Math.max(0, topK), minP,
            seed: seed === null ? Math.floor(Math.random() * 0xffffffff) : Number(BigInt.asUintN(32, BigInt(seed))),
            repeatPenalty: penalties ? { punishTokens: prompt.slice(-64), penalty: 1, frequencyPenalty, presencePenalty } : undefined,
        };
    }

    async #grammar(format) {
        if (format === null)
            return undefined;
        try {
            const grammar = format.schema === null ? await this.#llama.getGrammarFor("json") : await this.#llama.createGrammarForJsonSchema(format.schema);

            return await grammarState(this.#model, grammar);
        } catch (error) {
            throw invalid("response_format", `this schema can't be followed: ${error.message}`);
        }
    }

    // Tokens that a client sent: numbers outside the vocabulary would end the process in llama.cpp.
    #known(tokens, param) {
        const size = this.#model.fileInsights.vocabularySize ?? this.#model.fileInfo.metadata.tokenizer.ggml.tokens.length;

        if (tokens.some((token) => token < 0 || token >= size))
            throw invalid(param, `expected tokens from 0 to ${size - 1}`);
        return tokens;
    }

    // Yields nothing; returns { vectors, tokens }. One input after the other: llama.cpp has one place for them.
    async embed({ inputs }, signal) {
        const prompts = inputs.map((input, i) => this.#known(this.#prompts.plain(input), `input.${i}`));

        prompts.forEach((prompt, i) => {
            if (prompt.length >= this.context)
                throw invalid(`input.${i}`, `${prompt.length} tokens are more than the ${this.context - 1} that an input may have`, "context_length_exceeded");
        });
        this.#embedder ??= this.#model.createEmbeddingContext({ contextSize: this.context });
        const embedder = await this.#embedder;
        const vectors = [];
        for (const prompt of prompts) {
            signal?.throwIfAborted();
            vectors.push(unit((await embedder.getEmbeddingFor(prompt)).vector));
        }
        return { vectors, tokens: prompts.reduce((sum, prompt) => sum + prompt.length, 0) };
    }

    get waiting() {
        return this.#turns.waiting;
    }

    async dispose() {
        await this.#llama.dispose();
    }
}

function unit(vector) {
    const length = Math.hypot(...vector);

    if (!Number.isFinite(length) || length === 0)
        throw new ApiError(500, "This model gives no embedding for that.", { type: "server_error", code: "no_embedding" });
    return vector.map((x) => x / length);
}
