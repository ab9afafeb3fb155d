// models.spec.ts: models and the playground, with engines that a real worker starts and that behave as they are told, also badly.
import { expect, test } from "./pool";

test.beforeAll(async ({ pool }) => {
  await pool.worker("box", pool.engine("talker", "--tokens 8") + pool.engine("endless", "--tokens 1000000 --pace 0.05", "parallel = 1") + pool.engine("mortal", "--tokens 1000000 --pace 0.05") + pool.engine("hanger", "--fault hang"));
});

test("every model is listed, started and stopped", async ({ admin: page, pool }) => {
  await page.getByRole("navigation").first().getByRole("link", { name: "Models" }).click();
  const talker = page.getByRole("region", { name: "talker" });
  await expect(page.locator(".model")).toHaveCount(4);
  await expect(talker.locator(".state").first()).toHaveText("cold");
  await talker.getByRole("button", { name: "Start" }).click();
  await expect(talker.locator(".state").first()).toHaveText("ready");
  await talker.getByRole("button", { name: "Stop" }).click();
  await expect(talker.locator(".state").first()).toHaveText("cold");
  void pool;
});

test("an answer comes in words, with its figures; a cold model starts when it is asked", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/chat?model=talker");
  await page.getByLabel("Message").fill("Say something.");
  await page.keyboard.press("Enter");
  const answer = page.locator("[data-phase]").last();
  await expect(answer).toHaveAttribute("data-phase", "done");
  await expect(answer.locator(".words")).toHaveText(/^(word ?){8}$/);
  await expect(answer).toContainText("first token");
  await expect(answer).toContainText("8 tokens");
  await expect(page.getByText("Say something.")).toBeVisible();
  // Going elsewhere and back loses nothing; a new talk forgets it.
  await page.getByRole("navigation").first().getByRole("link", { name: "Models" }).click();
  await page.getByRole("navigation").first().getByRole("link", { name: "Playground" }).click();
  await expect(page.getByText("Say something.")).toBeVisible();
  await page.getByRole("button", { name: "New talk" }).click();
  await expect(page.getByText("Say something.")).toHaveCount(0);
});

test("a long answer shows its speed and is stopped; the engine is let go", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/chat?model=endless");
  await page.getByLabel("Message").fill("Go on.");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("[data-phase]").last();
  await expect(answer).toHaveAttribute("data-phase", "writing");
  await expect(answer.locator("[data-rate]")).toHaveText(/^\d+\.\d tokens\/s$/);
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(answer).toHaveAttribute("data-phase", "stopped");
  await expect.poll(async () => (await pool.ask("GET", "/api/v1/models/endless")).running, { timeout: 90_000 }).toBe(0);
});

test("who waits sees the place in the queue", async ({ admin: page, pool }) => {
  // Its one place is taken.
  const abort = new AbortController();
  const first = await fetch(pool.url + "/v1/chat/completions", {
    method: "POST", signal: abort.signal, headers: { Authorization: `Bearer ${pool.token}`, "Content-Type": "application/json" },
    body: JSON.stringify({ model: "endless", stream: true, messages: [{ role: "user", content: "Go on." }] }),
  });
  await first.body?.getReader().read();
  await page.goto(pool.url + "/#/chat?model=endless");
  await page.getByLabel("Message").fill("Me too.");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("[data-phase]").last();
  await expect(answer).toContainText("Position 1 in the queue");
  abort.abort();
  await expect(answer).toHaveAttribute("data-phase", "writing");
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(answer).toHaveAttribute("data-phase", "stopped");
});

test("an engine that ends in mid-answer is an error, and what came stays", async ({ admin: page, pool, watched }) => {
  watched.allowed.push(/ERR_INCOMPLETE_CHUNKED_ENCODING/); // the pool breaks the connection off: never a clean end
  await page.goto(pool.url + "/#/chat?model=mortal");
  await page.getByLabel("Message").fill("Say something.");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("[data-phase]").last();
  await expect(answer.locator(".words")).toHaveText(/word/);
  await pool.ask("POST", "/api/v1/models/mortal/stop", {});
  await expect(answer).toHaveAttribute("data-phase", "failed");
  await expect(answer.getByRole("alert")).toBeVisible();
  await expect(answer.locator(".words")).toHaveText(/word/);
});

test("an answer that never begins can be stopped", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/chat?model=hanger");
  await page.getByLabel("Message").fill("Are you there?");
  await page.getByRole("button", { name: "Send" }).click();
  const answer = page.locator("[data-phase]").last();
  await expect(answer.locator("[data-waiting]")).toBeVisible();
  await page.getByRole("button", { name: "Stop" }).click();
  await expect(answer).toHaveAttribute("data-phase", "stopped");
});
