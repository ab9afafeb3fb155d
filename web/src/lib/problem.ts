// problem.ts: what went wrong, as the pool says it (RFC 9457), or as the OpenAI routes do.

export class Problem extends Error {
  violations: { path: string; text: string }[] = [];
  unmet: { need: string; matched: number; total: number }[] = [];
  retryAfter: number | null = null;
  requestId: string | null = null;

  constructor(readonly status: number, readonly code: string, text: string) {
    super(text);
  }
}

// The body of an answer that is no success.
export function problemFrom(status: number, body: unknown, retryAfter: string | null = null): Problem {
  const o = (typeof body === "object" && body !== null ? body : {}) as Record<string, unknown>;
  const inner = (typeof o.error === "object" && o.error !== null ? o.error : null) as Record<string, unknown> | null;
  const text = inner ? inner.message : (o.detail ?? o.title);
  const problem = new Problem(status, String(inner?.code ?? inner?.type ?? o.code ?? `http.${status}`), typeof text === "string" && text ? text : `The pool answered ${status}.`);
  if (Array.isArray(o.violations)) problem.violations = o.violations.filter((v) => typeof v?.text === "string").map((v) => ({ path: String(v.path ?? ""), text: String(v.text) }));
  if (Array.isArray(o.unmet)) problem.unmet = o.unmet.filter((u) => typeof u?.need === "string");
  if (typeof o.request_id === "string") problem.requestId = o.request_id;
  const wait = typeof o.retry_after === "number" ? o.retry_after : Number(retryAfter ?? NaN);
  if (Number.isFinite(wait)) problem.retryAfter = wait;
  return problem;
}

export async function problemOf(answer: Response): Promise<Problem> {
  let body: unknown = null;
  try {
    body = await answer.json();
  } catch {
    // Not JSON: the status has to do.
  }
  return problemFrom(answer.status, body, answer.headers.get("Retry-After"));
}

export function unreachable(e: unknown): Problem {
  if (e instanceof DOMException && e.name === "AbortError") return new Problem(0, "page.stopped", "Stopped.");
  return new Problem(0, "page.unreachable", "The pool does not answer. Is it running, and the network up?");
}

export function problemText(e: unknown): string {
  return e instanceof Error ? e.message : String(e);
}
