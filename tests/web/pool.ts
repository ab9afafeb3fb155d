// pool.ts: what a walk stands on: a berth-pool and a berth-worker of its own in a temporary folder, and a page that is watched: no word in the console, nothing against
// the policy, nothing asked of any other place.
//
// The page reaches the pool through a relay that stays when the pool goes, so that a restarted pool has the same address.
import { expect, test as base, type Page } from "@playwright/test";
import { spawn, type ChildProcess } from "node:child_process";
import { closeSync, existsSync, mkdtempSync, openSync, readFileSync, rmSync, mkdirSync, writeFileSync } from "node:fs";
import net from "node:net";
import os from "node:os";
import path from "node:path";

const ROOT = path.resolve(import.meta.dirname ?? path.dirname(new URL(import.meta.url).pathname), "../..");
const BUILD = process.env.BERTH_BUILD ?? path.join(ROOT, "build");
const DOUBLE = path.join(ROOT, "tests/system/openai_double.py");
export const PASSWORD = "a long pass phrase";

// A process with its output in a file; ready once it wrote a line to descriptor 3.
class Program {
  private child: ChildProcess;
  ready: Promise<string>;
  ended: Promise<number | null>;

  constructor(readonly name: string, folder: string, argv: string[], readiness = true) {
    const log = openSync(path.join(folder, `${name}.log`), "a");
    this.child = spawn(argv[0] as string, argv.slice(1), { cwd: folder, stdio: ["ignore", log, log, "pipe"], detached: true, env: { PATH: process.env.PATH, HOME: folder, LANG: "C.UTF-8" } });
    closeSync(log);
    this.ended = new Promise((resolve) => {
      this.child.on("exit", resolve);
      this.child.on("error", () => resolve(127));
    });
    const told = this.child.stdio[3] as NodeJS.ReadableStream;
    this.ready = !readiness ? Promise.resolve("") : new Promise((resolve, reject) => {
      let text = "";
      told.on("data", (part) => {
        text += part;
        if (text.includes("\n")) resolve(text.trim());
      });
      void this.ended.then((code) => reject(new Error(`${name} ended with ${code}:\n${readFileSync(path.join(folder, `${name}.log`), "utf8").slice(-3000)}`)));
    });
    this.ready.catch(() => undefined);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    if (this.child.exitCode === null && this.child.pid) {
      this.child.kill(signal);
      // A second word for workers that let tasks go on, and an end for what does not listen.
      const again = setTimeout(() => this.child.kill(signal), 1000), last = setTimeout(() => this.child.kill("SIGKILL"), 60_000);
      await this.ended;
      clearTimeout(again);
      clearTimeout(last);
    }
  }
}

export class Pool {
  folder = mkdtempSync(path.join(os.tmpdir(), "berth-web-"));
  url = "";
  link = "";
  token = "";
  private real: { host: string; port: number } | null = null;
  private program: Program | null = null;
  private programs: Program[] = [];
  private relay: net.Server;
  private sockets = new Set<net.Socket>();
  private starts = 0;

  constructor() {
    mkdirSync(path.join(this.folder, "local"));
    this.relay = net.createServer((here) => {
      if (!this.real) {
        here.destroy();
        return;
      }
      const there = net.connect(this.real.port, this.real.host);
      for (const [from, to] of [[here, there], [there, here]] as const) {
        this.sockets.add(from);
        from.pipe(to);
        from.on("error", () => to.destroy());
        from.on("close", () => {
          this.sockets.delete(from);
          to.destroy();
        });
      }
    });
  }

  async start(): Promise<void> {
    const local = path.join(this.folder, "local/local.json");
    this.program = new Program(`pool-${++this.starts}`, this.folder, [
      path.join(BUILD, "src/gateway/berth-pool"), "--listen", "127.0.0.1:0", "--folder", path.join(this.folder, "pool"), "--local", local, "--ready-fd", "3",
    ]);
    const real = new URL(await this.program.ready);
    const told = JSON.parse(readFileSync(local, "utf8"));
    this.token = told.token;
    if (!this.url) {
      await new Promise<void>((done) => this.relay.listen(0, "127.0.0.1", done));
      this.url = `http://127.0.0.1:${(this.relay.address() as net.AddressInfo).port}`;
    }
    if (told.sign_in) this.link = this.url + told.sign_in.slice(real.origin.length);
    this.real = { host: real.hostname, port: Number(real.port) };
  }

  async stop(): Promise<void> {
    this.real = null;
    await this.program?.stop();
    for (const socket of this.sockets) socket.destroy();
  }

