// playwright.config.ts: one browser at a time (a pool and a browser are enough for two processors), generous times, no second tries.
import { defineConfig } from "@playwright/test";
import { existsSync } from "node:fs";

// The shell without windows takes half the processor time of the whole browser.
const chromium = [process.env.BERTH_CHROMIUM, "/usr/bin/chromium-headless-shell", "/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"].find((path) => path && existsSync(path));
if (!chromium) throw new Error("No Chromium here: tools/setup test installs Debian's; or say where one is with BERTH_CHROMIUM.");

export default defineConfig({
  testDir: ".",
  outputDir: process.env.BERTH_WEB_OUT ?? "test-results",
  workers: 1,
  retries: 0,
  timeout: 240_000,
  expect: { timeout: 90_000 },
  reporter: [["list"]],
  use: {
    actionTimeout: 90_000,
    navigationTimeout: 90_000,
    viewport: { width: 1280, height: 820 },
    trace: "off",
    launchOptions: {
      executablePath: chromium,
      args: ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run", "--disable-quic", "--disable-dev-shm-usage"],
    },
  },
});
