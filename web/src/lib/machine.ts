// machine.ts: a machine's report as what is drawn: series with a unit that fits, processes in an order, why something is missing. Pure.
import type { MachineProcess, MachineReport } from "./types";

export interface Line {
  name: string; // of the series
  label: string;
  colour: string;
}

export interface Drawn {
  times: number[];
  unit: string;
  lines: { label: string; colour: string; values: (number | null)[] }[];
}

const STEPS = ["B", "KiB", "MiB", "GiB", "TiB"];

// How bytes as large as these are best told: by what to divide, and the unit.
export function scaleOf(most: number): { by: number; unit: string } {
  let by = 1, at = 0;
  while (most / by >= 1024 && at < STEPS.length - 1) {
    by *= 1024;
    at++;
  }
  return { by, unit: STEPS[at] as string };
}

function known(value: unknown): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

// kind: what the numbers are: shares in permille become percents, bytes get a unit that fits the largest. null: none of the series is known.
export function draw(report: MachineReport, kind: "permille" | "bytes" | "bytes/s" | "plain", unit: string, lines: readonly Line[]): Drawn | null {
  const history = report.history;
  const found = lines.flatMap((line) => {
    const series = history?.series.find((s) => s.name === line.name);
    return series ? [{ ...line, raw: series.values }] : [];
  });
  if (!history || !found.length) return null;
  const count = Math.max(...found.map((f) => f.raw.length));
  const most = Math.max(0, ...found.flatMap((f) => f.raw.filter(known)));
  const scale = kind === "permille" ? { by: 10, unit: "" } : kind === "plain" ? { by: 1, unit: "" } : scaleOf(most);
  return {
    times: Array.from({ length: count }, (_, i) => history.end_s - (count - 1 - i) * history.step_s),
    unit: kind === "permille" || kind === "plain" ? unit : kind === "bytes" ? scale.unit : `${scale.unit}/s`,
    lines: found.map((f) => ({ label: f.label, colour: f.colour, values: f.raw.map((v) => (known(v) ? v / scale.by : null)) })),
  };
}

export function whyNot(report: MachineReport, what: string): string | null {
  return report.unavailable.find((u) => u.what === what)?.why ?? null;
}

export const ORDERS = ["device", "cpu", "memory", "launches", "files"] as const;
export type Order = (typeof ORDERS)[number];

function sum(...values: (number | null)[]): number {
  return values.reduce<number>((n, v) => n + (known(v) ? v : 0), 0);
}

function weight(p: MachineProcess, order: Order): number {
  switch (order) {
    case "device":
      return known(p.owned_bytes) ? p.owned_bytes + 1 : 0;
    case "cpu":
      return sum(p.cpu_pct);
    case "memory":
      return sum(p.memory_bytes);
    case "launches":
      return sum(p.launches_s, p.graphs_s);
    case "files":
      return sum(p.read_bytes_s, p.written_bytes_s);
  }
}

// Most first; what is equal by processor time, then by pid, so that rows do not dance.
export function inOrder(processes: readonly MachineProcess[], order: Order): MachineProcess[] {
  return [...processes].sort((a, b) => weight(b, order) - weight(a, order) || sum(b.cpu_pct) - sum(a.cpu_pct) || sum(a.pid) - sum(b.pid));
}
