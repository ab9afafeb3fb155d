// api.ts: requests to the pool with the session's token; one that was refused is renewed once.
import { problemOf, unreachable } from "./problem";
import { Session } from "./session";

function tabStorage(): Storage | null {
  try {
    return window.sessionStorage;
  } catch {
    return null;
  }
}

export const session = new Session(typeof window === "undefined" ? null : tabStorage());

export interface AskOptions {
  body?: unknown;
  headers?: Record<string, string>;
  signal?: AbortSignal;
}

// The answer as it is, also when it is no success.
export async function askRaw(method: string, path: string, options: AskOptions = {}): Promise<Response> {
  for (let again = false; ; again = true) {
    const headers: Record<string, string> = { ...options.headers, Authorization: `Bearer ${await session.token(again)}` };
    if (options.body !== undefined) headers["Content-Type"] = "application/json";
    let answer: Response;
    try {
      answer = await fetch(path, { method, headers, body: options.body === undefined ? undefined : JSON.stringify(options.body), signal: options.signal, cache: "no-store" });
    } catch (e) {
      throw unreachable(e);
    }
    if (answer.status !== 401 || again) return answer;
  }
}

export async function ask<T = unknown>(method: string, path: string, options: AskOptions = {}): Promise<T> {
  const answer = await askRaw(method, path, options);
  if (!answer.ok) throw await problemOf(answer);
  if (answer.status === 204) return undefined as T;
  try {
    return (await answer.json()) as T;
  } catch (e) {
    throw unreachable(e);
  }
}

export const get = <T>(path: string, signal?: AbortSignal): Promise<T> => ask<T>("GET", path, { signal });

export async function getText(path: string, signal?: AbortSignal): Promise<string> {
  const answer = await askRaw("GET", path, { signal });
  if (!answer.ok) throw await problemOf(answer);
  return answer.text();
}

// A change that must not overwrite another's: read the ETag, change what has it.
export async function patchWithMatch<T>(path: string, body: unknown): Promise<T> {
  const seen = await askRaw("GET", path);
  if (!seen.ok) throw await problemOf(seen);
  const tag = seen.headers.get("ETag");
  await seen.arrayBuffer();
  return ask<T>("PATCH", path, { body, headers: { "If-Match": tag ?? "*" } });
}

// Saves an answer's bytes as a file: a link can't carry the token.
export async function download(path: string, name: string): Promise<void> {
  const answer = await askRaw("GET", path);
  if (!answer.ok) throw await problemOf(answer);
  const url = URL.createObjectURL(await answer.blob());
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}
