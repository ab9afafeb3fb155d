// tasks.spec.ts: submitting, watching, cancelling, priorities, files, a worker drained, a key made: with a real worker behind the pool.
import { readFileSync } from "node:fs";
import { expect, test } from "./pool";

test.beforeAll(async ({ pool }) => {
  await pool.worker("box");
});

test("a task is submitted and watched until it ends", async ({ admin: page, pool }) => {
  await page.getByRole("link", { name: "New task" }).click();
  await page.getByLabel("Command", { exact: true }).fill("for i in 1 2 3; do echo line $i; done");
  await page.getByLabel("Name", { exact: true }).fill("three lines");
  await page.getByRole("button", { name: "Try only" }).click();
  await expect(page.getByRole("status").filter({ hasText: "could run it" })).toHaveText("1 worker could run it.");
  await page.getByRole("button", { name: "Submit" }).click();
  await expect(page.getByRole("heading", { name: "three lines" })).toBeVisible();
  await expect(page.locator(".head .state")).toHaveText("done");
  await expect(page.getByRole("log", { name: "Output" })).toHaveText("line 1\nline 2\nline 3\n");
  await expect(page.getByRole("heading", { name: "Result" })).toBeVisible();
  await expect(page.locator(".timeline")).toContainText("Done");
  await page.getByRole("link", { name: "Tasks" }).first().click();
  await expect(page.getByRole("row", { name: /three lines/ })).toContainText("done");
  void pool;
});

