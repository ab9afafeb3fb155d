// machine.test.ts: a machine's report as what is drawn.
import { describe, expect, test } from "vitest";
import { draw, inOrder, scaleOf, whyNot } from "../src/lib/machine";
import type { MachineProcess, MachineReport } from "../src/lib/types";

const report = {
  shown: "files", host: null, devices: [], probes: [], processes: [], processes_left_out: 0,
  unavailable: [{ what: "temperature", why: "the kernel does not tell" }],
  history: { step_s: 5, end_s: 1000, series: [{ name: "cpu.busy", values: [null, 500, 1000] }, { name: "network.in", values: [0, 2048, null] }, { name: "network.out", values: [null, null, 3 * 1024 * 1024] }] },
} as MachineReport;

describe("draw", () => {
  test("permille become percents, unknown stays unknown, and time is that of the last column", () => {
    const drawn = draw(report, "permille", "%", [{ name: "cpu.busy", label: "busy", colour: "--d0" }]);
    expect(drawn?.times).toEqual([990, 995, 1000]);
    expect(drawn?.lines[0]?.values).toEqual([null, 50, 100]);
    expect(drawn?.unit).toBe("%");
  });
  test("bytes get one unit for all lines, which fits the largest", () => {
    const drawn = draw(report, "bytes/s", "", [{ name: "network.in", label: "in", colour: "--d0" }, { name: "network.out", label: "out", colour: "--d1" }]);
    expect(drawn?.unit).toBe("MiB/s");
    expect(drawn?.lines.map((l) => l.values)).toEqual([[0, 2048 / 1024 / 1024, null], [null, null, 3]]);
  });
  test("what nobody measured is not drawn at all", () => {
    expect(draw(report, "plain", "W", [{ name: "device.0.power", label: "drawn", colour: "--d1" }])).toBeNull();
    expect(draw({ ...report, history: null }, "permille", "%", [{ name: "cpu.busy", label: "busy", colour: "--d0" }])).toBeNull();
  });
  test("units", () => {
    expect(scaleOf(0)).toEqual({ by: 1, unit: "B" });
    expect(scaleOf(1023)).toEqual({ by: 1, unit: "B" });
    expect(scaleOf(1024)).toEqual({ by: 1024, unit: "KiB" });
    expect(scaleOf(1e18).unit).toBe("TiB");
  });
});

test("why something is missing", () => {
  expect(whyNot(report, "temperature")).toBe("the kernel does not tell");
  expect(whyNot(report, "memory")).toBeNull();
});

test("processes in each order; unknown counts as nothing, and rows of equals do not dance", () => {
  const process = (pid: number, more: Partial<MachineProcess>) => ({ pid, cpu_pct: null, memory_bytes: null, owned_bytes: null, launches_s: null, graphs_s: null, read_bytes_s: null, written_bytes_s: null, files: [], ...more }) as MachineProcess;
  const all = [process(9, {}), process(3, { cpu_pct: 50, read_bytes_s: 1 }), process(4, { owned_bytes: 0 }), process(5, { owned_bytes: 7, cpu_pct: 1 }), process(2, { graphs_s: 3, written_bytes_s: 9 }), process(1, {})];
  const order = (by: Parameters<typeof inOrder>[1]) => inOrder(all, by).map((p) => p.pid);
  expect(order("device")).toEqual([5, 4, 3, 1, 2, 9]);
  expect(order("cpu")).toEqual([3, 5, 1, 2, 4, 9]);
  expect(order("launches")).toEqual([2, 3, 5, 1, 4, 9]);
  expect(order("files")).toEqual([2, 3, 5, 1, 4, 9]);
  expect(all[0]?.pid).toBe(9);
});
