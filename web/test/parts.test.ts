// parts.test.ts: words of a command, addresses, logs, lists, bars, history: what the pages compute.
import { describe, expect, it } from "vitest";
import { barOf, coloursOf } from "../src/lib/devices";
import { columns, latest, POINTS_MOST, thin } from "../src/lib/history";
import { fits, overlay } from "../src/lib/lists";
import { fromEvent, fromFile, LOG_MOST, noLog } from "../src/lib/log";
import { problemFrom } from "../src/lib/problem";
import { address, parseRoute } from "../src/lib/route";
import type { Task } from "../src/lib/types";
import { joinWords, parseBatch, splitWords } from "../src/lib/words";

describe("words", () => {
  it("are split as a shell does", () => {
    expect(splitWords(`  python3 "my file.py" --name='a "b" c' x\\ y '' "q\\"\\\\" `)).toEqual(["python3", "my file.py", '--name=a "b" c', "x y", "", 'q"\\']);
    expect(splitWords("")).toEqual([]);
  });
  it("that do not end are told", () => {
    for (const line of ["'a", '"a', "a\\"]) expect(() => splitWords(line)).toThrow();
  });
  it("go there and back", () => {
    const words = ["sh", "-c", "echo 'a b' \"$x\"", "", "ü"];
    expect(splitWords(joinWords(words))).toEqual(words);
  });
});

describe("a batch", () => {
  const one = { type: "probe", payload: {} };
  it("is an array, an object with tasks, one task, or lines", () => {
    expect(parseBatch(JSON.stringify([one, one]))).toEqual([one, one]);
    expect(parseBatch(JSON.stringify({ tasks: [one] }))).toEqual([one]);
    expect(parseBatch(JSON.stringify(one, null, 2))).toEqual([one]);
    expect(parseBatch(`${JSON.stringify(one)}\n\n${JSON.stringify(one)}\n`)).toEqual([one, one]);
  });
  it("that is none says where", () => {
    expect(() => parseBatch("")).toThrow("nothing");
    expect(() => parseBatch("hello")).toThrow("no JSON");
    expect(() => parseBatch("3")).toThrow("object");
    expect(() => parseBatch(`{"a":1}\n{"a":`)).toThrow("Line 2");
  });
});

it("addresses go there and back", () => {
  const path = ["tasks", "a/b ü?#"], query = { state: "done", name: "x&y=z" };
  expect(parseRoute(address(path, query))).toEqual({ path, query });
  expect(parseRoute("")).toEqual({ path: [], query: {} });
  expect(parseRoute("#/%E0%A4%A")).toEqual({ path: ["%E0%A4%A"], query: {} });
  expect(address(["tasks"], { state: undefined, type: "" })).toBe("#/tasks");
});

describe("output", () => {
  it("grows by what follows on", () => {
    const log = fromEvent(fromFile(noLog, "ab", 2), 2, 3, "ü!");
    expect(log).toMatchObject({ text: "abü!", end: 5, gap: false });
  });
  it("that is known is passed over, a gap is noted and filled from the file", () => {
    let log = fromFile(noLog, "abc", 3);
    expect(fromEvent(log, 0, 3, "abc")).toBe(log);
    log = fromEvent(log, 10, 2, "xy");
    expect(log).toMatchObject({ text: "abc", end: 3, gap: true });
    expect(fromFile(log, "defghijxy", 9)).toMatchObject({ text: "abcdefghijxy", end: 12, gap: false });
  });
  it("whose event holds less than it has is read from the file", () => expect(fromEvent(noLog, 0, 9000, "x".repeat(4096)).gap).toBe(true));
  it("lets its beginning go", () => {
    const log = fromFile(noLog, ("x".repeat(99) + "\n").repeat(LOG_MOST / 50), LOG_MOST * 2);
    expect(log.cut).toBe(true);
    expect(log.text.length).toBeLessThanOrEqual(LOG_MOST);
    expect(log.end).toBe(LOG_MOST * 2);
  });
});

