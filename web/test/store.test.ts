// store.test.ts: snapshot and deltas; hostile and broken frames change nothing.
import { describe, expect, it } from "vitest";
import { apply, ENDED_KEPT, isAfter, nothing, parseEvent, runningOn, withNode, type State } from "../src/lib/store";
import type { PoolEvent } from "../src/lib/types";

const task = (n: number) => `task_${n.toString(16).padStart(32, "0")}`;
const worker = "worker_" + "a".repeat(32);
let number = 0;
const event = (type: string, data: unknown, more: Partial<PoolEvent> = {}): PoolEvent => ({ id: `7-${++number}`, type, time: "2026-11-21T12:00:00Z", data, ...more });
const state = (id: number, s: string, more: object = {}) => event("task.state", { state: s, reason: "none", attempt: 0, type: "command", name: `job ${id}`, ...more }, { task: task(id), account: "account_1" });
const snapshot = (data: object = {}) =>
  event("snapshot", {
    tasks: { held: 0, queued: 1, leased: 1, done: 5 },
    unfinished: [{ id: task(1), type: "command", state: "leased", attempt: 1, worker, priority: "high" }, { id: task(2), type: "probe", state: "queued" }],
    workers_list: [{ id: worker, name: "node7", state: "active", slots: 2, connected: true }],
    ...data,
  });

describe("a snapshot", () => {
  it("replaces what was known", () => {
    const before = apply(nothing, [state(9, "queued")]);
    const after = apply(before, [snapshot()]);
    expect([...after.tasks.keys()]).toEqual([task(1), task(2)]);
    expect(after.counts).toEqual({ held: 0, queued: 1, leased: 1, done: 5 });
    expect(after.workers.get(worker)?.name).toBe("node7");
    expect(after.exact).toBe(true);
    expect(after.taken).toBe(true);
  });
  it("keeps what ended, for those who look at it", () => {
    const s = apply(apply(nothing, [snapshot(), state(1, "done")]), [snapshot({ unfinished: [] })]);
    expect(s.tasks.get(task(1))?.state).toBe("done");
  });
  it("of another start of the pool is taken though its number is lower", () => {
    const s = apply(apply(nothing, [snapshot()]), [{ id: "8-1", type: "snapshot", data: { tasks: {}, unfinished: [], workers_list: [] } }, { id: "8-2", type: "task.state", task: task(3), data: { state: "queued", attempt: 0, type: "x", name: null } }]);
    expect(s.tasks.size).toBe(1);
    expect(s.last).toBe("8-2");
  });
  it("says when not all is in it", () => expect(apply(nothing, [snapshot({ unfinished_left_out: 3 })]).exact).toBe(false));
  it("of nonsense is survived", () => {
    for (const data of [null, 3, "x", [], { tasks: 1, unfinished: [1, null, { id: 3 }], workers_list: "no" }, { workers_list: [{ id: 1 }] }]) {
      const s = apply(nothing, [event("snapshot", data)]);
      expect(s.tasks.size).toBe(0);
      expect(s.workers.size).toBe(0);
    }
  });
});

