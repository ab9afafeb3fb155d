// workers.tsx: the machines that work for the pool.
import type { JSX } from "preact";
import { useMemo } from "preact/hooks";
import { get } from "../lib/api";
import { bytes, integer, percent, plural } from "../lib/format";
import { useAsked, useNow } from "../lib/hooks";
import { useLive } from "../lib/live";
import { enginesByWorker } from "../lib/models";
import { address } from "../lib/route";
import type { List, NodeReport, Worker } from "../lib/types";
import { Ago, Empty, Page, Said, StateTag, WorkerLink } from "../parts/basics";
import { useModels } from "./models";

function deviceWords(worker: Worker, node: NodeReport | undefined): JSX.Element {
  const known = node?.devices;
  if (known) {
    if (!known.length) return <span class="dim">processors only</span>;
    return <>{known.slice(0, 4).map((d, i) => <div key={d.uuid ?? i}>{d.name ?? d.kind} <span class="dim num">{bytes(d.memory_used_bytes)} of {bytes(d.memory_total_bytes)}</span></div>)}{known.length > 4 && <span class="dim">and {known.length - 4} more</span>}</>;
  }
  const told = (worker.devices ?? []).filter((d) => d.kind !== "cpu");
  if (!told.length) return <span class="dim">processors only</span>;
  return <>{told.slice(0, 4).map((d, i) => <div key={i}>{d.name ?? d.kind} <span class="dim num">{bytes(d.memory_bytes)}</span></div>)}</>;
}

export function WorkersPage(): JSX.Element {
  const now = useNow(5000);
  // The stream's snapshot has those that are connected; those away are asked for.
  const live = useLive((s) => s.workers), nodes = useLive((s) => s.nodes), tasks = useLive((s) => s.tasks);
  const asked = useAsked("/api/v1/workers?limit=1000", (what, signal) => get<List<Worker>>(what, signal));
  const { models } = useModels();
  const allEngines = useMemo(() => enginesByWorker(models ?? []), [models]);
  const rows = useMemo(() => {
    const all = new Map((asked.value?.data ?? []).map((w) => [w.id, w]));
    for (const w of live.values()) all.set(w.id, { ...all.get(w.id), ...w });
    return [...all.values()].sort((a, b) => Number(b.connected ?? false) - Number(a.connected ?? false) || a.name.localeCompare(b.name));
  }, [asked.value, live]);
  const running = useMemo(() => {
    const count = new Map<string, number>();
    for (const t of tasks.values()) if (t.state === "leased" && t.worker) count.set(t.worker, (count.get(t.worker) ?? 0) + 1);
    return count;
  }, [tasks]);
  return (
    <Page title="Workers" sub={asked.value ? `${plural(rows.filter((w) => w.connected).length, "worker")} connected, ${rows.filter((w) => !w.connected).length} away` : undefined}>
      <Said error={asked.error} />
      <section class="panel" aria-busy={asked.busy}>
        {asked.value && rows.length === 0 ? <Empty title="No worker has joined yet">On a machine: <code>berth worker --pool {location.origin.replace(/^http/, "ws")} --token-file key</code></Empty> : (
          <div class="table-wrap">
            <table class="cards">
              <thead><tr><th>Worker</th><th>State</th><th class="right">Busy</th><th>Devices</th><th>Engines</th><th class="right">Processor</th><th class="right">Heard of</th><th><span class="seen-by-readers">Machine</span></th></tr></thead>
              <tbody>
                {rows.map((w) => {
                  const engines = allEngines.get(w.id) ?? [], host = nodes.get(w.id)?.host;
                  return (
                    <tr key={w.id} data-worker={w.id}>
                      <td class="lead"><span class="clip main-text"><WorkerLink id={w.id} name={w.name} /></span>{w.address && <span class="under">{w.address}</span>}</td>
                      <td data-label="state"><StateTag state={w.state} /></td>
                      <td data-label="busy" class="right">{integer(running.get(w.id) ?? 0)} of {integer(w.slots)}</td>
                      <td data-label="devices"><div>{deviceWords(w, nodes.get(w.id))}</div></td>
                      <td data-label="engines" class={engines.length ? "" : "empty-cell"}>{engines.length ? <span class="dim">{engines.filter((e) => e.state === "ready").length} of {engines.length} ready</span> : <span class="dim">–</span>}</td>
                      <td data-label="processor" class="right dim">{percent(host?.cpu_pct)}</td>
                      <td data-label="heard of" class="right dim">{w.connected ? "now" : <Ago time={w.seen} now={now} />}</td>
                      <td class={w.connected ? "right" : "empty-cell"}>{w.connected && <a href={address(["workers", w.id, "machine"])}>machine</a>}</td>
                    </tr>
                  );
                })}
              </tbody>
            </table>
          </div>
        )}
      </section>
    </Page>
  );
}
