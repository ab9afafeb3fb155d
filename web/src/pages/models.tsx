// models.tsx: every model that can be asked, in memory or not: swapped out and cold ones come in when somebody asks.
import type { JSX } from "preact";
import { useEffect, useMemo, useState } from "preact/hooks";
import { ask, get } from "../lib/api";
import { bytes, duration, integer } from "../lib/format";
import { useAsked, usePoll } from "../lib/hooks";
import { may, useLive } from "../lib/live";
import { byUse, canChat, shownState, type Model } from "../lib/models";
import { address } from "../lib/route";
import type { List } from "../lib/types";
import { Empty, Page, Said, StateTag, toast, WorkerLink } from "../parts/basics";

// The list as asked for, asked again when an event says that a model changed, and every few seconds for its figures.
export function useModels(): { models: Model[] | null; error: Error | null; again: () => void } {
  const asked = useAsked(may("model.read") ? "/api/v1/models" : null, (what, signal) => get<List<Model>>(what, signal));
  const told = useLive((s) => s.models);
  useEffect(() => {
    if (told.size) asked.again();
  }, [told]);
  usePoll(4000, asked.again);
  const models = useMemo(() => (asked.value ? [...asked.value.data].sort(byUse) : null), [asked.value]);
  return { models, error: asked.error, again: asked.again };
}

function Figure({ name, value }: { name: string; value: string }): JSX.Element {
  return <div><b class={value === "unavailable" ? "none" : ""}>{value}</b>{name}</div>;
}

export function ModelsPage(): JSX.Element {
  const { models, error, again } = useModels();
  const [said, setSaid] = useState<unknown>(null);
  const [busy, setBusy] = useState<string | null>(null);
  const want = async (model: string, verb: "start" | "stop") => {
    setBusy(model);
    setSaid(null);
    try {
      await ask("POST", `/api/v1/models/${encodeURIComponent(model)}/${verb}`, { body: {} });
      toast(verb === "start" ? `${model} is asked to start.` : `${model} is asked to stop.`);
      again();
    } catch (e) {
      setSaid(e);
    }
    setBusy(null);
  };
  const waiting = models?.reduce((n, m) => n + (m.waiting ?? 0), 0) ?? 0, running = models?.reduce((n, m) => n + (m.running ?? 0), 0) ?? 0;
  return (
    <Page title="Models" sub={models ? `${integer(running)} ${running === 1 ? "request" : "requests"} running, ${integer(waiting)} waiting` : undefined} actions={may("generate") && <a class="button first" href="#/chat">Playground</a>}>
      <div class="stack">
        <Said error={said ?? error} />
        {models && models.length === 0 && <section class="panel"><Empty title="No model yet">On a worker’s machine: <code>berth models add NAME --file MODEL.gguf</code></Empty></section>}
        <div class="models">
          {models?.map((m) => {
            const state = shownState(m), up = m.state === "ready" || m.state === "starting";
            return (
              <section class="panel model" key={m.name} data-model={m.name} aria-label={m.name}>
                <div class="row"><span class="name grow">{m.name}</span><StateTag state={state} /></div>
                <div class="figures">
                  <Figure name="running" value={integer(m.running)} />
                  <Figure name="waiting" value={integer(m.waiting)} />
                  <Figure name="first token" value={duration(m.ttft_ms)} />
                  <Figure name="each token" value={duration(m.tpot_ms)} />
                </div>
                <ul class="where">
                  {(m.workers ?? []).slice(0, 6).map((e) => (
                    <li key={e.worker}>
                      <WorkerLink id={e.worker} name={e.name} />
                      <StateTag state={shownState(e)} />
                      <span class="dim">{[e.kind, e.memory_bytes ? bytes(e.memory_bytes) : "processors", e.parallel ? `${e.parallel} at once` : ""].filter(Boolean).join(", ")}</span>
                      {e.text && <span class="dim">{e.text}</span>}
                    </li>
                  ))}
                </ul>
                <div class="dim">{(m.tasks ?? []).join(", ")}{m.context ? `, context ${integer(m.context)}` : ""}{(m.oldest_wait_ms ?? 0) > 0 ? `, the oldest waits ${duration(m.oldest_wait_ms)}` : ""}</div>
                <div class="actions">
                  {canChat(m) && may("generate") && <a class="button" href={address(["chat"], { model: m.name })}>Chat</a>}
                  {may("model.change") && (up
                    ? <button type="button" disabled={busy === m.name} onClick={() => void want(m.name, "stop")}>Stop</button>
                    : <button type="button" disabled={busy === m.name} onClick={() => void want(m.name, "start")}>Start</button>)}
                </div>
              </section>
            );
          })}
        </div>
      </div>
    </Page>
  );
}