describe("lists", () => {
  const task = (id: string, state = "queued", more: object = {}) => ({ id, type: "command", state, ...more }) as Task;
  it("show what the stream knows better, and what came since on the first page", () => {
    const live = new Map([["t2", task("t2", "done")], ["t5", task("t5")], ["t4", task("t4", "done")], ["t1", task("t1")]]);
    const asked = [task("t3", "queued", { priority: "high" }), task("t2", "leased", { priority: "low" })];
    expect(overlay(asked, live, {}, true).map((t) => [t.id, t.state, t.priority])).toEqual([["t5", "queued", undefined], ["t4", "done", undefined], ["t3", "queued", "high"], ["t2", "done", "low"]]);
    expect(overlay(asked, live, {}, false).map((t) => t.id)).toEqual(["t3", "t2"]);
    expect(overlay(asked, live, { state: "queued" }, true).map((t) => t.id)).toEqual(["t5", "t3", "t2"]);
  });
  it("filter", () => {
    expect(fits(task("a"), { state: "done" })).toBe(false);
    expect(fits(task("a"), { type: "command", state: "queued" })).toBe(true);
    expect(fits(task("a", "queued", { account: "x" }), { account: "y" })).toBe(false);
  });
});

describe("a device's bar", () => {
  const GiB = 2 ** 30;
  it("holds residents, others, and what is out", () => {
    const bar = barOf({
      memory_total_bytes: 100 * GiB, memory_used_bytes: 70 * GiB, memory_foreign_bytes: 10 * GiB, swapped_bytes: 40 * GiB,
      clients: [{ pid: 1, name: "a", resident_bytes: 60 * GiB, swapped_bytes: 0 }, { pid: 2, name: "b", resident_bytes: 0, swapped_bytes: 40 * GiB }, { pid: 3, name: "c", resident_bytes: null, swapped_bytes: null }],
    });
    expect(bar.resident.map((p) => [p.name, p.share])).toEqual([["a", 0.6]]);
    expect(bar.foreign).toBeCloseTo(0.1);
    expect(bar.swapped.map((p) => [p.name, p.share])).toEqual([["b", 0.4]]);
    expect(bar.swappedBytes).toBe(40 * GiB);
  });
  it("shows what nobody of ours uses as others'", () => expect(barOf({ memory_total_bytes: 100, memory_used_bytes: 30, clients: [{ pid: 1, name: "a", resident_bytes: 20 }] }).foreign).toBeCloseTo(0.1));
  it("of what is unknown says so", () => expect(barOf({ memory_total_bytes: null, memory_used_bytes: null })).toMatchObject({ total: null, used: null, swappedBytes: null, foreign: null, resident: [] }));
  it("gives neighbours different colours, and keeps them", () => {
    const clients = Array.from({ length: 8 }, (_, i) => ({ pid: 100 + i, name: `model ${i}` }));
    const colours = coloursOf(clients);
    expect(new Set(colours.values()).size).toBe(8);
    expect(coloursOf([...clients].reverse())).toEqual(colours);
  });
});

describe("history", () => {
  it("unknown stays unknown", () => {
    expect(thin([1, 3, null, null, null, 5], 2)).toEqual([2, null, 5]);
    expect(latest([1, null, null], 2)).toBeNull();
    expect(latest([9, 1, null, 3], 3)).toBe(2);
  });
  it("becomes columns of a bounded length", () => {
    const count = 1080, c = columns({ from_ms: 5000, step_ms: 10_000, count, series: { a: Array(count).fill(1) } }, ["a", "missing"]);
    expect(c.times.length).toBeLessThanOrEqual(POINTS_MOST);
    expect(c.times[0]).toBe(5);
    expect(c.values.map((v) => v.length)).toEqual([c.times.length, c.times.length]);
    expect(c.values[1]?.every((v) => v === null)).toBe(true);
  });
});

describe("problems", () => {
  it("of the pool", () => expect(problemFrom(422, { code: "task.invalid", title: "T", detail: "D", request_id: "r", violations: [{ path: "payload", text: "no" }] })).toMatchObject({ status: 422, code: "task.invalid", message: "D", requestId: "r", violations: [{ path: "payload", text: "no" }] }));
  it("of the OpenAI routes", () => expect(problemFrom(404, { error: { message: "no such model", type: "invalid_request_error", code: "model_not_found" } })).toMatchObject({ message: "no such model", code: "model_not_found" }));
  it("of anything else", () => {
    for (const body of [null, 3, "x", [], { violations: 3, unmet: [null], error: "x" }]) expect(problemFrom(500, body)).toMatchObject({ status: 500, message: "The pool answered 500." });
    expect(problemFrom(429, null, "7").retryAfter).toBe(7);
  });
});
