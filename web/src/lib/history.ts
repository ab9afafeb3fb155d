// history.ts: GET /api/v1/history as columns for a chart. Pure.
import type { History } from "./types";

export const SPANS = [
  { text: "10 min", seconds: 600 },
  { text: "3 h", seconds: 3 * 3600 },
  { text: "7 d", seconds: 7 * 24 * 3600 },
] as const;

export const POINTS_MOST = 400;

// Means of so many slots each that at most POINTS_MOST points are left; a point is unknown only when all of its slots are.
export function thin(values: readonly (number | null)[], by: number): (number | null)[] {
  if (by <= 1) return [...values];
  const out: (number | null)[] = [];
  for (let i = 0; i < values.length; i += by) {
    let sum = 0, n = 0;
    for (let j = i; j < Math.min(i + by, values.length); j++) {
      const value = values[j];
      if (typeof value === "number") {
        sum += value;
        n++;
      }
    }
    out.push(n ? sum / n : null);
  }
  return out;
}

export function columns(history: History, names: readonly string[]): { times: number[]; values: (number | null)[][] } {
  const by = Math.max(1, Math.ceil(history.count / POINTS_MOST));
  const times: number[] = [];
  for (let i = 0; i < history.count; i += by) times.push((history.from_ms + i * history.step_ms) / 1000);
  return { times, values: names.map((name) => thin((history.series[name] ?? Array(history.count).fill(null)).slice(0, history.count), by)) };
}

// The latest known value of the last few slots; null: unavailable.
export function latest(values: readonly (number | null)[], slots: number): number | null {
  const known = values.slice(-slots).filter((v): v is number => typeof v === "number");
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : null;
}
