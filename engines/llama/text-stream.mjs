// text-stream.mjs: from tokens to text that may be sent. Pure. A character is held back until all of its bytes are there, text that may be the
// begin of a stop string until it is clear whether it is. What push() and end() return, joined, is the text up to the first stop string.

const LONGEST_CHARACTER = 8; // tokens: after so many, what still isn't a character never will be

export class TextStream {
    #detokenize;
    #stops;
    #said = []; // tokens whose text is out, a few: how some vocabularies know whether a space belongs before the next
    #pending = [];
    #held = "";

    stopped = false;

    constructor(detokenize, stops = []) {
        this.#detokenize = detokenize;
        this.#stops = stops;
    }

    push(token) {
        this.#pending.push(token);
        const text = this.#detokenize(this.#pending, this.#said);

        if (text.endsWith("\ufffd") && this.#pending.length < LONGEST_CHARACTER)
            return "";
        return this.#take(text);
    }

    end() {
        const out = this.#take(this.#pending.length > 0 ? this.#detokenize(this.#pending, this.#said) : "");
        const rest = this.stopped ? "" : this.#held;

        this.#held = "";
        return out + rest;
    }

    #take(text) {
        this.#said = [...this.#said, ...this.#pending].slice(-LONGEST_CHARACTER);
        this.#pending = [];
        if (this.stopped)
            return "";
        const whole = this.#held + text;
        const ends = this.#stops.map((stop) => whole.indexOf(stop)).filter((at) => at >= 0);
        if (ends.length > 0) {
            this.stopped = true;
            this.#held = "";
            return whole.slice(0, Math.min(...ends));
        }
        const keep = Math.max(0, ...this.#stops.map((stop) => beginOf(stop, whole)));
        this.#held = whole.slice(whole.length - keep);
        return whole.slice(0, whole.length - keep);
    }
}

// How many of text's last characters are the first of stop.
function beginOf(stop, text) {
    for (let n = Math.min(stop.length - 1, text.length); n > 0; n--)
        if (text.endsWith(stop.slice(0, n)))
            return n;
    return 0;
}
