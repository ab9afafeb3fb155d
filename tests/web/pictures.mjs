#!/usr/bin/env node
// pictures.mjs: makes the pictures of docs/images anew: a pool with a software device, programs that share it, tasks and a model, as people start them, and a browser
// before it. By hand, when the page has changed: what stands there is what the page shows.
//
// usage: tests/web/pictures.mjs [NAME …]      NAME: of a picture, "machine"; none: all
// BERTH_BUILD: the build (build beside this tree). Needs what tools/setup test installs, and engines/llama for the playground.
import { chromium } from "@playwright/test";
import { spawn, spawnSync } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const BUILD = path.resolve(process.env.BERTH_BUILD ?? path.join(ROOT, "build"));
const IMAGES = path.join(ROOT, "docs/images");
const WANTED = process.argv.slice(2);
const PASSWORD = "a long pass phrase";
const CHROMIUM = [process.env.BERTH_CHROMIUM, "/usr/bin/chromium-headless-shell", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((p) => p && existsSync(p));
// As many as a machine's table shows before "Show all": what else runs where the picture is made is not for it. The last ones are idle most of the time.
const PROGRAMS = [["train-lora", 420, "batch", 30], ["diffusion", 380, "interactive", 30], ["captioner", 300, "normal", 30], ["embedder", 160, "normal", 30], ["reranker", 80, "normal", 2000],
  ["transcriber", 60, "normal", 2000], ["ocr", 60, "normal", 2000], ["segmenter", 40, "normal", 3000], ["translator", 40, "normal", 3000], ["classifier", 20, "normal", 3000]];
const SETTINGS = `[device]
kind = software
software_devices = 1
software_memory = 1GiB
software_link = 1GiB
[slice]
min = 2s
max = 4s
[arena]
size = 2GiB
threads = 2
`;
// A job that reads, writes and tells how far it is.
const JOB = `import os, sys, time
name, steps = sys.argv[1], 1500
for i in range(steps):
    with open(f"{name}.jsonl", "a") as f: f.write("x" * 20000 + "\\n")
    with open(f"{name}.jsonl") as f: f.read()
    print(f"step {i}: loss {4 / (i + 1) ** 0.5:.3f}", flush=True)
    os.write(3, f'{{"m": "progress", "share": {i / steps}, "text": "step {i} of {steps}"}}\\n'.encode())
    time.sleep(0.5)
`;

const folder = mkdtempSync(path.join(os.tmpdir(), "berth-pictures-"));
const device = mkdtempSync(path.join(existsSync("/dev/shm") ? "/dev/shm" : folder, "berth-pictures-"));
const children = [];
writeFileSync(path.join(folder, "berthd.conf"), SETTINGS);
const environment = {
  PATH: process.env.PATH, HOME: folder, LANG: "C.UTF-8", BERTH_CONFIG: path.join(folder, "berthd.conf"), BERTH_FOLDER: path.join(folder, "up"), BERTH_SOCKET: path.join(folder, "node.sock"),
  BERTH_SOFTWARE_DIR: device, BERTH_SOFTWARE_DEVICES: "1", BERTH_SOFTWARE_MEMORY: String(1 << 30), BERTH_SOFTWARE_LINK: String(1 << 30),
};

function start(name, argv) {
  const child = spawn(argv[0], argv.slice(1), { cwd: folder, env: environment, stdio: ["ignore", "pipe", "pipe"] });
  child.said = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (part) => void (child.said += part));
  child.name = name;
  children.push(child);
  return child;
}

async function until(what, look) {
  for (let i = 0; i < 300; i++) {
    const found = await look();
    if (found) return found;
    await new Promise((done) => setTimeout(done, 200));
  }
  throw new Error(`${what} never came\n${children.map((c) => `${c.name}: ${c.said.slice(-800)}`).join("\n")}`);
}

