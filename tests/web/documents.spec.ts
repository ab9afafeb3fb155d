// documents.spec.ts: what is served without signing in, as a browser takes it: the policy in force, every answer's headers, the API's page, the one-time link without its token.
import http from "node:http";
import type { AddressInfo } from "node:net";
import type { Response } from "@playwright/test";
import { expect, test } from "./pool";

const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; form-action 'none'; frame-ancestors 'none'; base-uri 'none'";

test("every answer that the page gets is guarded", async ({ page, pool, admin, watched }) => {
  void admin, watched;
  const answers: Response[] = [];
  page.on("response", (response) => answers.push(response));
  await page.reload();
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  const kinds = new Set<string>();
  for (const response of answers) {
    const headers = response.headers(), where = new URL(response.url());
    expect(where.origin).toBe(pool.url);
    kinds.add(where.pathname.split("/")[1] || "/");
    // What the browser has already comes without a body, or not at all over the wire.
    if (response.status() === 200) expect(headers["x-content-type-options"], where.pathname).toBe("nosniff");
    if (where.pathname.startsWith("/api/")) {
      expect(headers["cache-control"], where.pathname).toBe("no-store");
      continue;
    }
    expect(headers["content-security-policy"], where.pathname).toBe(POLICY);
    expect(headers["referrer-policy"], where.pathname).toBe("no-referrer");
    if (response.status() === 200 && where.pathname.startsWith("/assets/")) expect(["br", "gzip"], where.pathname).toContain(headers["content-encoding"]);
  }
  expect([...kinds]).toEqual(expect.arrayContaining(["/", "assets", "api"]));
});

test("nothing inline runs, nothing foreign is asked, nobody frames it", async ({ page, pool, context, watched }) => {
  watched.allowed.push(/Content Security Policy/, /Failed to load resource/, /^request: https:\/\/127\.0\.0\.1:1\//);
  await page.goto(pool.url + "/");
  await expect(page.getByRole("heading", { name: "Sign in" })).toBeVisible();
  const found = await page.evaluate(async () => {
    const violated: string[] = [];
    document.addEventListener("securitypolicyviolation", (e) => violated.push(e.effectiveDirective));
    const script = document.createElement("script");
    script.textContent = "window.taken = 1";
    document.head.append(script);
    const style = document.createElement("style");
    style.textContent = "body { display: none }";
    document.head.append(style);
    const answer = await fetch("https://127.0.0.1:1/").then(() => "answered", () => "refused");
    const image = new Image();
    const picture = await new Promise((resolve) => {
      image.onload = () => resolve("shown");
      image.onerror = () => resolve("refused");
      image.src = "https://127.0.0.1:1/x.png";
    });
    return { taken: "taken" in window, answer, picture, violated: violated.sort() };
  });
  expect(found.taken).toBe(false);
  expect([found.answer, found.picture]).toEqual(["refused", "refused"]);
  expect(found.violated).toEqual(["connect-src", "img-src", "script-src-elem", "style-src-elem"]);

  // Another site's page with ours in a frame.
  const other = http.createServer((_, answer) => answer.setHeader("Content-Type", "text/html").end(`<iframe src="${pool.url}/"></iframe>`));
  await new Promise<void>((done) => other.listen(0, "127.0.0.1", done));
  try {
    const framing = await context.newPage();
    const refused = framing.waitForEvent("console", (m) => /frame-ancestors|Refused to frame|Framing/.test(m.text()));
    await framing.goto(`http://127.0.0.1:${(other.address() as AddressInfo).port}/`);
    await refused;
    await expect(framing.frameLocator("iframe").getByRole("heading", { name: "Sign in" })).toHaveCount(0);
    await framing.close();
  } finally {
    other.close();
  }
});

test("the API's page tells every route", async ({ page, pool, watched }) => {
  void watched;
  await page.goto(pool.url + "/docs");
  const document = await (await fetch(pool.url + "/openapi.json")).json();
  const routes = Object.values(document.paths as Record<string, object>).reduce((sum, ways) => sum + Object.keys(ways).length, 0);
  await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
  await expect(page.locator("main details")).toHaveCount(routes + Object.keys(document.components.schemas).length);
  await page.locator("summary", { hasText: "/api/v1/history" }).click();
  await expect(page.getByText("so many seconds back").first()).toBeVisible();
});

test("the one-time link without its token says so", async ({ page, pool, watched }) => {
  void watched;
  await page.goto(pool.url + "/setup");
  await expect(page.getByRole("heading", { name: "The first administrator" })).toBeVisible();
  await expect(page.getByText("token is missing")).toBeVisible();
});
