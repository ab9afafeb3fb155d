// options.mjs: the command line of the server. Pure: words in, settings out; what is wrong is an Error with a sentence for people.

export const USAGE = `usage: node server.mjs --model FILE.gguf [--host ADDRESS] [--port PORT] [--context TOKENS] [--parallel N]
                       [--name NAME] [--threads N] [--body-limit BYTES] [--waiting N]

Serves one GGUF model over OpenAI's HTTP interface. BERTH_ENGINE_KEY in the environment: the bearer key that requests must bring.

  --model       the model's file
  --host        address to listen on (127.0.0.1)
  --port        port to listen on; 0 takes a free one, and the line "listening" names it (8080)
  --context     tokens that one request may have, prompt and answer together; never more than the model was trained on (4096)
  --parallel    requests computed at once (4)
  --name        the model's name in answers (the file's name without .gguf)
  --threads     threads to compute with; 0: one for a small model, else one for each processor (0)
  --body-limit  bytes that a request's body may have (4194304)
  --waiting     requests that may wait for their turn before new ones are refused (256)`;

const NUMBERS = {
    port: { initial: 8080, least: 0, most: 65535 },
    context: { initial: 4096, least: 64, most: 1 << 20 },
    parallel: { initial: 4, least: 1, most: 64 },
    threads: { initial: 0, least: 0, most: 1024 },
    "body-limit": { initial: 4 << 20, least: 1024, most: 1 << 30 },
    waiting: { initial: 256, least: 0, most: 65536 },
};
const WORDS = { model: null, host: "127.0.0.1", name: null };

export function parseOptions(words) {
    const found = { ...WORDS };

    for (const [name, { initial }] of Object.entries(NUMBERS))
        found[name] = initial;
    for (let i = 0; i < words.length; i++) {
        const [, name, , joined] = /^--([a-z-]+)(=(.*))?$/s.exec(words[i]) ?? [];

        if (name === "help")
            return { help: true };
        if (name === undefined || !Object.hasOwn(found, name))
            throw new Error(`unknown option "${words[i]}"`);
        const value = joined ?? words[++i];
        if (value === undefined || value === "")
            throw new Error(`--${name} needs a value`);
        found[name] = Object.hasOwn(NUMBERS, name) ? number(name, value) : value;
    }
    if (found.model === null)
        throw new Error("--model is missing: which GGUF file?");
    const { "body-limit": bodyLimit, ...rest } = found;
    return { ...rest, bodyLimit, name: found.name ?? found.model.replace(/^.*\//s, "").replace(/\.gguf$/, "") };
}

function number(name, value) {
    const { least, most } = NUMBERS[name];

    if (!/^\d{1,10}$/.test(value) || Number(value) < least || Number(value) > most)
        throw new Error(`--${name} ${value}: expected a whole number from ${least} to ${most}`);
    return Number(value);
}
