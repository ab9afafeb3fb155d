// overview.tsx: what this pool's machines hold and do, at a glance.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { get } from "../lib/api";
import { duration, integer, plural, when } from "../lib/format";
import { columns, latest, SPANS } from "../lib/history";
import { useAsked, useNow, usePoll } from "../lib/hooks";
import { may, useLive } from "../lib/live";
import { address } from "../lib/route";
import type { History, Worker } from "../lib/types";
import { Empty, Page, Panel, Share, StateTag, TaskLink, Tile, WorkerLink } from "../parts/basics";
import { Chart, Spans } from "../parts/chart";
import { Device } from "../parts/device";

const SERIES = ["tasks.done", "tasks.failed", "tokens.out", "tokens.in"] as const;

function useHistory(seconds: number): History | null {
  const asked = useAsked(`/api/v1/history?since=${seconds}&series=${SERIES.join(",")}`, (what, signal) => get<History>(what, signal));
  usePoll(seconds <= 600 ? 2000 : 15_000, asked.again);
  return asked.value;
}

function Throughput({ history, seconds, setSeconds }: { history: History | null; seconds: number; setSeconds: (n: number) => void }): JSX.Element {
  const drawn = useMemo(() => (history ? columns(history, SERIES) : { times: [], values: SERIES.map(() => []) }), [history]);
  const tasks = useMemo(() => [{ label: "done", colour: "--d0", values: drawn.values[0] ?? [] }, { label: "failed", colour: "--d4", values: drawn.values[1] ?? [] }], [drawn]);
  const tokens = useMemo(() => [{ label: "written", colour: "--d2", values: drawn.values[2] ?? [] }, { label: "read", colour: "--d1", values: drawn.values[3] ?? [] }], [drawn]);
  return (
    <Panel title="Throughput" aside={<Spans seconds={seconds} set={setSeconds} />}>
      <div class="split">
        <Chart times={drawn.times} series={tasks} unit="tasks/s" span={seconds} />
        <Chart times={drawn.times} series={tokens} unit="tokens/s" span={seconds} />
      </div>
    </Panel>
  );
}

function Devices({ workers }: { workers: Worker[] }): JSX.Element {
  const nodes = useLive((s) => s.nodes);
  if (!workers.length) return <Panel title="Devices"><Empty title="No worker is connected">Start one: <code>berth worker --pool {location.origin.replace(/^http/, "ws")}</code></Empty></Panel>;
  return (
    <>
      {workers.map((w) => {
        const node = nodes.get(w.id);
        const devices = node?.devices ?? (w.devices ?? []).filter((d) => d.kind !== "cpu").map((d) => ({ name: d.name, kind: d.kind, memory_total_bytes: d.memory_bytes ?? null }));
        return (
          <Panel key={w.id} bare title={<a href={address(["workers", w.id])}>{w.name}</a>} aside={<><span>{plural(devices.length, "device")}</span>{w.connected !== false && <a href={address(["workers", w.id, "machine"])}>machine</a>}<StateTag state={w.state} /></>}>
            {devices.length ? devices.map((d, i) => <Device key={("uuid" in d && d.uuid) || i} device={d} compact />) : <Empty title="No device to share">Tasks run on its processors.</Empty>}
          </Panel>
        );
      })}
    </>
  );
}

export function OverviewPage(): JSX.Element {
  const now = useNow();
  const [seconds, setSeconds] = useState<number>(SPANS[0].seconds);
  const history = useHistory(seconds);
  const counts = useLive((s) => s.counts), tasks = useLive((s) => s.tasks), workers = useLive((s) => s.workers), taken = useLive((s) => s.taken);
  const running = [...tasks.values()].filter((t) => t.state === "leased").reverse();
  const here = [...workers.values()].filter((w) => w.connected !== false && w.state !== "away").sort((a, b) => a.name.localeCompare(b.name));
  const slots = here.reduce((n, w) => n + w.slots, 0);
  const rate = history && history.step_ms === 1000 ? latest(history.series["tasks.done"] ?? [], 10) : history ? latest(history.series["tasks.done"] ?? [], 1) : null;
  const tokens = history ? latest(history.series["tokens.out"] ?? [], history.step_ms === 1000 ? 10 : 1) : null;
  const all = may("task.read.all"), lately = seconds <= 600 ? "last 10 s" : seconds <= 10_800 ? "last 10 s" : "last 5 min";
  return (
    <Page title="Overview" actions={may("task.submit") && <a class="button first" href="#/submit">New task</a>}>
      <div class="stack">
        <div class="tiles">
          <Tile label="Running" value={counts?.leased} note={all ? "tasks" : "of your tasks"} href="#/tasks?state=leased" />
          <Tile label="Waiting" value={counts ? (counts.queued ?? 0) + (counts.held ?? 0) + (counts.backoff ?? 0) : null} note={counts?.held ? `${integer(counts.held)} held` : "in the queue"} href="#/tasks?state=queued" />
          <Tile label="Tasks a second" value={rate} note={`done, ${lately}`} />
          <Tile label="Tokens a second" value={tokens} note={`written, ${lately}`} />
          {may("worker.read") && <Tile label="Workers" value={taken ? here.length : null} note={plural(slots, "slot")} href="#/workers" />}
        </div>
        <div class={may("worker.read") ? "split wide-left" : "stack"}>
          {may("worker.read") && <div class="stack"><Devices workers={here} /></div>}
          <Panel bare title="Running now" aside={<a href="#/tasks">all tasks</a>}>
            {running.length === 0 ? <Empty title="Nothing runs">{may("task.submit") && <a href="#/submit">Submit a task</a>}</Empty> : (
              <div class="table-wrap">
                <table class="cards">
                  <thead><tr><th>Task</th><th>Progress</th><th class="right">For</th></tr></thead>
                  <tbody>
                    {running.slice(0, 14).map((t) => (
                      <tr key={t.id}>
                        <td class="lead"><span class="clip"><TaskLink id={t.id} name={t.name} /></span><span class="under">{t.type} on <WorkerLink id={t.worker} name={t.worker ? workers.get(t.worker)?.name : undefined} /></span></td>
                        <td data-label="progress"><Share share={t.progress?.share} text={t.progress?.text} /></td>
                        <td class="right dim" data-label="running for">{t.started ? duration(Math.max(0, now - (when(t.started) ?? now))) : "–"}</td>
                      </tr>
                    ))}
                  </tbody>
                </table>
                {running.length > 14 && <div class="empty"><a href="#/tasks?state=leased">and {running.length - 14} more</a></div>}
              </div>
            )}
          </Panel>
        </div>
        <Throughput history={history} seconds={seconds} setSeconds={setSeconds} />
      </div>
    </Page>
  );
}
