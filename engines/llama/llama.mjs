// llama.mjs: starts llama.cpp. node-llama-cpp's getLlama() loads all of that package, and a second process that tries the binary first: half of the
// time until the first word. What is needed here is loaded by itself; should the package look otherwise than the pinned one, getLlama() does it.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const require = createRequire(import.meta.url);

export async function startLlama(maxThreads, log) {
    const options = { maxThreads, logLevel: "error", logger: (level, message) => log(`llama.cpp: ${level}: ${message.trimEnd()}`), vramPadding: 0, ramPadding: 0,
                      debug: false, numa: false };

    try {
        return await shortRoad(options);
    } catch (error) {
        log(`node-llama-cpp is loaded as a whole (${error.message})`);
        const { getLlama } = await import("node-llama-cpp");
        return getLlama({ ...options, gpu: false, build: "never", skipDownload: true, progressLogs: false });
    }
}

async function shortRoad(options) {
    const platform = `linux-${process.arch}`;
    const binaries = path.join(folderOf(`@node-llama-cpp/${platform}`), "bins", platform);
    const bindingPath = path.join(binaries, "llama-addon.node");
    const { Llama } = await internal("dist/bindings/Llama.js");

    return Llama._create({ ...options, bindings: require(bindingPath), bindingPath, buildType: "prebuilt", tempDir: false,
                           buildMetadata: JSON.parse(readFileSync(path.join(binaries, "_nlcBuildMetadata.json"), "utf8")) });
}

// The state of a grammar, loaded when somebody first asks for one.
export async function grammarState(model, grammar) {
    const { LlamaGrammarEvaluationState } = await import("node-llama-cpp");

    return new LlamaGrammarEvaluationState({ model, grammar });
}

function folderOf(name) {
    for (const modules of require.resolve.paths(name)) {
        try {
            readFileSync(path.join(modules, name, "package.json"));
            return path.join(modules, name);
        } catch {
            // The next place.
        }
    }
    throw new Error(`${name} is not installed`);
}

function internal(file) {
    return import(pathToFileURL(path.join(folderOf("node-llama-cpp"), file)).href);
}