test("output comes while the task runs, and cancelling ends it", async ({ admin: page, pool }) => {
  const task = await pool.submit({ name: "endless", payload: { argv: ["sh", "-c", "echo begun; exec sleep 3600"] } });
  await page.goto(`${pool.url}/#/tasks/${task.id}`);
  await expect(page.getByRole("log", { name: "Output" })).toHaveText("begun\n");
  await expect(page.locator(".head .state")).toHaveText("running");
  await page.getByRole("button", { name: "Cancel the task" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Cancel the task" }).click();
  await expect(page.locator(".head .state")).toHaveText("cancelled");
  await expect(page.getByRole("button", { name: "Cancel the task" })).toHaveCount(0);
});

test("a batch, its files, and a failure with its reason", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/submit?as=batch");
  await page.getByLabel(/Tasks: a JSON array/).fill(`{"type": "command", "name": "makes a file", "payload": {"argv": ["sh", "-c", "printf hello > out.txt"], "outputs": ["*.txt"]}}\n{"type": "command", "name": "fails", "attempts": 1, "payload": {"argv": ["sh", "-c", "echo because >&2; exit 3"]}}`);
  await page.getByRole("button", { name: "Submit" }).click();
  await page.getByRole("link", { name: "makes a file" }).click();
  const [download] = await Promise.all([page.waitForEvent("download"), page.getByRole("row", { name: /out.txt/ }).getByRole("button", { name: "Download" }).click()]);
  expect(download.suggestedFilename()).toBe("out.txt");
  expect(readFileSync(await download.path(), "utf8")).toBe("hello");
  await page.goto(pool.url + "/#/tasks?state=failed");
  await page.getByRole("link", { name: "fails" }).click();
  await expect(page.locator(".said").first()).toContainText("exit code 3");
});

test("what is wrong with a batch is told by its place", async ({ admin: page, pool, watched }) => {
  watched.allowed.push(/status of 422/);
  await page.goto(pool.url + "/#/submit?as=batch");
  const text = page.getByLabel(/Tasks: a JSON array/);
  await text.fill("{no");
  await page.getByRole("button", { name: "Submit" }).click();
  await expect(page.getByRole("alert")).toContainText("no JSON");
  await text.fill('[{"type": "command", "payload": {"argv": ["true"]}, "prioritty": "high"}]');
  await page.getByRole("button", { name: "Submit" }).click();
  await expect(page.getByRole("alert")).toContainText("prioritty");
});

test("a waiting task says why, and its priority changes", async ({ admin: page, pool }) => {
  const task = await pool.submit({ name: "needs what nobody has", payload: { argv: ["true"] }, needs: { labels: { zone: "nowhere" } } });
  await page.goto(`${pool.url}/#/tasks/${task.id}`);
  await expect(page.getByRole("heading", { name: "Why it does not run yet" })).toBeVisible();
  await expect(page.getByText("No worker that is known could run it.")).toBeVisible();
  await page.getByLabel("Priority").selectOption("urgent");
  await expect(page.getByText("Priority is urgent now.")).toBeVisible();
  expect((await pool.ask("GET", `/api/v1/tasks/${task.id}`)).priority).toBe("urgent");
  await pool.ask("POST", `/api/v1/tasks/${task.id}/cancel`, {});
  await expect(page.locator(".head .state")).toHaveText("cancelled");
});

test("the list follows, filters, and goes back in time by pages", async ({ admin: page, pool }) => {
  await pool.ask("POST", "/api/v1/tasks", { tasks: Array.from({ length: 120 }, (_, i) => ({ type: "probe", name: `old ${i}`, payload: {}, not_before: "2099-01-01T00:00:00Z", wait_for_workers: true })) });
  await page.goto(pool.url + "/#/tasks");
  await expect(page.locator("tbody tr")).toHaveCount(50);
  await expect(page.getByRole("row", { name: /old 119/ })).toBeVisible();
  await pool.submit({ name: "just now", type: "probe", payload: {}, not_before: "2099-01-01T00:00:00Z" });
  await expect(page.locator("tbody tr").first()).toContainText("just now");
  await page.getByRole("button", { name: "Older" }).click();
  await expect(page.getByRole("row", { name: /old 60\b/ })).toBeVisible();
  await expect(page.getByRole("row", { name: /just now/ })).toHaveCount(0);
  await page.getByRole("button", { name: "Newer" }).click();
  await expect(page.locator("tbody tr").first()).toContainText("just now");
  await page.getByLabel("State").selectOption("cancelled");
  await expect(page.getByRole("row", { name: /endless/ })).toBeVisible();
  await expect(page.getByRole("row", { name: /just now/ })).toHaveCount(0);
});

test("a worker is drained and let work again", async ({ admin: page, pool }) => {
  await page.getByRole("navigation").first().getByRole("link", { name: "Workers" }).click();
  await page.getByRole("link", { name: "box" }).click();
  await page.getByRole("button", { name: "Drain", exact: true }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Drain" }).click();
  await expect(page.locator(".head .state")).toHaveText(/drain(ing|ed)/);
  expect((await pool.ask("GET", "/api/v1/workers")).data[0].state).toMatch(/drain/);
  await page.getByRole("button", { name: "Let it work again" }).click();
  await expect(page.locator(".head .state")).toHaveText("active");
});

test("a key is shown once, works, and is worth nothing once ended", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/keys");
  await page.getByRole("button", { name: "New key" }).click();
  await page.getByLabel("What is it for?").fill("a notebook");
  await page.getByLabel("Some rights only").check();
  await page.getByLabel("task.read", { exact: true }).check();
  await page.getByRole("button", { name: "Make the key" }).click();
  const key = await page.locator("[data-secret]").innerText();
  expect(key).toMatch(/^berth_[A-Za-z0-9]{49}$/);
  await page.getByRole("button", { name: "I have it" }).click();
  await expect(page.locator("body")).not.toContainText(key);
  expect((await pool.raw("GET", "/api/v1/tasks", undefined, key)).status).toBe(200);
  expect((await pool.raw("GET", "/api/v1/accounts", undefined, key)).status).toBe(403);
  await page.getByRole("button", { name: "End the key a notebook" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  await expect(page.getByRole("row", { name: /a notebook/ })).toHaveCount(0);
  expect((await pool.raw("GET", "/api/v1/tasks", undefined, key)).status).toBe(401);
});

test("an account is made and disabled; a user sees what is theirs only", async ({ admin: page, pool, browser }) => {
  await page.goto(pool.url + "/#/accounts");
  await page.getByRole("button", { name: "New account" }).click();
  await page.getByLabel("Name", { exact: true }).fill("alice");
  await page.getByLabel("Password", { exact: true }).fill("alice has a phrase");
  await page.getByRole("button", { name: "Make the account" }).click();
  await expect(page.getByRole("row", { name: /alice/ })).toBeVisible();

  const context = await browser.newContext(), theirs = await context.newPage();
  await theirs.goto(pool.url + "/");
  await theirs.getByLabel("Name", { exact: true }).fill("alice");
  await theirs.getByLabel("Password", { exact: true }).fill("alice has a phrase");
  await theirs.getByRole("button", { name: "Sign in" }).click();
  await theirs.goto(pool.url + "/#/tasks");
  await expect(theirs.getByText("No such tasks")).toBeVisible();
  await expect(theirs.getByRole("navigation").first().getByRole("link", { name: "Workers" })).toHaveCount(0);
  await context.close();

  await page.getByRole("row", { name: /alice/ }).getByRole("button", { name: "Change" }).click();
  await page.getByLabel("Disabled").check();
  await page.getByRole("dialog").getByRole("button", { name: "Change" }).click();
  await expect(page.getByRole("row", { name: /alice/ })).toContainText("disabled");
});
