// answers.mjs: OpenAI's shapes of what goes back. Pure.

const KINDS = {
    chat: { prefix: "chatcmpl-", whole: "chat.completion", part: "chat.completion.chunk" },
    completion: { prefix: "cmpl-", whole: "text_completion", part: "text_completion" },
};

export function usageOf({ prompt, answer, reused }) {
    return { prompt_tokens: prompt, completion_tokens: answer, total_tokens: prompt + answer, prompt_tokens_details: { cached_tokens: reused } };
}

// One answer in the making: the same id and time in every part of it.
export class Answer {
    #head;
    #kind;

    constructor(kind, model, id, created) {
        this.#kind = kind;
        this.#head = { id: KINDS[kind].prefix + id, created, model };
    }

    #of(object, choices, more = {}) {
        return { id: this.#head.id, object, created: this.#head.created, model: this.#head.model, choices, ...more };
    }

    whole(text, finish, usage) {
        const said = this.#kind === "chat" ? { message: { role: "assistant", content: text, refusal: null } } : { text };

        return this.#of(KINDS[this.#kind].whole, [{ index: 0, ...said, logprobs: null, finish_reason: finish }], { usage: usageOf(usage) });
    }

    // A chat begins with the role, before the first word is known: so clients see that somebody answers.
    begin() {
        return this.#kind === "chat" ? this.#part({ delta: { role: "assistant", content: "" } }, null) : null;
    }

    text(text) {
        return this.#part(this.#kind === "chat" ? { delta: { content: text } } : { text }, null);
    }

    end(finish) {
        return this.#part(this.#kind === "chat" ? { delta: {} } : { text: "" }, finish);
    }

    usage(usage) {
        return this.#of(KINDS[this.#kind].part, [], { usage: usageOf(usage) });
    }

    #part(said, finish) {
        return this.#of(KINDS[this.#kind].part, [{ index: 0, ...said, logprobs: null, finish_reason: finish }]);
    }
}

export function models(name, created, context) {
    return { object: "list", data: [{ id: name, object: "model", created, owned_by: "berth", max_model_len: context }] };
}

export function embeddings(model, { vectors, tokens }, format) {
    return {
        object: "list", model,
        data: vectors.map((vector, index) => ({
            object: "embedding", index,
            embedding: format === "base64" ? Buffer.from(Float32Array.from(vector).buffer).toString("base64") : vector,
        })),
        usage: { prompt_tokens: tokens, total_tokens: tokens },
    };
}
