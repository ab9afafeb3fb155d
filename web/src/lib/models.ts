// models.ts: models as the pool lists them, and what stands for the whole of each. Pure.
export interface ModelEngine {
  worker: string;
  name?: string;
  kind?: string;
  state: string;
  resident?: boolean | null;
  parallel?: number;
  context?: number;
  memory_bytes?: number | null;
  revision?: string;
  text?: string | null;
}

export interface Model {
  name: string;
  state: string;
  resident?: boolean | null;
  tasks?: string[];
  context?: number;
  waiting?: number | null;
  running?: number | null;
  oldest_wait_ms?: number | null;
  ttft_ms?: number | null;
  tpot_ms?: number | null;
  workers?: ModelEngine[];
}

// What people are told: an engine that is ready but not in device memory is swapped out.
export function shownState(of: { state: string; resident?: boolean | null }): string {
  return of.state === "ready" && of.resident === false ? "swapped" : of.state;
}

const RANK: Record<string, number> = { ready: 6, swapped: 5, starting: 4, cold: 3, stopping: 2, failed: 1 };

export function byUse(a: Model, b: Model): number {
  return (RANK[shownState(b)] ?? 0) - (RANK[shownState(a)] ?? 0) || a.name.localeCompare(b.name);
}

export function canChat(model: Model): boolean {
  return !model.tasks || model.tasks.length === 0 || model.tasks.includes("chat") || model.tasks.includes("completion");
}

// The other way round: what each worker's engines are.
export function enginesByWorker(models: readonly Model[]): Map<string, (ModelEngine & { model: string })[]> {
  const found = new Map<string, (ModelEngine & { model: string })[]>();
  for (const model of models)
    for (const engine of model.workers ?? []) found.set(engine.worker, [...(found.get(engine.worker) ?? []), { ...engine, model: model.name }]);
  return found;
}
