// chat.ts: an answer of a model as it comes: words, times, how many tokens a second; and why it ended. Pure: time is handed in.
import { Problem, problemFrom } from "./problem";
import type { Sse } from "./sse";

export interface Usage {
  prompt: number | null;
  completion: number | null;
}

export interface Answer {
  phase: "asked" | "waiting" | "writing" | "done" | "failed" | "stopped";
  text: string;
  thought: string; // reasoning, where an engine tells it apart
  asked: number; // ms
  first: number | null; // when the first words came
  latest: number | null; // when the last did
  pieces: number; // parts that came: an engine sends a token in each, as a rule
  position: number | null; // in the queue, from 1
  note: string | null; // why it waits
  usage: Usage | null;
  finish: string | null; // stop, length …
  model: string | null;
  error: Problem | null;
  ended: boolean; // [DONE] was seen
}

export function begin(now: number): Answer {
  return { phase: "asked", text: "", thought: "", asked: now, first: null, latest: null, pieces: 0, position: null, note: null, usage: null, finish: null, model: null, error: null, ended: false };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

function count(value: unknown): number | null {
  return typeof value === "number" && Number.isFinite(value) && value >= 0 ? value : null;
}

// What the pool says while one waits: ": waiting position 3 (another model has the device)", ": waiting for the first token".
function heard(answer: Answer, comment: string): Answer {
  if (answer.first !== null) return answer;
  const position = /\bposition[ =:]*(\d+)/i.exec(comment);
  const note = comment.replace(/^\s*(queued|waiting)\b[:,;]?\s*/i, "").replace(/\bposition[ =:]*\d+[:,;]?\s*/i, "").replace(/^\((.*)\)\s*$/, "$1").trim();
  if (!comment.trim()) return answer.phase === "asked" ? { ...answer, phase: "waiting" } : answer;
  return { ...answer, phase: "waiting", position: position ? Number(position[1]) : null, note: note || null };
}

function failed(answer: Answer, error: Problem): Answer {
  return { ...answer, phase: "failed", error };
}

export function take(answer: Answer, part: Sse, now: number): Answer {
  if (answer.phase === "failed" || answer.phase === "stopped" || answer.ended) return answer;
  if (part.comment !== undefined) return heard(answer, part.comment);
  if (part.data === undefined) return answer;
  if (part.data.trim() === "[DONE]") return { ...answer, phase: "done", ended: true };
  let body: unknown;
  try {
    body = JSON.parse(part.data);
  } catch {
    return failed(answer, new Problem(502, "engine.stream", "The engine sent what is no JSON."));
  }
  if (isObject(body) && (part.event === "error" || isObject(body.error))) return failed(answer, problemFrom(typeof body.status === "number" ? body.status : 502, body));
  if (!isObject(body)) return failed(answer, new Problem(502, "engine.stream", "The engine sent what is no answer."));
  const choice = Array.isArray(body.choices) && isObject(body.choices[0]) ? body.choices[0] : null;
  const delta = choice && isObject(choice.delta) ? choice.delta : null;
  const words = delta ? text(delta.content) : choice ? text(choice.text) : "";
  const thought = delta ? text(delta.reasoning_content) || text(delta.reasoning) : "";
  let next: Answer = answer;
  if (words || thought)
    next = { ...next, phase: "writing", text: next.text + words, thought: next.thought + thought, first: next.first ?? now, latest: now, pieces: next.pieces + 1, position: null, note: null };
  if (choice && typeof choice.finish_reason === "string") next = { ...next, finish: choice.finish_reason };
  if (isObject(body.usage)) next = { ...next, usage: { prompt: count(body.usage.prompt_tokens), completion: count(body.usage.completion_tokens) } };
  if (typeof body.model === "string" && !next.model) next = { ...next, model: body.model };
  return next;
}

// The stream is over. Without [DONE] something broke, whatever came before.
export function close(answer: Answer): Answer {
  if (answer.ended || answer.phase === "failed" || answer.phase === "stopped") return answer;
  return failed(answer, new Problem(502, "engine.stream", answer.text ? "The answer broke off." : "The stream ended before the first word."));
}

export function stop(answer: Answer): Answer {
  return answer.phase === "done" || answer.phase === "failed" ? answer : { ...answer, phase: "stopped", position: null };
}

export interface Figures {
  ttft: number | null; // ms
  tokens: number; // by the engine's count where it told it, else parts
  exact: boolean;
  rate: number | null; // tokens a second after the first
}

export function figures(answer: Answer, now: number): Figures {
  const told = answer.usage?.completion ?? null, tokens = told ?? answer.pieces;
  const end = answer.phase === "writing" ? Math.max(now, answer.latest ?? now) : answer.latest;
  const span = answer.first !== null && end !== null ? end - answer.first : 0;
  return {
    ttft: answer.first === null ? null : answer.first - answer.asked,
    tokens,
    exact: told !== null,
    rate: tokens > 1 && span > 0 ? ((tokens - 1) * 1000) / span : null,
  };
}

export interface Block {
  code: boolean;
  text: string;
}

// Words and blocks of code (```), the last of which may still be open.
export function blocks(text: string): Block[] {
  const found: Block[] = [];
  let code = false, lines: string[] = [];
  const put = () => {
    const joined = lines.join("\n");
    if (joined.trim() || code) found.push({ code, text: code ? joined : joined.replace(/^\n+|\n+$/g, "") });
    lines = [];
  };
  for (const line of text.split("\n")) {
    if (/^\s*```/.test(line)) {
      put();
      code = !code;
    } else {
      lines.push(line);
    }
  }
  if (lines.length) put();
  return found.filter((b) => b.text);
}
