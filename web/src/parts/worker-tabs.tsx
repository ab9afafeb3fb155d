// worker-tabs.tsx: a worker for the pool, and the machine that it runs on.
import type { JSX } from "preact";
import { address } from "../lib/route";

export function WorkerTabs({ id, at }: { id: string; at: "worker" | "machine" }): JSX.Element {
  return (
    <nav class="segments" aria-label="Of this worker">
      <a href={address(["workers", id])} aria-current={at === "worker" ? "page" : undefined}>Worker</a>
      <a href={address(["workers", id, "machine"])} aria-current={at === "machine" ? "page" : undefined}>Machine</a>
    </nav>
  );
}
