// chat.tsx: the playground: words as they come, how fast, and where in the queue while one waits. The talk is in memory only.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { askRaw } from "../lib/api";
import { begin, blocks, close, figures, stop, take, type Answer } from "../lib/chat";
import { decimal, duration, integer } from "../lib/format";
import { useNow } from "../lib/hooks";
import { canChat, shownState } from "../lib/models";
import { Problem, problemOf, unreachable } from "../lib/problem";
import type { Route } from "../lib/route";
import { SseParser } from "../lib/sse";
import { Empty, Page, Panel, Said, StateTag } from "../parts/basics";
import { useModels } from "./models";

interface Turn {
  role: "user" | "assistant";
  text: string;
  answer?: Answer;
  model?: string;
}

interface Settings {
  system: string;
  temperature: string;
  top_p: string;
  max_tokens: string;
  seed: string;
}

// Kept while the page is: going to another page and back loses nothing.
let talk: Turn[] = [];
let chosen = "";
let settings: Settings = { system: "", temperature: "0.7", top_p: "", max_tokens: "256", seed: "" };
let stopper: AbortController | null = null;
let redraw: (() => void) | null = null;

function update(answer: Answer): void {
  const last = talk[talk.length - 1];
  if (!last) return;
  talk = [...talk.slice(0, -1), { ...last, text: answer.text, answer }];
  redraw?.();
}

function number(text: string): number | undefined {
  const n = Number(text);
  return text.trim() && Number.isFinite(n) ? n : undefined;
}

async function say(model: string, words: string): Promise<void> {
  talk = [...talk, { role: "user", text: words }];
  const messages = [...(settings.system.trim() ? [{ role: "system", content: settings.system }] : []), ...talk.filter((t) => t.text).map((t) => ({ role: t.role, content: t.text }))];
  let answer = begin(performance.now());
  talk = [...talk, { role: "assistant", text: "", answer, model }];
  const abort = new AbortController();
  stopper = abort;
  redraw?.();
  const body: Record<string, unknown> = { model, messages, stream: true, stream_options: { include_usage: true } };
  for (const name of ["temperature", "top_p", "max_tokens", "seed"] as const) {
    const n = number(settings[name]);
    if (n !== undefined) body[name] = n;
  }
  let due = false;
  const put = (next: Answer) => {
    answer = next;
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      update(answer);
    });
  };
  let begun = false;
  try {
    const got = await askRaw("POST", "/v1/chat/completions", { body, signal: abort.signal });
    if (!got.ok) throw await problemOf(got);
    if (!got.body) throw new Problem(502, "page.answer", "The answer has no body.");
    begun = true;
    const reader = got.body.getReader(), parser = new SseParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const now = performance.now();
      let next = answer;
      for (const part of parser.push(value)) next = take(next, part, now);
      put(next);
      if (next.phase === "failed") {
        abort.abort();
        break;
      }
    }
    answer = close(answer);
  } catch (e) {
    // A body that breaks off takes with it what was not read yet, maybe also the event that says why.
    if (answer.phase !== "failed") answer = abort.signal.aborted ? stop(answer) : begun ? close(answer) : { ...answer, phase: "failed", error: e instanceof Problem ? e : unreachable(e) };
  }
  if (stopper === abort) stopper = null;
  update(answer);
}

function Words({ text }: { text: string }): JSX.Element {
  return <div class="words">{blocks(text).map((b, i) => (b.code ? <pre key={i} tabIndex={0}>{b.text}</pre> : <span key={i}>{b.text}</span>))}</div>;
}

function AnswerView({ turn }: { turn: Turn }): JSX.Element {
  const answer = turn.answer as Answer, over = answer.phase === "done" || answer.phase === "failed" || answer.phase === "stopped";
  useNow(over ? 3_600_000 : 200);
  const now = performance.now(), f = figures(answer, now);
  return (
    <article class="message" data-phase={answer.phase} aria-busy={!over}>
      <div class="by"><b>{turn.model}</b></div>
      {answer.thought && <details><summary class="dim">Thoughts</summary><Words text={answer.thought} /></details>}
      {answer.text && <Words text={answer.text} />}
      {!over && answer.first === null && (
        <div class="waiting-note" data-waiting>
          <StateTag state="starting" text={answer.position ? `Position ${answer.position} in the queue` : answer.phase === "waiting" ? "Waiting" : "Asked"} />
          <span>{duration(now - answer.asked)}{answer.note ? `: ${answer.note}` : ""}</span>
        </div>
      )}
      {answer.phase === "writing" && <span class="cursor" />}
      {answer.error && <Said error={answer.error} />}
      {(answer.first !== null || over) && (
        <div class="figures">
          {f.ttft !== null && <span>first token {duration(f.ttft)}</span>}
          {f.rate !== null && <span data-rate>{decimal(f.rate)} tokens/s</span>}
          {f.tokens > 0 && <span>{f.exact ? "" : "about "}{integer(f.tokens)} tokens</span>}
          {answer.usage?.prompt != null && <span>{integer(answer.usage.prompt)} read</span>}
          {answer.finish === "length" && <span>cut at the limit of tokens</span>}
          {answer.phase === "stopped" && <span>stopped</span>}
        </div>
      )}
    </article>
  );
}

