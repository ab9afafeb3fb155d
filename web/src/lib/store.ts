// store.ts: what the page knows of the pool, and how an event changes it. Pure: a snapshot replaces, a delta changes; a batch of events copies once, so that a
// thousand events a second cost a thousand map entries and not a thousand copies.
import { ended, type NodeReport, type PoolEvent, type Progress, type Task, type TaskState, type Worker } from "./types";

export interface ModelView {
  name: string;
  [member: string]: unknown;
}

export interface State {
  last: string | null; // the id of the last event that was taken in
  taken: boolean; // a snapshot was
  at: number; // the pool's time of the last event, ms
  counts: Record<string, number> | null; // tasks by state
  exact: boolean; // counts: no event spoke of a task that is not known here
  partial: boolean; // other servers of the pool have tasks that are not counted
  tasks: ReadonlyMap<string, Task>; // all that did not end (up to what a snapshot holds), and the latest that did
  workers: ReadonlyMap<string, Worker>;
  nodes: ReadonlyMap<string, NodeReport>;
  models: ReadonlyMap<string, ModelView>;
  unseen: ReadonlySet<string>; // workers that events spoke of and that are to be asked for
}

export const ENDED_KEPT = 200;

export const nothing: State = {
  last: null, taken: false, at: 0, counts: null, exact: true, partial: false, tasks: new Map(), workers: new Map(), nodes: new Map(), models: new Map(), unseen: new Set(),
};

type Draft = {
  -readonly [K in keyof State]: State[K] extends ReadonlyMap<infer A, infer B> ? Map<A, B> : State[K] extends ReadonlySet<infer A> ? Set<A> : State[K];
};

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function number(value: unknown): number | undefined {
  return typeof value === "number" && Number.isFinite(value) ? value : undefined;
}

// A text frame of the stream as an event; null for what is none.
export function parseEvent(frame: string): PoolEvent | null {
  let value: unknown;
  try {
    value = JSON.parse(frame);
  } catch {
    return null;
  }
  if (!isObject(value) || typeof value.id !== "string" || typeof value.type !== "string") return null;
  return { id: value.id, type: value.type, time: text(value.time), account: text(value.account), task: text(value.task), data: value.data };
}

// EPOCH-NUMBER: whether a comes after b. Of another epoch: yes, what was before is over.
export function isAfter(a: string, b: string | null): boolean {
  if (!b) return true;
  const [epochA, numberA] = a.split("-"), [epochB, numberB] = b.split("-");
  if (epochA !== epochB) return true;
  return Number(numberA) > Number(numberB);
}

function countsOf(value: unknown): Record<string, number> | null {
  if (!isObject(value)) return null;
  const counts: Record<string, number> = {};
  for (const [name, count] of Object.entries(value)) if (number(count) !== undefined) counts[name] = count as number;
  return counts;
}

function isTask(value: unknown): value is Task {
  return isObject(value) && typeof value.id === "string" && typeof value.state === "string" && typeof value.type === "string";
}

function isWorker(value: unknown): value is Worker {
  return isObject(value) && typeof value.id === "string" && typeof value.name === "string" && typeof value.state === "string" && typeof value.slots === "number";
}

function takeSnapshot(draft: Draft, data: unknown): void {
  if (!isObject(data)) return;
  const endedBefore = [...draft.tasks.values()].filter((t) => ended(t.state));
  draft.taken = true;
  draft.counts = countsOf(data.tasks);
  draft.partial = data.partial === true;
  draft.exact = !number(data.unfinished_left_out);
  draft.tasks = new Map(endedBefore.map((t) => [t.id, t]));
  for (const task of Array.isArray(data.unfinished) ? data.unfinished : []) if (isTask(task)) draft.tasks.set(task.id, task);
  draft.workers = new Map();
  draft.unseen = new Set();
  for (const worker of Array.isArray(data.workers_list) ? data.workers_list : []) {
    if (!isWorker(worker)) continue;
    draft.workers.set(worker.id, worker);
    const node = (worker as unknown as { node?: unknown }).node;
    if (isObject(node)) draft.nodes.set(worker.id, node as NodeReport);
  }
  for (const id of [...draft.nodes.keys()]) if (!draft.workers.has(id)) draft.nodes.delete(id);
}

function forgetOldest(tasks: Map<string, Task>): void {
  let kept = 0;
  for (const task of tasks.values()) if (ended(task.state)) kept++;
  for (const task of tasks.values()) {
    if (kept <= ENDED_KEPT) break;
    if (!ended(task.state)) continue;
    tasks.delete(task.id);
    kept--;
  }
}

function count(draft: Draft, was: string | undefined, is: string): void {
  if (!draft.counts || was === is) return;
  draft.counts = { ...draft.counts };
  if (was) draft.counts[was] = Math.max(0, (draft.counts[was] ?? 0) - 1);
  draft.counts[is] = (draft.counts[is] ?? 0) + 1;
}

