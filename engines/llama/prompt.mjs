// prompt.mjs: from messages to the model's tokens, by the chat template that the model's file brings. What people write can't become one of the
// model's control tokens: a message that holds such text is put in afterwards, as plain words.
import { Template } from "@huggingface/jinja";
import { ApiError, invalid } from "./errors.mjs";

const MARK = /\ue000(\d+)\ue001/; // private characters, around a message's number

export class Prompts {
    #tokenizer;
    #template = null;
    #broken = null;

    // tokenizer: { tokenize(text, special) → tokens, beginToken (null: none is put before), beginText, endText }
    constructor(templateText, tokenizer) {
        this.#tokenizer = tokenizer;
        if (typeof templateText !== "string")
            return;
        try {
            this.#template = new Template(templateText);
        } catch (error) {
            this.#broken = error.message;
        }
    }

    get knowsChat() {
        return this.#template !== null;
    }

    chat(messages, variables = {}) {
        if (this.#template === null) {
            throw new ApiError(400, this.#broken === null ? "This model's file has no chat template; use /v1/completions." :
                               `This model's chat template can't be read (${this.#broken}); use /v1/completions.`, { code: "no_chat_template" });
        }
        const { tokenize } = this.#tokenizer;
        const apart = messages.map(({ content }) => MARK.test(content) || tokenize(content, true).join() !== tokenize(content, false).join());
        const shown = messages.map((m, i) => (apart[i] ? { ...m, content: `\ue000${i}\ue001` } : m));
        const pieces = this.#render(shown, variables).split(MARK); // text, number, text, number …
        const tokens = pieces.flatMap((piece, i) => (i % 2 === 0 ? tokenize(piece, true) : tokenize(messages[Number(piece)].content, false)));
        return this.#begun(tokens);
    }

    #render(messages, variables) {
        try {
            return this.#template.render({ ...variables, messages, add_generation_prompt: true, tools: null,
                                           bos_token: this.#tokenizer.beginText, eos_token: this.#tokenizer.endText });
        } catch (error) {
            throw invalid("messages", `this model's chat template refuses them: ${error.message}`);
        }
    }

    plain(prompt) {
        return this.#begun(typeof prompt === "string" ? this.#tokenizer.tokenize(prompt, false) : [...prompt]);
    }

    #begun(tokens) {
        const { beginToken } = this.#tokenizer;

        return beginToken === null || tokens[0] === beginToken ? tokens : [beginToken, ...tokens];
    }
}
