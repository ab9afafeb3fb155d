// page.spec.ts: what holds for every page: text stays text, phones, dark and light, the keyboard, a pool that restarts, and how much there is to load.
import { expect, live, signIn, test } from "./pool";

const EVIL = `<img src=x onerror="document.title='taken'"><script>window.taken=1</script>`;
const PAGES = ["#/", "#/tasks", "#/submit", "#/workers", "#/models", "#/chat", "#/keys", "#/accounts", "#/audit", "#/nowhere"];

test.beforeAll(async ({ pool }) => {
  await pool.worker("<b>box</b>");
  await pool.submit({ name: EVIL, payload: { argv: ["sh", "-c", "echo '<img src=x onerror=alert(1)>'; exec sleep 3600"] } });
});

test("names and output from outside stay text", async ({ admin: page, pool }) => {
  const holds = async () => {
    expect(await page.evaluate(() => "taken" in window || document.title === "taken")).toBe(false);
    expect(await page.locator("img").count()).toBe(0);
  };
  await expect(page.getByText(EVIL).first()).toBeVisible();
  await holds();
  await page.goto(pool.url + "/#/tasks");
  await page.getByRole("link", { name: EVIL }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(EVIL);
  await expect(page.getByRole("log", { name: "Output" })).toHaveText("<img src=x onerror=alert(1)>\n");
  await holds();
  await page.goto(pool.url + "/#/workers");
  await page.getByRole("link", { name: "<b>box</b>" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText("<b>box</b>");
  await holds();
  await page.goto(pool.url + "/#/tasks/%3Cimg%20src=x%3E");
  await expect(page.getByText("That is no task’s id")).toBeVisible();
  await page.goto(pool.url + `/#/chat?model=${encodeURIComponent(EVIL)}`);
  await expect(page.getByRole("heading", { name: "Playground" })).toBeVisible();
  await holds();
});

for (const width of [390, 320]) {
  test(`every page fits a phone ${width} wide`, async ({ admin: page, pool }) => {
    await page.setViewportSize({ width, height: 800 });
    for (const where of PAGES) {
      await page.goto(pool.url + "/" + where);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      await expect(page.getByRole("navigation", { name: "Pages" }).last()).toBeVisible();
      expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), where).toBeLessThanOrEqual(0);
    }
    const id = (await pool.ask("GET", "/api/v1/workers")).data[0].id;
    await page.goto(`${pool.url}/#/workers/${id}`);
    await expect(page.getByRole("heading", { name: "Machine" })).toBeVisible();
    expect(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth)).toBeLessThanOrEqual(0);
  });
}

test("dark and light: as the system says, and as one chooses", async ({ admin: page }) => {
  const theme = () => page.evaluate(() => document.documentElement.dataset.theme);
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: "light" });
  await expect.poll(theme).toBe("light");
  const light = await ground();
  await page.emulateMedia({ colorScheme: "dark" });
  await expect.poll(theme).toBe("dark");
  expect(await ground()).not.toBe(light);
  const button = page.getByRole("button", { name: /^Colours/ }).first();
  await button.click(); // dark
  await button.click(); // light
  await expect.poll(theme).toBe("light");
  await page.reload();
  await expect.poll(theme).toBe("light");
  await live(page);
});

test("the keyboard reaches everything", async ({ admin: page }) => {
  await page.reload();
  await live(page);
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to the content" })).toBeFocused();
  const outline = await page.evaluate(() => getComputedStyle(document.activeElement as Element).outlineStyle);
  expect(outline).not.toBe("none");
  await page.keyboard.press("Enter");
  await expect(page.locator("main")).toBeFocused();
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "New task" })).toBeFocused();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { name: "New task" })).toBeVisible();
  await page.getByLabel("Command", { exact: true }).focus();
  await page.keyboard.type("true");
  for (let i = 0; i < 12 && !(await page.evaluate(() => document.activeElement?.textContent === "Submit")); i++) await page.keyboard.press("Tab");
  await expect(page.getByRole("button", { name: "Submit" })).toBeFocused();
  // A dialog takes the focus, and Escape gives it back.
  await page.evaluate(() => (location.hash = "#/keys"));
  await page.getByRole("button", { name: "New key" }).focus();
  await page.keyboard.press("Enter");
  await expect(page.getByRole("dialog")).toBeVisible();
  await page.keyboard.press("Escape");
  await expect(page.getByRole("dialog")).toHaveCount(0);
  await expect(page.getByRole("button", { name: "New key" })).toBeFocused();
});

test("every control has a name", async ({ admin: page, pool }) => {
  for (const where of PAGES) {
    await page.goto(pool.url + "/" + where);
    await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
    const unnamed = await page.evaluate(() =>
      [...document.querySelectorAll<HTMLElement>("button, a, input, select, textarea")].filter((e) => {
        const labels = (e as HTMLInputElement).labels;
        return !(e.textContent?.trim() && e.tagName !== "SELECT" && e.tagName !== "TEXTAREA") && !e.getAttribute("aria-label") && !(labels && labels.length);
      }).map((e) => e.outerHTML.slice(0, 120)),
    );
    expect(unnamed, where).toEqual([]);
  }
});

test("a pool that restarts is found again, and what happened meanwhile is there", async ({ page, pool, watched }) => {
  watched.allowed.push(/ERR_CONNECTION|ERR_EMPTY_RESPONSE|WebSocket connection|Failed to load resource|status of 5\d\d/);
  await signIn(page, pool);
  await page.goto(pool.url + "/#/tasks");
  await expect(page.getByText(EVIL).first()).toBeVisible();
  await pool.stop();
  await expect(page.locator("[data-connection=waiting]").first()).toBeAttached();
  await expect(page.getByText("The pool does not answer")).toBeVisible();
  // What was known is still shown.
  await expect(page.getByText(EVIL).first()).toBeVisible();
  await pool.start();
  const task = await pool.submit({ name: "after the restart", type: "probe", payload: {}, not_before: "2099-01-01T00:00:00Z" });
  await live(page);
  await expect(page.getByRole("link", { name: "after the restart" })).toBeVisible();
  await expect(page.getByText("The pool does not answer")).toHaveCount(0);
  await pool.ask("POST", `/api/v1/tasks/${task.id}/cancel`, {});
  await expect(page.getByRole("row", { name: /after the restart/ })).toContainText("cancelled");
});

test("at most 100 kB come over the wire", async ({ page, pool, watched }) => {
  void watched;
  let bytes = 0;
  const client = await page.context().newCDPSession(page);
  await client.send("Network.enable");
  client.on("Network.loadingFinished", (e) => void (bytes += e.encodedDataLength));
  await page.goto(pool.url + "/");
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await page.waitForLoadState("networkidle");
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(100_000);
});
