// format.ts: numbers and times as people read them. What is not known is "unavailable", never 0.

export const UNAVAILABLE = "unavailable";

function known(value: number | null | undefined): value is number {
  return typeof value === "number" && Number.isFinite(value);
}

export function bytes(value: number | null | undefined): string {
  if (!known(value)) return UNAVAILABLE;
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let at = 0, n = Math.abs(value);
  for (; n >= 1024 && at < units.length - 1; at++) n /= 1024;
  const shown = at === 0 || n >= 100 ? n.toFixed(0) : n.toFixed(1).replace(/\.0$/, "");
  // 1023.6 KiB is shown as 1 MiB, not as 1024 KiB.
  if (shown === "1024" && at < units.length - 1) return `${value < 0 ? "-" : ""}1 ${units[at + 1]}`;
  return `${value < 0 ? "-" : ""}${shown} ${units[at]}`;
}

export function integer(value: number | null | undefined): string {
  return known(value) ? Math.round(value).toString().replace(/\B(?=(\d{3})+$)/g, "\u2009") : UNAVAILABLE;
}

export function decimal(value: number | null | undefined, digits = 1): string {
  return known(value) ? value.toFixed(digits) : UNAVAILABLE;
}

export function percent(value: number | null | undefined): string {
  return known(value) ? `${Math.round(value)} %` : UNAVAILABLE;
}

// 830 ms, 4.2 s, 3 min 5 s, 2 h 10 min, 3 d 4 h
export function duration(ms: number | null | undefined): string {
  if (!known(ms)) return UNAVAILABLE;
  if (ms < 0) ms = 0;
  if (ms > 0 && ms < 9.95) return `${ms.toFixed(1).replace(/\.0$/, "")} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 9950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return join(Math.floor(s / 60), "min", s % 60, "s");
  const m = Math.round(s / 60);
  if (m < 60 * 24) return join(Math.floor(m / 60), "h", m % 60, "min");
  const h = Math.round(m / 60);
  return join(Math.floor(h / 24), "d", h % 24, "h");
}

function join(a: number, unitA: string, b: number, unitB: string): string {
  return b ? `${a} ${unitA} ${b} ${unitB}` : `${a} ${unitA}`;
}

export function when(time: string | null | undefined): number | null {
  const ms = time ? Date.parse(time) : NaN;
  return Number.isNaN(ms) ? null : ms;
}

// "12 s ago", "in 3 min": one unit only.
export function ago(time: string | null | undefined, now: number): string {
  const ms = when(time);
  if (ms === null) return UNAVAILABLE;
  const away = Math.abs(now - ms);
  if (away < 1500) return "just now";
  const s = Math.round(away / 1000);
  const words = s < 60 ? `${s} s` : s < 3600 ? `${Math.floor(s / 60)} min` : s < 86400 ? `${Math.floor(s / 3600)} h` : `${Math.floor(s / 86400)} d`;
  return now >= ms ? `${words} ago` : `in ${words}`;
}

// The day is left out when it is today's.
export function clock(time: string | null | undefined, now: number): string {
  const ms = when(time);
  if (ms === null) return UNAVAILABLE;
  const at = new Date(ms), two = (n: number) => String(n).padStart(2, "0");
  const hours = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  return at.toDateString() === new Date(now).toDateString() ? hours : `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${hours}`;
}

// task_0192ab…7f3c → 7f3c2e91: the end of an id is what differs.
export function shortId(id: string): string {
  const at = id.indexOf("_");
  return at > 0 ? id.slice(-8) : id;
}

export function json(value: unknown): string {
  return typeof value === "string" ? value : (JSON.stringify(value, null, 2) ?? "");
}

export function plural(n: number, one: string, many = one + "s"): string {
  return `${integer(n)} ${n === 1 ? one : many}`;
}