describe("deltas", () => {
  it("count by state", () => {
    const s = apply(nothing, [snapshot(), state(3, "queued"), state(3, "leased", { attempt: 1, worker }), state(2, "cancelled")]);
    expect(s.counts).toMatchObject({ queued: 0, leased: 2, cancelled: 1 });
    expect(s.exact).toBe(true);
    expect(runningOn(s, worker).map((t) => t.id)).toEqual([task(1), task(3)]);
  });
  it("of a task that is not known make the counts inexact", () => expect(apply(nothing, [snapshot(), state(50, "done", { attempt: 1 })]).exact).toBe(false));
  it("keep what they do not tell", () => {
    const s = apply(nothing, [snapshot(), event("task.progress", { share: 0.5, text: "half" }, { task: task(1) }), state(1, "done", { attempt: 1 })]);
    expect(s.tasks.get(task(1))).toMatchObject({ priority: "high", progress: { share: 0.5, text: "half" }, state: "done", ended: "2026-11-21T12:00:00Z", worker });
  });
  it("of a new attempt begin the progress anew", () => {
    const s = apply(nothing, [snapshot(), event("task.progress", { share: 0.5 }, { task: task(1) }), state(1, "backoff", { attempt: 1 }), state(1, "leased", { attempt: 2, worker })]);
    expect(s.tasks.get(task(1))?.progress).toBeUndefined();
    expect(s.tasks.get(task(1))?.attempt).toBe(2);
  });
  it("that come twice are taken once", () => {
    const first = snapshot(), e = state(4, "queued");
    const s = apply(apply(nothing, [first, e]), [e]);
    expect(s.counts?.queued).toBe(2);
  });
  it("leave the state before as it was", () => {
    const before = apply(nothing, [snapshot()]);
    apply(before, [state(1, "done"), event("worker.state", { worker, name: "n", state: "removed", slots: 1 })]);
    expect(before.tasks.get(task(1))?.state).toBe("leased");
    expect(before.workers.size).toBe(1);
  });
  it("of ended tasks are let go at a bound, running ones never", () => {
    let s: State = apply(nothing, [snapshot()]);
    s = apply(s, Array.from({ length: ENDED_KEPT + 50 }, (_, i) => state(100 + i, "done", { attempt: 1 })));
    expect(s.tasks.size).toBe(ENDED_KEPT + 2);
    expect(s.tasks.has(task(1))).toBe(true);
    expect(s.tasks.has(task(100))).toBe(false);
  });
  it("of workers and their devices", () => {
    let s = apply(nothing, [snapshot(), event("worker.node", { worker, node: { devices: [{ name: "gpu0", memory_used_bytes: null }] } })]);
    expect(s.nodes.get(worker)?.devices?.[0]?.memory_used_bytes).toBeNull();
    s = apply(s, [event("worker.state", { worker, name: "node7", state: "draining", slots: 2 })]);
    expect(s.workers.get(worker)?.state).toBe("draining");
    expect(s.unseen.has(worker)).toBe(true);
    s = apply(s, [event("worker.state", { worker, name: "node7", state: "removed", slots: 2 })]);
    expect(s.nodes.size + s.workers.size).toBe(0);
  });
  it("of nonsense change nothing but the place", () => {
    const before = apply(nothing, [snapshot()]);
    const s = apply(before, [event("task.state", null, { task: task(1) }), event("task.state", { state: 3 }, { task: task(1) }), event("task.progress", 1), event("worker.state", []), event("worker.node", { worker: 3 }), event("model.changed", "x"), event("what.is.this", {})]);
    expect({ ...s, last: "" }).toEqual({ ...before, last: "" });
  });
});

describe("frames", () => {
  it("that are none are null", () => {
    for (const frame of ["", "{", "null", "3", "[]", '{"id":1,"type":"x"}', '{"type":"x"}', "{\"id\":\"1-1\"}"]) expect(parseEvent(frame)).toBeNull();
  });
  it("are taken as they are, markup and all", () => expect(parseEvent('{"id":"1-1","type":"x","data":{"name":"<img src=x onerror=alert(1)>"}}')?.data).toEqual({ name: "<img src=x onerror=alert(1)>" }));
});

it("ids are compared as numbers, epochs as such", () => {
  expect(isAfter("1-10", "1-9")).toBe(true);
  expect(isAfter("1-9", "1-10")).toBe(false);
  expect(isAfter("1-9", "1-9")).toBe(false);
  expect(isAfter("2-1", "1-10")).toBe(true);
  expect(isAfter("1-1", null)).toBe(true);
});

it("a node that was asked for is in its place", () => expect(withNode(nothing, worker, { devices: [] }).nodes.size).toBe(1));
