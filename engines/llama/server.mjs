// server.mjs: the program: reads its command line, listens, loads the model (until then /health says 503), and ends on SIGTERM or SIGINT.
import { createServer } from "./http.mjs";
import { parseOptions, USAGE } from "./options.mjs";

const log = (text) => process.stderr.write(`llama engine: ${text}\n`);
let options;

try {
    options = parseOptions(process.argv.slice(2));
} catch (error) {
    log(error.message);
    process.stderr.write(`${USAGE}\n`);
    process.exit(2);
}
if (options.help) {
    process.stdout.write(`${USAGE}\n`);
    process.exit(0);
}

const server = createServer({ name: options.name, bodyLimit: options.bodyLimit, key: process.env.BERTH_ENGINE_KEY || null, log,
                              created: Math.floor(Date.now() / 1000) });

server.on("error", (error) => {
    log(`can't listen on ${options.host} port ${options.port}: ${error.message}`);
    process.exit(1);
});
server.listen(options.port, options.host, async () => {
    const { address, port, family } = server.address();

    process.stdout.write(`listening http://${family === "IPv6" ? `[${address}]` : address}:${port}\n`);
    try {
        const { loadEngine } = await import("./engine.mjs");

        server.engine = await loadEngine(options, log);
    } catch (error) {
        log(`can't load ${options.model}: ${error.message}`);
        process.exit(1);
    }
    process.stdout.write(`ready ${options.name}: ${server.engine.context} tokens a request, ${options.parallel} requests at once\n`);
});

for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
        // Streams under way break off, which their clients notice: a clean end would look like a complete answer.
        server.close();
        server.closeAllConnections();
        process.exit(0);
    });
}