function Field(props: { name: keyof Settings; label: string; hint?: string; step?: string; min?: string; max?: string; set: () => void }): JSX.Element {
  return (
    <div class="field">
      <label for={`p-${props.name}`}>{props.label}</label>
      <input id={`p-${props.name}`} type="number" inputMode="decimal" step={props.step ?? "any"} min={props.min} max={props.max} placeholder={props.hint} value={settings[props.name]}
        onInput={(e) => { settings = { ...settings, [props.name]: e.currentTarget.value }; props.set(); }} />
    </div>
  );
}

export function ChatPage({ route }: { route: Route }): JSX.Element {
  const [, draw] = useState(0);
  const again = () => draw((n) => n + 1);
  const { models, error } = useModels();
  const [words, setWords] = useState("");
  const place = useRef<HTMLDivElement>(null), follow = useRef(true), box = useRef<HTMLTextAreaElement>(null);
  useEffect(() => {
    redraw = again;
    return () => void (redraw = null);
  }, []);
  useEffect(() => {
    if (route.query.model) chosen = route.query.model;
    again();
  }, [route.query.model]);
  useEffect(() => {
    if (place.current && follow.current) place.current.scrollTop = place.current.scrollHeight;
  }, [talk]);
  const able = models?.filter(canChat) ?? [];
  const model = chosen && (!models || able.some((m) => m.name === chosen)) ? chosen : (able[0]?.name ?? "");
  const info = able.find((m) => m.name === model);
  const busy = stopper !== null;
  const send = () => {
    const what = words.trim();
    if (!what || !model || busy) return;
    setWords("");
    follow.current = true;
    void say(model, what);
    box.current?.focus();
  };
  return (
    <Page title="Playground" actions={talk.length > 0 && <button type="button" onClick={() => { stopper?.abort(); talk = []; again(); box.current?.focus(); }}>New talk</button>}>
      <div class="chat">
        <section class="panel talk" aria-label="Talk">
          <div class="messages" ref={place} tabIndex={0} role="log" aria-live="polite" aria-relevant="additions" onScroll={(e) => { const at = e.currentTarget; follow.current = at.scrollHeight - at.scrollTop - at.clientHeight < 40; }}>
            {talk.length === 0 && <Empty title={model ? `Ask ${model} something` : "No model to talk to"}>{model ? "A model that is swapped out or cold comes in when it is asked." : <a href="#/models">Models</a>}</Empty>}
            {talk.map((t, i) => (t.role === "user" ? <div class="message mine" key={i}><div class="words">{t.text}</div></div> : <AnswerView turn={t} key={i} />))}
          </div>
          <form class="say" onSubmit={(e) => { e.preventDefault(); send(); }}>
            <textarea ref={box} aria-label="Message" rows={1} placeholder="Message" title="Enter sends, Shift+Enter is a new line" value={words}
              onInput={(e) => { setWords(e.currentTarget.value); e.currentTarget.style.height = "auto"; e.currentTarget.style.height = `${Math.min(180, e.currentTarget.scrollHeight + 2)}px`; }}
              onKeyDown={(e) => { if (e.key === "Enter" && !e.shiftKey && !e.isComposing) { e.preventDefault(); send(); e.currentTarget.style.height = "auto"; } }} />
            {busy ? <button type="button" class="danger" onClick={() => stopper?.abort()}>Stop</button> : <button class="first" disabled={!words.trim() || !model}>Send</button>}
          </form>
        </section>
        <Panel title="Model" aside={info && <StateTag state={shownState(info)} />}>
          <div class="form">
            <Said error={error} />
            <div class="field">
              <select aria-label="Model" value={model} onChange={(e) => { chosen = e.currentTarget.value; again(); }}>
                {able.length === 0 && <option value="">none</option>}
                {able.map((m) => <option key={m.name} value={m.name}>{m.name}</option>)}
              </select>
              {info && <span class="hint">{integer(info.running)} running, {integer(info.waiting)} waiting{info.ttft_ms ? `, first token after ${duration(info.ttft_ms)} as a rule` : ""}</span>}
            </div>
            <div class="field">
              <label for="p-system">System prompt</label>
              <textarea id="p-system" rows={2} value={settings.system} onInput={(e) => { settings = { ...settings, system: e.currentTarget.value }; again(); }} />
            </div>
            <div class="fields">
              <Field name="temperature" label="Temperature" hint="as the engine likes" min="0" max="2" step="0.1" set={again} />
              <Field name="top_p" label="Top p" hint="1" min="0" max="1" step="0.05" set={again} />
              <Field name="max_tokens" label="Most tokens" hint="no limit" min="1" step="1" set={again} />
              <Field name="seed" label="Seed" hint="by chance" step="1" set={again} />
            </div>
          </div>
        </Panel>
      </div>
    </Page>
  );
}

// Whoever signs in next does not read what was said before.
export function forgetTalk(): void {
  stopper?.abort();
  talk = [];
  chosen = "";
}
