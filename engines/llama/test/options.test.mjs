// The command line: what it takes, and the sentence for each thing it doesn't.
import assert from "node:assert/strict";
import test from "node:test";
import { parseOptions } from "../options.mjs";

test("settings have sensible values unless given", () => {
    assert.deepEqual(parseOptions(["--model", "/a/berth-tiny.gguf"]),
                     { model: "/a/berth-tiny.gguf", host: "127.0.0.1", name: "berth-tiny", port: 8080, context: 4096, parallel: 4, threads: 0,
                       bodyLimit: 4 << 20, waiting: 256 });
    const given = parseOptions(["--model=m", "--port=0", "--parallel", "2", "--name", "x", "--body-limit=2048"]);
    assert.deepEqual([given.port, given.parallel, given.name, given.bodyLimit], [0, 2, "x", 2048]);
    assert.equal(parseOptions(["--help"]).help, true);
});

test("what is wrong is said", () => {
    for (const [words, sentence] of [
        [[], /--model is missing/], [["--model"], /--model needs a value/], [["--what", "1"], /unknown option "--what"/], [["file"], /unknown option "file"/],
        [["--model=m", "--port", "65536"], /--port 65536: expected a whole number from 0 to 65535/], [["--model=m", "--parallel=-1"], /from 1 to 64/],
        [["--model=m", "--context", "1e3"], /--context 1e3/], [["--constructor", "x"], /unknown option/],
    ])
        assert.throws(() => parseOptions(words), sentence);
});