async function serve() {
  mkdirSync(environment.BERTH_FOLDER);
  const up = start("up", [path.join(BUILD, "src/cli/berth"), "up", "--folder", environment.BERTH_FOLDER, "--listen", "127.0.0.1:0", "--slots", "4"]);
  const link = (await until("the sign-in link", () => up.said.match(/http:\/\/\S+\/setup#\S+/)))[0];
  for (const [i, [name, mib, priority, idle]] of PROGRAMS.entries()) {
    copyFileSync(path.join(BUILD, "tests/programs/work"), path.join(folder, name));
    start(name, [path.join(BUILD, "src/cli/berth"), "run", "--quiet", "--priority", priority, "--", path.join(folder, name), "--memory", `${mib}MiB`, "--chunk", "20MiB", "--seed", String(i + 1), "--name", name, "--until", path.join(folder, "never"), "--idle", String(idle)]);
  }
  return { url: new URL(link).origin, link };
}

async function shoot(page, name, where, ready, options = {}) {
  if (WANTED.length && !WANTED.includes(name)) return;
  if (where !== null) await page.evaluate((to) => void (location.hash = to), where);
  try {
    await ready();
  } catch (e) {
    await page.screenshot({ path: path.join(os.tmpdir(), `berth-picture-${name}.png`) });
    throw e;
  }
  await page.mouse.move(0, 0);
  await page.evaluate(() => document.activeElement instanceof HTMLHeadingElement && document.activeElement.blur());
  await page.screenshot({ path: path.join(IMAGES, `${name}.png`), ...options });
  console.log(`docs/images/${name}.png`);
}

async function main() {
  const { url, link } = await serve();
  const browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  const page = await (await browser.newContext({ viewport: { width: 1360, height: 860 }, deviceScaleFactor: 1.5, colorScheme: "light" })).newPage();
  page.setDefaultTimeout(120_000);
  const see = (text) => page.getByText(text).first().waitFor();
  await page.goto(link);
  await page.getByLabel("Name", { exact: true }).fill("admin");
  await page.getByLabel(/^Password/).first().fill(PASSWORD);
  const again = page.getByLabel(/again|repeat/i);
  if (await again.count()) await again.fill(PASSWORD);
  await shoot(page, "sign-in", null, async () => {});
  await page.locator("button.first").first().click();
  await page.locator("[data-connection=live]").first().waitFor({ state: "attached" });

  const submit = (name, extra = []) => spawnSync(path.join(BUILD, "src/cli/berth"), ["submit", "--name", name, ...extra, "--", "python3", "-c", JOB, name.replaceAll(" ", "-")], { env: environment });
  for (const name of ["index repository", "fine-tune adapter", "deduplicate corpus"]) submit(name);
  const short = () => {
    for (const name of ["generate captions", "evaluate humaneval"]) spawnSync(path.join(BUILD, "src/cli/berth"), ["submit", "--name", name, "--", "sh", "-c", "sleep 2; echo done"], { env: environment });
  };
  const worker = await until("the worker's id", () => page.evaluate(async () => (document.querySelector("a[href^='#/workers/worker_']")?.getAttribute("href") ?? "").split("/")[2] || null));
  const minutes = Number(process.env.BERTH_PICTURES_MINUTES ?? 4);

  await shoot(page, "playground", "#/chat", async () => {
    await until("the model", () => page.getByRole("combobox", { name: "Model" }).or(page.locator("select")).first().locator("option", { hasText: "berth-tiny" }).count());
    await page.locator("select").first().selectOption({ label: "berth-tiny" }).catch(() => page.locator("select").first().selectOption("berth-tiny"));
    await page.getByLabel("Temperature").fill("0");
    for (const [i, question] of ["What is Berth?", "What does a worker do?"].entries()) {
      await page.getByPlaceholder("Message").fill(question);
      await page.getByRole("button", { name: "Send" }).click();
      await until("an answer", async () => (await page.getByText(/tokens\/s/).count()) > i);
    }
  });
  // While somebody looks the probes count; the plots need some minutes to show anything.
  await page.evaluate((to) => void (location.hash = to), `#/workers/${worker}/machine`);
  await see("Probes in the kernel");
  for (const from = Date.now(); Date.now() - from < minutes * 60_000;) {
    short();
    await page.waitForTimeout(4000);
  }
  await page.setViewportSize({ width: 1360, height: 1960 });
  await shoot(page, "machine", `#/workers/${worker}/machine`, async () => {
    await see("train-lora");
    const files = page.getByRole("row", { name: /python3/ }).getByRole("button", { name: /\d+ files?/ }).first();
    if (await files.count()) await files.click();
  });
  await page.setViewportSize({ width: 1360, height: 860 });
  await shoot(page, "overview", "#/", () => see("Throughput"));
  await shoot(page, "dark", "#/", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    await page.waitForTimeout(1000);
  });
  await page.emulateMedia({ colorScheme: "light" });
  await shoot(page, "workers", "#/workers", () => see("ready"));
  await shoot(page, "worker", `#/workers/${worker}`, async () => {
    await see("Engines");
    await see("Programs on its devices");
  });
  await shoot(page, "models", "#/models", () => see("ready"));
  await shoot(page, "tasks", "#/tasks", () => see("evaluate humaneval"));
  await shoot(page, "task", "#/tasks?state=leased", async () => {
    await page.getByRole("link", { name: "fine-tune adapter" }).first().click();
    await see(/step \d+: loss/);
  });
  await shoot(page, "submit", "#/submit", async () => {
    await page.getByLabel("Name", { exact: true }).fill("evaluate adapter");
    await page.getByLabel("Command", { exact: true }).fill("python3 evaluate.py --split test");
  });
  await shoot(page, "accounts", "#/accounts", () => see("admin"));
  await shoot(page, "key", "#/keys", async () => {
    await page.getByRole("button", { name: "New key" }).click();
    await page.getByLabel("What is it for?").fill("notebook");
    await page.getByRole("dialog").locator("button.first").click();
    await page.getByRole("button", { name: "Copy" }).first().waitFor();
  });
  const phone = await (await browser.newContext({ viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true })).newPage();
  await phone.goto(url + "/");
  await phone.getByLabel("Name", { exact: true }).fill("admin");
  await phone.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await phone.getByRole("button", { name: "Sign in" }).click();
  await phone.locator("[data-connection=live]").first().waitFor({ state: "attached" });
  await shoot(phone, "phone", "#/", () => phone.getByText("Running now").waitFor());
  await shoot(phone, "machine-phone", `#/workers/${worker}/machine`, () => phone.getByText("Probes in the kernel").waitFor());
  await browser.close();
}

async function end() {
  for (const child of children.reverse()) {
    child.kill("SIGTERM");
    await new Promise((done) => (child.exitCode !== null || child.signalCode !== null ? done() : child.on("exit", done)));
  }
  rmSync(folder, { recursive: true, force: true });
  rmSync(device, { recursive: true, force: true });
}

let failed = null;
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => void end().then(() => process.exit(130)));
try {
  await main();
} catch (e) {
  failed = e;
}
await end();
if (failed) throw failed;
