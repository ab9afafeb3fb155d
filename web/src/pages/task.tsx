// task.tsx: one task: its way so far, output as it comes, result, files; cancelling, priority, and why it does not run yet.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ask, askRaw, download, get, session } from "../lib/api";
import { bytes, clock, duration, integer, json, shortId, when } from "../lib/format";
import { useAsked, useNow, usePoll } from "../lib/hooks";
import { change, may, useEvents, useLive } from "../lib/live";
import { fromEvent, fromFile, noLog, type Log } from "../lib/log";
import { Problem, problemOf } from "../lib/problem";
import { withTask } from "../lib/store";
import { ended, PRIORITIES, type Task, type Why } from "../lib/types";
import { Confirm, Copy, Empty, Fact, Page, Panel, Said, Share, StateTag, TaskLink, toast, WorkerLink } from "../parts/basics";
import { accountNames, useAccounts } from "./tasks";

const TAIL = 256 << 10;

function useLog(id: string, attempt: number, state: string): { log: Log; error: unknown } {
  const [log, setLog] = useState<Log>(noLog);
  const [error, setError] = useState<unknown>(null);
  const now = useRef({ log: noLog, busy: false, of: "" });
  const put = (next: Log) => {
    now.current.log = next;
    setLog(next);
  };
  const read = async (of: string) => {
    const here = now.current;
    if (here.busy) return;
    here.busy = true;
    try {
      // From where it ends; of a long one that is new here, the last part.
      const head = await askRaw("HEAD", `/api/v1/tasks/${id}/log`);
      if (!head.ok) throw head.status === 404 ? new Problem(404, "not_found", "") : await problemOf(head);
      const all = Number(head.headers.get("Content-Length") ?? 0);
      if (here.log.end === 0 && all > TAIL && here.of === of) put({ text: "", end: all - TAIL, gap: false, cut: true });
      const from = here.log.end;
      if (all <= from) {
        if (here.log.gap && here.of === of) put({ ...here.log, gap: false });
        return;
      }
      const answer = await askRaw("GET", `/api/v1/tasks/${id}/log?offset=${from}`);
      if (answer.status === 416) return;
      if (!answer.ok) throw await problemOf(answer);
      const data = new Uint8Array(await answer.arrayBuffer());
      // A character that is not whole yet comes with the next part.
      let whole = data.length;
      for (let back = 1; back <= 3 && back <= data.length; back++) {
        const b = data[data.length - back] as number;
        if ((b & 0xc0) === 0x80) continue;
        if (b >= 0xc0 && (b >= 0xf0 ? 4 : b >= 0xe0 ? 3 : 2) > back) whole = data.length - back;
        break;
      }
      if (here.of === of && from === here.log.end) put(fromFile(here.log, new TextDecoder().decode(data.subarray(0, whole)), whole));
      setError(null);
    } catch (e) {
      if (!(e instanceof Problem && e.status === 404)) setError(e);
    } finally {
      here.busy = false;
    }
  };
  const of = `${id}/${attempt}`;
  useEffect(() => {
    now.current = { log: noLog, busy: false, of };
    setLog(noLog);
    void read(of);
  }, [of]);
  useEffect(() => {
    if (ended(state)) void read(of);
  }, [state]);
  useEvents((event) => {
    if (event.type !== "task.log" || event.task !== id) return;
    const data = event.data as { offset?: number; bytes?: number; text?: string } | null;
    if (typeof data?.offset !== "number" || typeof data.bytes !== "number" || typeof data.text !== "string") return;
    put(fromEvent(now.current.log, data.offset, data.bytes, data.text));
  });
  usePoll(1000, () => {
    if (now.current.log.gap) void read(of);
  });
  return { log, error };
}

function LogView({ log, running }: { log: Log; running: boolean }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const follow = useRef(true);
  useEffect(() => {
    if (place.current && follow.current) place.current.scrollTop = place.current.scrollHeight;
  }, [log.text]);
  if (!log.text) return <Empty title={running ? "No output yet" : "No output"} />;
  return (
    <div class="log" ref={place} tabIndex={0} role="log" aria-label="Output" onScroll={(e) => { const at = e.currentTarget; follow.current = at.scrollHeight - at.scrollTop - at.clientHeight < 30; }}>
      {log.cut && <span class="dim">… the beginning is left out{"\n"}</span>}
      {log.text}
    </div>
  );
}