function taskState(draft: Draft, event: PoolEvent): void {
  const id = event.task, data = event.data;
  if (!id || !isObject(data) || typeof data.state !== "string") return;
  const before = draft.tasks.get(id), state = data.state as TaskState, attempt = number(data.attempt) ?? before?.attempt ?? 0;
  // A first word about a task is its being queued or held; any other says that it was there before.
  if (!before && (attempt > 0 || (state !== "queued" && state !== "held"))) draft.exact = false;
  const task: Task = {
    ...before,
    id,
    type: text(data.type) ?? before?.type ?? "",
    name: text(data.name) ?? before?.name ?? null,
    account: event.account ?? before?.account,
    state,
    reason: text(data.reason),
    attempt,
    worker: text(data.worker) ?? (state === "leased" || ended(state) ? before?.worker : undefined),
  };
  if (state === "leased") {
    if (before?.state !== "leased" || before.attempt !== attempt) {
      task.started = event.time ?? null;
      task.progress = undefined;
    }
  } else if (ended(state)) {
    task.ended = event.time ?? null;
  } else if (!before) {
    task.created = event.time ?? null;
  }
  count(draft, before?.state, state);
  draft.tasks.delete(id); // to the end: the latest stay longest
  draft.tasks.set(id, task);
  if (ended(state)) forgetOldest(draft.tasks);
}

function taskProgress(draft: Draft, event: PoolEvent): void {
  const before = event.task ? draft.tasks.get(event.task) : undefined;
  if (!before || !isObject(event.data)) return;
  const { share, step, steps } = event.data;
  const progress: Progress = { share: number(share), step: number(step), steps: number(steps), text: text(event.data.text) };
  draft.tasks.set(before.id, { ...before, progress });
}

function workerState(draft: Draft, event: PoolEvent): void {
  const data = event.data;
  if (!isObject(data) || typeof data.worker !== "string" || typeof data.state !== "string") return;
  const before = draft.workers.get(data.worker);
  if (data.state === "removed") {
    draft.workers.delete(data.worker);
    draft.nodes.delete(data.worker);
    return;
  }
  const away = data.state === "away" || data.state === "lost";
  draft.workers.set(data.worker, {
    ...before,
    id: data.worker,
    name: text(data.name) ?? before?.name ?? "",
    state: data.state,
    connected: away ? false : (before?.connected ?? true),
    slots: number(data.slots) ?? before?.slots ?? 0,
  });
  draft.unseen.add(data.worker);
}

function take(draft: Draft, event: PoolEvent): void {
  switch (event.type) {
    case "snapshot":
      takeSnapshot(draft, event.data);
      break;
    case "task.state":
      taskState(draft, event);
      break;
    case "task.progress":
      taskProgress(draft, event);
      break;
    case "worker.state":
      workerState(draft, event);
      break;
    case "worker.node":
      if (isObject(event.data) && typeof event.data.worker === "string" && isObject(event.data.node)) draft.nodes.set(event.data.worker, event.data.node as NodeReport);
      break;
    case "model.changed":
      if (isObject(event.data) && typeof event.data.model === "string")
        draft.models.set(event.data.model, { ...draft.models.get(event.data.model), ...event.data, name: event.data.model });
      break;
  }
}

function draftOf(state: State): Draft {
  return { ...state, tasks: new Map(state.tasks), workers: new Map(state.workers), nodes: new Map(state.nodes), models: new Map(state.models), unseen: new Set(state.unseen) };
}

// The state after these events. One that was taken in before (a resumed stream may repeat) changes nothing.
export function apply(state: State, events: readonly PoolEvent[]): State {
  const draft = draftOf(state);
  for (const event of events) {
    if (event.type !== "snapshot" && !isAfter(event.id, draft.last)) continue;
    draft.last = event.id;
    if (event.time) draft.at = Date.parse(event.time) || draft.at;
    take(draft, event);
  }
  return draft;
}

// What was asked for apart from the stream.
export function withWorker(state: State, worker: Worker): State {
  const draft = draftOf(state);
  draft.workers.set(worker.id, worker);
  draft.unseen.delete(worker.id);
  return draft;
}

export function withoutWorker(state: State, id: string): State {
  const draft = draftOf(state);
  draft.workers.delete(id);
  draft.nodes.delete(id);
  draft.unseen.delete(id);
  return draft;
}

export function withNode(state: State, worker: string, node: NodeReport): State {
  const draft = draftOf(state);
  draft.nodes.set(worker, node);
  return draft;
}

export function withModels(state: State, models: readonly ModelView[]): State {
  return { ...state, models: new Map(models.map((m) => [m.name, m])) };
}

export function withTask(state: State, task: Task): State {
  const draft = draftOf(state);
  count(draft, draft.tasks.get(task.id)?.state, task.state);
  draft.tasks.set(task.id, { ...draft.tasks.get(task.id), ...task });
  return draft;
}

export function withCounts(state: State, counts: Record<string, number>): State {
  return { ...state, counts, exact: true };
}

// What runs on a worker, as far as the stream tells.
export function runningOn(state: State, worker: string): Task[] {
  return [...state.tasks.values()].filter((t) => t.state === "leased" && t.worker === worker);
}