  // A worker as people start it. models: what stands in its catalogue.
  async worker(name: string, models = "", ...options: string[]): Promise<Program> {
    const place = `worker-${this.programs.length + 1}`, catalogue = path.join(this.folder, `${place}.conf`);
    writeFileSync(catalogue, models);
    const real = this.real as { host: string; port: number };
    const program = new Program(place, this.folder, [
      path.join(BUILD, "src/worker/berth-worker"), "--pool", `ws://${real.host}:${real.port}`, "--token-file", path.join(this.folder, "local/worker.key"), "--folder", path.join(this.folder, place),
      "--name", name, "--slots", "2", "--models", catalogue, "--ready-fd", "3", ...options,
    ]);
    this.programs.push(program);
    await program.ready;
    return program;
  }

  // A section of a catalogue: an engine of a few lines that behaves as it is told. Options are openai_double.py's.
  engine(name: string, options: string, more = ""): string {
    return `[model ${name}]\nkind = command\ncommand = python3 ${DOUBLE} --port {port} ${options}\n${more}\n\n`;
  }

  async ask<T = any>(method: string, where: string, body?: unknown, token = this.token): Promise<T> {
    const answer = await this.raw(method, where, body, token);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${where}: ${answer.status} ${text}`);
    return (text ? JSON.parse(text) : undefined) as T;
  }

  raw(method: string, where: string, body?: unknown, token = this.token): Promise<Response> {
    return fetch(this.url + where, { method, headers: { Authorization: `Bearer ${token}`, "Content-Type": "application/json" }, body: body === undefined ? undefined : JSON.stringify(body) });
  }

  submit(task: object): Promise<{ id: string }> {
    return this.ask("POST", "/api/v1/tasks", { type: "command", wait_for_workers: true, ...task });
  }

  async end(): Promise<void> {
    for (const program of this.programs) await program.stop();
    await this.stop();
    this.relay.close();
    if (existsSync(this.folder)) rmSync(this.folder, { recursive: true, force: true });
  }
}

export interface Watched {
  wrong: string[]; // what a page must not do
  allowed: RegExp[]; // what this walk has coming: a pool that is away is told of by the browser
}

export function watch(page: Page, pool: Pool): Watched {
  const watched: Watched = { wrong: [], allowed: [] };
  const say = (text: string) => void (watched.allowed.some((a) => a.test(text)) || watched.wrong.push(text));
  page.on("console", (message) => {
    if (message.type() === "error" || message.type() === "warning") say(`${message.type()}: ${message.text()}`);
  });
  page.on("pageerror", (error) => say(`exception: ${error.message}`));
  page.on("dialog", (dialog) => {
    say(`dialog: ${dialog.message()}`);
    void dialog.dismiss();
  });
  page.on("request", (request) => {
    if (!request.url().startsWith(pool.url + "/") && !request.url().startsWith("blob:" + pool.url)) say(`request: ${request.url()}`);
  });
  return watched;
}

export async function live(page: Page): Promise<void> {
  await expect(page.locator("[data-connection=live]").first()).toBeAttached();
}

export async function signIn(page: Page, pool: Pool, name = "admin", password = PASSWORD): Promise<void> {
  await page.goto(pool.url + "/");
  await page.getByLabel("Name", { exact: true }).fill(name);
  await page.getByLabel("Password", { exact: true }).fill(password);
  await page.getByRole("button", { name: "Sign in" }).click();
  await live(page);
}

// One pool and worker for the walks of a file, with an administrator; `page` is watched.
export const test = base.extend<{ watched: Watched; admin: Page }, { pool: Pool }>({
  pool: [
    async ({}, use) => {
      const pool = new Pool();
      try {
        await pool.start();
        await use(pool);
      } finally {
        await pool.end();
      }
    },
    { scope: "worker", timeout: 240_000 },
  ],
  watched: async ({ page, pool }, use) => {
    const watched = watch(page, pool);
    await use(watched);
    expect(watched.wrong, "the page did what it must not").toEqual([]);
  },
  admin: async ({ page, pool, watched }, use) => {
    void watched;
    await ensureAdmin(pool);
    await signIn(page, pool);
    await use(page);
  },
});

const made = new WeakSet<Pool>();

// The first administrator, by the one-time link's own route.
export async function ensureAdmin(pool: Pool): Promise<void> {
  if (made.has(pool)) return;
  made.add(pool);
  const answer = await pool.raw("POST", "/api/v1/accounts", { name: "admin", role: "admin", password: PASSWORD });
  if (!answer.ok && answer.status !== 409) throw new Error(`no administrator: ${answer.status} ${await answer.text()}`);
}

export { expect };