function Step({ name, time, now, kind, children }: { name: string; time?: string | null; now: number; kind: string; children?: ComponentChildren }): JSX.Element {
  return <li class={kind}><div><b>{name}</b>{children && <div class="under">{children}</div>}</div><span class="dim num nowrap">{time ? clock(time, now) : ""}</span></li>;
}

function Timeline({ task, now, workerName }: { task: Task; now: number; workerName?: string }): JSX.Element {
  const created = when(task.created), started = when(task.started), end = when(task.ended);
  const queuedFrom = when(task.queued) ?? created;
  const waited = started !== null && queuedFrom !== null ? duration(started - queuedFrom) : queuedFrom !== null && !ended(task.state) ? duration(now - queuedFrom) : null;
  const ran = started !== null ? duration((end ?? now) - started) : null;
  const over = ended(task.state);
  return (
    <ol class="timeline">
      <Step name="Created" time={task.created} now={now} kind="past" />
      {task.queued && task.queued !== task.created && <Step name="Queued" time={task.queued} now={now} kind="past" />}
      {task.state === "held" && <Step name="Held" now={now} kind="">waits for its time, or for other tasks</Step>}
      {task.state === "backoff" && <Step name="To be tried again" now={now} kind="bad">after attempt {task.attempt}</Step>}
      {started !== null ? <Step name={(task.attempt ?? 1) > 1 ? `Started, attempt ${task.attempt}` : "Started"} time={task.started} now={now} kind="past">{waited && `waited ${waited}`}{task.worker && <>, on <WorkerLink id={task.worker} name={workerName} /></>}</Step>
        : task.state === "queued" ? <Step name="Waiting for a worker" now={now} kind="">{waited && `for ${waited}`}</Step> : null}
      {task.state === "leased" && <Step name="Running" now={now} kind="">{ran && `for ${ran}`}</Step>}
      {over && <Step name={task.state === "done" ? "Done" : task.state[0]?.toUpperCase() + task.state.slice(1)} time={task.ended} now={now} kind={task.state === "done" ? "good" : "bad"}>{[ran && `ran ${ran}`, task.reason && task.reason !== "none" && task.reason !== task.state ? task.reason.replace(/_/g, " ") : ""].filter(Boolean).join(", ")}</Step>}
    </ol>
  );
}

function WhyView({ id, state }: { id: string; state: string }): JSX.Element | null {
  const asked = useAsked(`/api/v1/tasks/${id}/why#${state}`, (what, signal) => get<Why>(what.split("#")[0] ?? "", signal));
  usePoll(5000, asked.again);
  if (!asked.value) return null;
  const w = asked.value;
  return (
    <Panel title="Why it does not run yet">
      <p>{w.text[0]?.toUpperCase() + w.text.slice(1)}.</p>
      {w.unmet && w.unmet.length > 0 && <ul class="under">{w.unmet.map((u) => <li key={u.need}><code>{u.need}</code>: {u.matched} of {u.total} workers</li>)}</ul>}
      <p class="dim">
        {[typeof w.position === "number" && w.position > 0 && `position ${integer(w.position)}`, typeof w.eta_ms === "number" && `about ${duration(w.eta_ms)} to go`, w.priority_now && `ranks as ${w.priority_now} now`].filter(Boolean).join(", ")}
      </p>
    </Panel>
  );
}

function resultText(result: unknown): { text: string; kind: string } | null {
  if (result === undefined || result === null) return null;
  return { text: json(result), kind: typeof result === "string" ? "text" : "json" };
}

export function TaskPage({ id }: { id: string }): JSX.Element {
  if (!/^task_[0-9a-f]{32}$/.test(id)) return <Page title="Task" back={{ href: "#/tasks", text: "Tasks" }}><Empty title="That is no task’s id" /></Page>;
  return <OneTask id={id} />;
}

