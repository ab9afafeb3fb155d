// machine.spec.ts: a machine as it is now: the way there, what is shown and what is said to be missing, hostile names, who sees processes, phones, a worker that goes.
import { expect, live, PASSWORD, signIn, test } from "./pool";

const NAME = "<i>box</i>";
let worker = "";

test.beforeAll(async ({ pool }) => {
  await pool.worker(NAME);
  worker = (await pool.ask("GET", "/api/v1/workers")).data[0].id;
  // A process whose name and file are a stranger's choice.
  await pool.submit({ name: "busy", payload: { argv: ["python3", "-c", "import ctypes\nctypes.CDLL(None).prctl(15, b'<b>\\x1b[2J', 0, 0, 0)\nwhile True: pass"] } });
});

test("from the workers to the machine: figures, plots, processes", async ({ admin: page, pool }) => {
  await page.goto(pool.url + "/#/workers");
  await page.getByRole("row", { name: new RegExp("box") }).getByRole("link", { name: "machine" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(NAME);
  for (const title of ["Devices", "How it went", "Processes", "Probes in the kernel"]) await expect(page.getByRole("heading", { name: title })).toBeVisible();
  // Measured: a figure. Not measured: the reason, never zero.
  const seen = await pool.ask("GET", `/api/v1/workers/${worker}/machine`);
  const tile = page.locator(".tile", { has: page.getByText("Memory", { exact: true }) });
  await expect(tile).toContainText("GiB");
  if (seen.machine.host.temperature_c === null) await expect(page.locator(".tile", { has: page.getByText("Temperature", { exact: true }) })).toContainText("unavailable");
  await expect(page.locator(".plot", { has: page.getByRole("heading", { name: "Processors" }) }).locator("canvas")).toBeVisible();
  await page.getByLabel("Order of processes").selectOption("cpu");
  // Its name is text, however many others are busy.
  const busy = page.getByRole("row", { name: /<b>.+\[2J/ });
  await expect(async () => {
    const more = page.getByRole("button", { name: /^Show all/ });
    if (await more.count()) await more.click();
    await expect(busy).toBeVisible({ timeout: 5000 });
  }).toPass({ timeout: 90_000 });
  expect(await page.locator("main b", { hasText: "[2J" }).count()).toBe(0);
  await page.getByRole("button", { name: "7 d" }).click();
  await expect(page.getByRole("button", { name: "7 d" })).toHaveAttribute("aria-pressed", "true");
  await expect(busy).toBeVisible();
  await page.getByRole("navigation", { name: "Of this worker" }).getByRole("link", { name: "Worker" }).click();
  await expect(page.getByRole("heading", { name: "Tasks it runs" })).toBeVisible();
  await page.getByRole("link", { name: "in full" }).click();
  await expect(page.getByRole("heading", { name: "Probes in the kernel" })).toBeVisible();
});

for (const width of [390, 320]) {
  test(`it fits a phone ${width} wide, dark and light`, async ({ admin: page, pool }) => {
    await page.setViewportSize({ width, height: 800 });
    await page.goto(`${pool.url}/#/workers/${worker}/machine`);
    for (const colorScheme of ["dark", "light"] as const) {
      await page.emulateMedia({ colorScheme });
      await expect(page.getByRole("heading", { name: "Probes in the kernel" })).toBeVisible();
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
    }
  });
}

test("an auditor sees figures, and no processes; a user has no such page", async ({ page, pool, watched }) => {
  watched.allowed.push(/Failed to load resource/);
  for (const role of ["auditor", "user"]) await pool.ask("POST", "/api/v1/accounts", { name: role, role, password: PASSWORD });
  await signIn(page, pool, "auditor");
  await page.goto(`${pool.url}/#/workers/${worker}/machine`);
  await expect(page.getByText("shown to operators and administrators")).toBeVisible();
  await expect(page.getByRole("heading", { name: "How it went" })).toBeVisible();
  await expect(page.getByText(/pid \d/)).toHaveCount(0);
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await signIn(page, pool, "user");
  await page.goto(`${pool.url}/#/workers/${worker}/machine`);
  await expect(page.getByRole("alert")).toBeVisible();
  await live(page);
});

test("a worker that goes is said to be gone", async ({ admin: page, pool, watched }) => {
  watched.allowed.push(/Failed to load resource/);
  const other = await pool.worker("goes");
  const id = (await pool.ask("GET", "/api/v1/workers")).data.find((w: { name: string }) => w.name === "goes").id;
  await page.goto(`${pool.url}/#/workers/${id}/machine`);
  await expect(page.getByRole("heading", { name: "How it went" })).toBeVisible();
  await other.stop("SIGKILL");
  await expect(page.getByText("It is not connected").first()).toBeVisible();
});
