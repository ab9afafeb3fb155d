// lists.ts: a list that was asked for, kept up with what the stream tells. Pure.
import type { State } from "./store";
import type { Task } from "./types";

export interface Filter {
  state?: string;
  type?: string;
  account?: string;
}

export function fits(task: Task, filter: Filter): boolean {
  return (!filter.state || task.state === filter.state) && (!filter.type || task.type === filter.type) && (!filter.account || !task.account || task.account === filter.account);
}

// Rows as they are now: those asked for, overlaid with what the stream knows better, and on the first page those that came since. A row that stopped fitting the
// filter leaves at the next asking only, so that nothing jumps away under the pointer.
export function overlay(asked: readonly Task[], live: State["tasks"], filter: Filter, firstPage: boolean): Task[] {
  const seen = new Set(asked.map((t) => t.id)), newest = asked[0]?.id ?? "";
  const rows = asked.map((t) => {
    const now = live.get(t.id);
    return now ? { ...t, ...withoutUndefined(now) } : t;
  });
  if (!firstPage) return rows;
  const came = [...live.values()].filter((t) => !seen.has(t.id) && t.id > newest && fits(t, filter)).sort((a, b) => (a.id < b.id ? 1 : -1));
  return [...came, ...rows];
}

function withoutUndefined(task: Task): Task {
  return Object.fromEntries(Object.entries(task).filter(([, value]) => value !== undefined)) as unknown as Task;
}