function OneTask({ id }: { id: string }): JSX.Element {
  const now = useNow();
  const asked = useAsked(`/api/v1/tasks/${id}`, (what, signal) => get<Task>(what, signal));
  const live = useLive((s) => s.tasks.get(id)), workers = useLive((s) => s.workers), taken = useLive((s) => s.taken);
  const task: Task | null = asked.value ? { ...asked.value, ...(live && asked.value ? { state: live.state, attempt: live.attempt ?? asked.value.attempt, progress: live.progress ?? asked.value.progress, worker: live.worker ?? asked.value.worker, reason: live.reason ?? asked.value.reason, started: live.started ?? asked.value.started, ended: live.ended ?? asked.value.ended } : {}) } : null;
  const names = accountNames(useAccounts());
  const [asking, setAsking] = useState(false);
  const [said, setSaid] = useState<unknown>(null);
  const { log, error: logError } = useLog(id, task?.attempt ?? 0, task?.state ?? "");
  // The whole of it again whenever the stream knows of another state than was answered: at once when that changed, a little later when the answer was the older one.
  const answered = asked.value, liveState = live ? `${live.state}/${live.attempt}` : null, seenState = useRef(liveState);
  useEffect(() => {
    if (!answered || !liveState || liveState === `${answered.state}/${answered.attempt}`) return;
    if (seenState.current !== liveState) {
      seenState.current = liveState;
      asked.again();
      return;
    }
    const later = setTimeout(asked.again, 500);
    return () => clearTimeout(later);
  }, [liveState, answered]);
  // After a break that took the past with it, what happened meanwhile was not told.
  useEffect(() => {
    if (answered && !live && taken && !ended(answered.state)) asked.again();
  }, [taken, live === undefined]);
  if (!task) return <Page title="Task" back={{ href: "#/tasks", text: "Tasks" }}>{asked.error ? <Said error={asked.error} /> : <Empty title="Looking…" />}</Page>;
  const over = ended(task.state), mine = task.account === session.me?.account;
  const mayChange = !over && (may("task.change.all") || (mine && may("task.change")));
  const setPriority = async (priority: string) => {
    try {
      const after = await ask<Task>("PATCH", `/api/v1/tasks/${id}`, { body: { priority } });
      change((s) => withTask(s, after));
      setSaid(null);
      toast(`Priority is ${priority} now.`);
      asked.again();
    } catch (e) {
      setSaid(e);
    }
  };
  const result = resultText(task.result);
  const error = task.error as { code?: string; text?: string; exit?: number } | null | undefined;
  return (
    <Page
      title={task.name || shortId(id)}
      back={{ href: "#/tasks", text: "Tasks" }}
      sub={<span class="row"><StateTag state={task.state} /> <span>{task.type}</span> <code class="dim">{id}</code></span>}
      actions={
        <>
          {may("task.submit") && <a class="button" href={`#/submit?like=${id}`}>Submit again</a>}
          {mayChange && <button type="button" class="danger" onClick={() => setAsking(true)}>Cancel the task</button>}
        </>
      }
    >
      {asking && (
        <Confirm title="Cancel this task?" verb="Cancel the task" danger close={() => setAsking(false)}
          text={<>{task.state === "leased" ? "It is stopped on its worker; what it has done so far is lost." : "It leaves the queue."} Tasks that wait for it will not run.</>}
          act={async () => {
            const after = await ask<Task>("POST", `/api/v1/tasks/${id}/cancel`, { body: {} });
            change((s) => withTask(s, after));
            asked.again();
          }} />
      )}
      <div class="split wide-left">
        <div class="stack">
          <Said error={said ?? asked.error} />
          {task.state === "leased" && (typeof task.progress?.share === "number" || task.progress?.text) && (
            <Panel title="Progress" aside={task.progress.steps ? `step ${integer(task.progress.step)} of ${integer(task.progress.steps)}` : undefined}>
              <Share share={task.progress.share} />
              {task.progress.text && task.progress.text !== `step ${task.progress.step} of ${task.progress.steps}` && <p class="dim">{task.progress.text}</p>}
            </Panel>
          )}
          {(task.state === "queued" || task.state === "held" || task.state === "backoff") && <WhyView id={id} state={task.state} />}
          {error && (
            <div class="said"><b>{error.code ?? "error"}</b> {error.text}{typeof error.exit === "number" && error.exit >= 0 && !error.text?.includes("exit code") ? ` (exit code ${error.exit})` : ""}</div>
          )}
          <Panel bare title="Output" aside={<>{task.state === "leased" && <span>live</span>}<span>{bytes(log.end)}</span>{log.end > 0 && <button type="button" class="bare" onClick={() => download(`/api/v1/tasks/${id}/log`, `${shortId(id)}.log`).catch(setSaid)}>Download</button>}</>}>
            {logError ? <Said error={logError} /> : <LogView log={log} running={!over} />}
          </Panel>
          {result && <Panel title="Result" aside={<Copy text={result.text} />}><pre class="block" tabIndex={0}>{result.text}</pre></Panel>}
          {(task.artifacts?.length ?? 0) > 0 && (
            <Panel bare title="Files" aside={String(task.artifacts?.length)}>
              <div class="table-wrap"><table>
                <tbody>
                  {task.artifacts?.map((a) => (
                    <tr key={a.name + a.sha256}>
                      <td><span class="main-text">{a.name ?? "file"}</span><div class="under mono" title={a.sha256}>{a.sha256.slice(0, 16)}…</div></td>
                      <td class="right">{bytes(a.bytes)}</td>
                      <td class="right"><button type="button" onClick={() => download(`/api/v1/artifacts/${a.sha256}`, (a.name ?? a.sha256).split("/").pop() || a.sha256).catch(setSaid)}>Download</button></td>
                    </tr>
                  ))}
                </tbody>
              </table></div>
            </Panel>
          )}
          {task.payload !== undefined && <Panel title="What was submitted"><pre class="block" tabIndex={0}>{json(task.payload)}</pre></Panel>}
        </div>
        <div class="stack">
          <Panel title="Timeline"><Timeline task={task} now={now} workerName={task.worker ? workers.get(task.worker)?.name : undefined} /></Panel>
          <Panel title="Facts">
            <dl class="facts">
              <Fact name="Priority">
                {mayChange ? (
                  <select aria-label="Priority" value={task.priority ?? "normal"} onChange={(e) => void setPriority(e.currentTarget.value)}>
                    {PRIORITIES.map((p) => <option key={p} value={p}>{p}</option>)}
                  </select>
                ) : task.priority}
              </Fact>
              <Fact name="Attempt">{integer(task.attempt ?? 0)}{typeof task.attempts === "number" ? ` of ${integer(task.attempts)}` : ""}</Fact>
              <Fact name="Account">{task.account ? (names.get(task.account) ?? (mine ? session.me?.name : shortId(task.account))) : "unavailable"}</Fact>
              {task.deadline && <Fact name="Deadline">{clock(task.deadline, now)}</Fact>}
              {task.worker && <Fact name="Worker"><WorkerLink id={task.worker} name={workers.get(task.worker)?.name} /></Fact>}
              {task.after && task.after.length > 0 && <Fact name="After">{task.after.slice(0, 12).map((t) => <div key={t}><TaskLink id={t} /></div>)}{task.after.length > 12 && `and ${task.after.length - 12} more`}</Fact>}
              {task.needs && Object.keys(task.needs).length > 0 && Object.entries(task.needs).map(([k, v]) => (v === null ? null : <Fact key={k} name={`Needs ${k}`}>{k === "memory" && typeof v === "number" ? bytes(v) : typeof v === "object" ? json(v) : String(v)}</Fact>))}
            </dl>
          </Panel>
          {task.usage && Object.keys(task.usage).length > 0 && (
            <Panel title="Used">
              <dl class="facts">
                {Object.entries(task.usage).map(([k, v]) => (
                  <Fact key={k} name={k.replace(/_(ms|bytes)$/, "").replace(/_/g, " ")}>{typeof v !== "number" ? json(v) : k.endsWith("_ms") ? duration(v) : k.endsWith("_bytes") ? bytes(v) : integer(v)}</Fact>
                ))}
              </dl>
            </Panel>
          )}
        </div>
      </div>
    </Page>
  );
}
