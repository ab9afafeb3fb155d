// live.ts: the page's one state: fed by the stream, read by the parts. Events are taken in once per frame.
import { useEffect, useRef, useState } from "preact/hooks";
import { get, session, ask } from "./api";
import { Problem } from "./problem";
import { apply, nothing, withCounts, withNode, withoutWorker, withWorker, type State } from "./store";
import { Stream, type Connection, type Socket } from "./stream";
import type { NodeReport, PoolEvent, Worker } from "./types";

let state: State = nothing;
let queue: PoolEvent[] = [];
let frame = 0;
const readers = new Set<() => void>();
const hearers = new Set<(event: PoolEvent) => void>();
let connection: Connection;
const watchers = new Set<(c: Connection) => void>();

export function current(): State {
  return state;
}

export function change(how: (state: State) => State): void {
  const next = how(state);
  if (next === state) return;
  state = next;
  for (const reader of readers) reader();
}

function takeIn(): void {
  frame = 0;
  const events = queue;
  queue = [];
  if (!events.length) return;
  change((s) => apply(s, events));
  if (events.some((e) => e.type === "snapshot")) void afterSnapshot();
  if (state.unseen.size) askForWorkers();
  if (!state.exact && state.taken) askForCounts();
}

// A hidden page gets no frames: then a timer, so that it does not pile up.
function soon(): void {
  if (frame) return;
  frame = 1;
  if (document.hidden) setTimeout(takeIn, 1000);
  else requestAnimationFrame(takeIn);
}

const stream = new Stream(
  {
    ticket: async () => (await ask<{ ticket: string }>("POST", "/api/v1/tickets", { body: {} })).ticket,
    open: (path) => new WebSocket(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${path}`, "berth.events.v1") as Socket,
    later: (ms, call) => {
      const timer = setTimeout(call, ms);
      return () => clearTimeout(timer);
    },
    now: Date.now,
    chance: Math.random,
  },
  (event) => {
    queue.push(event);
    for (const hearer of hearers) hearer(event);
    if (queue.length > 5000) takeIn();
    else soon();
  },
  (c) => {
    connection = c;
    for (const watcher of watchers) watcher(c);
  },
);
connection = stream.connection;

export function may(right: string): boolean {
  return session.me?.rights.includes(right) ?? false;
}

async function afterSnapshot(): Promise<void> {
  for (const worker of [...state.workers.values()].slice(0, 100)) if (worker.connected !== false && !state.nodes.has(worker.id)) void loadNode(worker.id);
}

export async function loadNode(worker: string): Promise<void> {
  try {
    const said = await get<NodeReport & { node?: NodeReport | null }>(`/api/v1/workers/${encodeURIComponent(worker)}/node`);
    const node = said.node ?? said;
    if (node && Array.isArray(node.devices)) change((s) => withNode(s, worker, node));
  } catch {
    // Nothing is known of its devices: shown as unavailable.
  }
}

let asking = false;
function askForWorkers(): void {
  if (asking) return;
  asking = true;
  setTimeout(async () => {
    const wanted = [...state.unseen].slice(0, 50);
    for (const id of wanted) {
      try {
        const worker = await get<Worker>(`/api/v1/workers/${encodeURIComponent(id)}`);
        change((s) => withWorker(s, worker));
        if (worker.connected !== false) void loadNode(id);
      } catch (e) {
        if (!(e instanceof Problem)) throw e;
        if (e.status === 404 || e.status === 403) change((s) => withoutWorker(s, id));
        else break;
      }
    }
    asking = false;
    if (state.unseen.size && connection.phase === "live") askForWorkers();
  }, 300);
}

let counting = false;
function askForCounts(): void {
  if (counting || !may("task.read.all")) return;
  counting = true;
  setTimeout(async () => {
    try {
      const pool = await get<{ tasks: Record<string, number> }>("/api/v1/pool");
      change((s) => withCounts(s, pool.tasks));
    } catch {
      // Later, with the next event.
    }
    counting = false;
  }, 2000);
}

export function startLive(): void {
  stream.start();
}

export function stopLive(): void {
  stream.stop();
  queue = [];
  change(() => nothing);
}

export function reconnectNow(): void {
  stream.again();
}

if (typeof window !== "undefined") {
  window.addEventListener("online", () => stream.again());
  let hiddenAt = 0;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      hiddenAt = Date.now();
    } else {
      stream.again();
      // After a long absence (a laptop's sleep) the connection may be dead without knowing.
      if (hiddenAt && Date.now() - hiddenAt > 120_000) stream.renew();
    }
  });
}

// A part of the state; the reader is drawn again when that part changes.
export function useLive<T>(pick: (state: State) => T): T {
  const [, draw] = useState(0);
  const picked = useRef<T>(undefined as T);
  picked.current = pick(state);
  const pickRef = useRef(pick);
  pickRef.current = pick;
  useEffect(() => {
    const reader = () => {
      if (!Object.is(pickRef.current(state), picked.current)) draw((n) => n + 1);
    };
    readers.add(reader);
    reader();
    return () => void readers.delete(reader);
  }, []);
  return picked.current;
}

export function useConnection(): Connection {
  const [c, set] = useState(connection);
  useEffect(() => {
    set(connection);
    watchers.add(set);
    return () => void watchers.delete(set);
  }, []);
  return c;
}

// Every event as it comes, for what the state does not keep (output of a task).
export function useEvents(hear: (event: PoolEvent) => void): void {
  const ref = useRef(hear);
  ref.current = hear;
  useEffect(() => {
    const hearer = (event: PoolEvent) => ref.current(event);
    hearers.add(hearer);
    return () => void hearers.delete(hearer);
  }, []);
}
