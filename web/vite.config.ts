// vite.config.ts: one script and one style sheet in dist/, nothing inline, nothing from elsewhere; `npm run dev` sends what is the pool's to BERTH_POOL.
import { defineConfig } from "vite";

const pool = process.env.BERTH_POOL ?? "http://127.0.0.1:7780";

export default defineConfig({
  base: "/",
  esbuild: { jsx: "automatic", jsxImportSource: "preact", legalComments: "none" },
  build: {
    target: "es2022",
    outDir: "dist",
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    reportCompressedSize: true,
  },
  server: {
    proxy: {
      "/api": { target: pool },
      "/v1": { target: pool },
      "/events": { target: pool, ws: true },
    },
  },
});
