// sign-in.spec.ts: the one-time link, signing in and out, what a reload keeps and another window does not have.
import { statSync } from "node:fs";
import { ensureAdmin, expect, live, PASSWORD, signIn, test, watch } from "./pool";

test("the one-time link makes the first administrator, once", async ({ page, pool, watched }) => {
  await page.goto(pool.link);
  await expect(page.getByRole("heading", { name: "The first administrator" })).toBeVisible();
  expect(page.url()).toBe(pool.url + "/"); // the token is not where it could be copied or kept
  await page.getByLabel("Name").fill("admin");
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("Password again").fill("another pass phrase");
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await expect(page.getByRole("alert")).toContainText("differ");
  await page.getByLabel("Password again").fill(PASSWORD);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await expect(page.getByRole("heading", { name: "Overview" })).toBeVisible();
  await live(page);

  watched.allowed.push(/status of 4\d\d/);
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await page.goto(pool.link);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByLabel("Password again").fill(PASSWORD);
  await page.getByRole("button", { name: "Make the administrator" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await expect(page.getByRole("heading", { name: "Overview" })).toHaveCount(0);
});

test("a wrong password is told; the right one opens; a reload stays in; signing out ends it", async ({ page, pool, watched }) => {
  await ensureAdmin(pool);
  watched.allowed.push(/status of 401/);
  await page.goto(pool.url + "/#/workers");
  await page.getByLabel("Name", { exact: true }).fill("admin");
  await page.getByLabel("Password", { exact: true }).fill("not this one");
  await page.getByRole("button", { name: "Sign in" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in" }).click();
  // Where one wanted to go.
  await expect(page.getByRole("heading", { name: "Workers" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("heading", { name: "Workers" })).toBeVisible();
  await live(page);
  await page.getByRole("button", { name: "Sign out" }).first().click();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  await page.reload();
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
});

test("another window has to sign in itself, and the access token is kept nowhere", async ({ page, pool, context, watched }) => {
  void watched;
  await ensureAdmin(pool);
  await signIn(page, pool);
  const kept = await page.evaluate(() => JSON.stringify([{ ...sessionStorage }, { ...localStorage }, document.cookie]));
  expect(kept).not.toContain("eyJ"); // how every JWT begins
  const other = await context.newPage(), also = watch(other, pool);
  await other.goto(pool.url + "/");
  await expect(other.getByRole("heading", { name: "Sign in" })).toBeVisible();
  expect(also.wrong).toEqual([]);
});

test("what was done stands in the audit, and the store is copied", async ({ admin: page, pool, watched }) => {
  watched.allowed.push(/status of 409/);
  await pool.ask("POST", "/api/v1/accounts", { name: "watched-one", role: "user" });
  await page.goto(pool.url + "/#/audit");
  const row = page.getByRole("row", { name: /made the account watched-one/ });
  await expect(row).toContainText("done");
  const path = `${pool.folder}/copy.db`;
  for (const outcome of ["made", "refused"]) {
    await page.getByRole("button", { name: "Back up" }).click();
    await page.getByLabel("File on the pool’s machine").fill(path);
    await page.getByRole("button", { name: "Make a copy" }).click();
    if (outcome === "made") await expect(page.getByRole("heading", { name: "The copy is made" })).toBeVisible();
    else await expect(page.getByRole("alert")).toBeVisible(); // that file is there already
    await page.getByRole("button", { name: outcome === "made" ? "Good" : "Cancel" }).click();
  }
  expect(statSync(path).size).toBeGreaterThan(0);
  await page.getByLabel("Account", { exact: true }).selectOption({ label: "watched-one" });
  await expect(page.getByText("Nothing by this account.")).toBeVisible();
});

test("a session that was ended elsewhere shows the door", async ({ admin, pool, watched }) => {
  watched.allowed.push(/status of 401/);
  await admin.goto(pool.url + "/#/keys");
  const accounts = await pool.ask("GET", "/api/v1/accounts");
  const id = accounts.data.find((a: { name: string }) => a.name === "admin").id;
  await pool.ask("POST", `/api/v1/accounts/${id}/password`, { password: PASSWORD }); // a new password ends all sessions
  await admin.goto(pool.url + "/#/accounts");
  await expect(admin.getByRole("heading", { name: "Sign in" })).toBeVisible();
});
