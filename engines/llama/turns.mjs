// turns.mjs: who may compute now. Pure but for promises: a few places, lent one request each; the others wait in the order they came, at most
// so many. A place whose last words are most like the request's is preferred, as what it has computed of them is used again.
import { ApiError } from "./errors.mjs";

export class Turns {
    #free;
    #waiting = [];
    #most;

    constructor(places, most) {
        this.#free = [...places];
        this.#most = most;
    }

    get waiting() {
        return this.#waiting.length;
    }

    // Resolves to a place; rejects when too many wait, or with the signal's reason when that is aborted first.
    async take(signal, likeness = () => 0) {
        signal?.throwIfAborted();
        if (this.#free.length > 0) {
            const best = this.#free.reduce((a, b) => (likeness(b) > likeness(a) ? b : a));

            this.#free.splice(this.#free.indexOf(best), 1);
            return best;
        }
        if (this.#waiting.length >= this.#most) {
            throw new ApiError(429, `${this.#waiting.length} requests wait already; try again later.`, { type: "rate_limit_error", code: "queue_full" });
        }
        return new Promise((resolve, reject) => {
            const turn = { resolve, leave: null };

            turn.leave = () => {
                this.#waiting.splice(this.#waiting.indexOf(turn), 1);
                reject(signal.reason);
            };
            signal?.addEventListener("abort", turn.leave, { once: true });
            turn.signal = signal;
            this.#waiting.push(turn);
        });
    }

    give(place) {
        const next = this.#waiting.shift();

        if (next === undefined) {
            this.#free.push(place);
            return;
        }
        next.signal?.removeEventListener("abort", next.leave);
        next.resolve(place);
    }
}
