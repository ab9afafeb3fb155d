// worker.tsx: one machine: its devices and who is on them, its engines and tasks; draining it; why it is idle.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, get, patchWithMatch } from "../lib/api";
import { clientKey, clientName } from "../lib/devices";
import { bytes, clock, decimal, duration, integer, percent } from "../lib/format";
import { useAsked, useNow, usePoll } from "../lib/hooks";
import { change, loadNode, may, useLive } from "../lib/live";
import { enginesByWorker, shownState } from "../lib/models";
import { address } from "../lib/route";
import { runningOn, withoutWorker, withWorker } from "../lib/store";
import type { NodeDevice, Why, Worker } from "../lib/types";
import { Ago, Confirm, Empty, Fact, Page, Panel, Said, Share, StateTag, TaskLink, toast } from "../parts/basics";
import { Device } from "../parts/device";
import { WorkerTabs } from "../parts/worker-tabs";
import { useModels } from "./models";

function Clients({ devices }: { devices: NodeDevice[] }): JSX.Element | null {
  const rows = devices.flatMap((d) => (d.clients ?? []).map((c) => ({ device: d, client: c })));
  if (!rows.length) return null;
  const several = devices.filter((d) => d.clients?.length).length > 1;
  return (
    <Panel bare title="Programs on its devices" aside={String(rows.length)}>
      <div class="table-wrap">
        <table class="cards">
          <thead><tr><th>Program</th><th>State</th><th>Class</th><th class="right">Owns</th><th class="right">Resident</th><th class="right">Swapped out</th><th class="right">Waits</th></tr></thead>
          <tbody>
            {rows.map(({ device, client: c }, i) => (
              <tr key={clientKey(c) + i}>
                <td class="lead"><span class="clip main-text">{clientName(c)}</span> <span class="under">{c.pid ? `pid ${c.pid}` : ""}{c.job ? ` · job ${c.job}` : ""}{several ? ` · ${device.name}` : ""}</span></td>
                <td data-label="state">{c.state ? <StateTag state={c.state} /> : "unavailable"}</td>
                <td data-label="class" class="dim">{c.priority ?? "–"}</td>
                <td data-label="owns" class="right">{bytes(c.owned_bytes)}</td>
                <td data-label="resident" class="right">{bytes(c.resident_bytes)}</td>
                <td data-label="swapped out" class="right">{bytes(c.swapped_bytes)}</td>
                <td data-label="waits" class="right dim">{c.position ? `${c.position}. for ${duration(c.wait_ms)}` : "–"}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

function Engines({ worker }: { worker: Worker }): JSX.Element | null {
  const { models } = useModels();
  const engines = enginesByWorker(models ?? []).get(worker.id) ?? [];
  if (!engines.length) return null;
  return (
    <Panel bare title="Engines" aside={<a href="#/models">models</a>}>
      <div class="table-wrap">
        <table class="cards">
          <thead><tr><th>Model</th><th>State</th><th class="right">Memory</th><th class="right">At once</th><th class="right">Context</th></tr></thead>
          <tbody>
            {engines.map((e) => (
              <tr key={e.model}>
                <td class="lead"><span class="clip main-text">{e.model}</span> <span class="under">{e.text || e.kind}</span></td>
                <td data-label="state"><StateTag state={shownState(e)} /></td>
                <td data-label="memory" class="right">{e.memory_bytes === 0 ? <span class="dim">none of a device</span> : bytes(e.memory_bytes)}</td>
                <td data-label="at once" class="right">{integer(e.parallel)}</td>
                <td data-label="context" class="right">{integer(e.context)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </Panel>
  );
}

export function WorkerPage({ id }: { id: string }): JSX.Element {
  const now = useNow();
  const asked = useAsked(`/api/v1/workers/${encodeURIComponent(id)}`, (what, signal) => get<Worker>(what, signal));
  const live = useLive((s) => s.workers.get(id)), node = useLive((s) => s.nodes.get(id)), state = useLive((s) => s);
  const why = useAsked(`/api/v1/workers/${encodeURIComponent(id)}/why`, (what, signal) => get<Why>(what, signal));
  usePoll(5000, why.again);
  const [confirm, setConfirm] = useState<"drain" | "remove" | null>(null);
  const [error, setError] = useState<unknown>(null);
  useEffect(() => {
    if (!node) void loadNode(id);
  }, [id]);
  useEffect(() => {
    if (live) why.again();
  }, [live?.state]);
  const worker: Worker | null = live || asked.value ? ({ ...asked.value, ...live } as Worker) : null;
  const back = { href: "#/workers", text: "Workers" };
  if (!worker) return <Page title="Worker" back={back}>{asked.error ? <Said error={asked.error} /> : <Empty title="Looking…" />}</Page>;
  const set = async (wanted: "draining" | "active") => {
    const after = await patchWithMatch<Worker>(`/api/v1/workers/${encodeURIComponent(id)}`, { state: wanted });
    change((s) => withWorker(s, after));
    asked.again();
    why.again();
    toast(wanted === "draining" ? `${worker.name} takes no new tasks.` : `${worker.name} takes tasks again.`);
  };
  const draining = worker.state === "draining" || worker.state === "drained";
  const running = runningOn(state, id).reverse();
  const devices = node?.devices ?? [];
  const host = node?.host;
  return (
    <Page
      title={worker.name}
      back={back}
      sub={<span class="row"><StateTag state={worker.state} /> <code class="dim">{id}</code></span>}
      actions={(
        <>
          <WorkerTabs id={id} at="worker" />
          {may("worker.change") && (draining ? <button type="button" class="first" onClick={() => set("active").then(() => setError(null), setError)}>Let it work again</button> : worker.connected && <button type="button" onClick={() => setConfirm("drain")}>Drain</button>)}
          {may("worker.change") && <button type="button" class="danger" onClick={() => setConfirm("remove")}>Forget it</button>}
        </>
      )}
    >
      {confirm === "drain" && <Confirm title={`Drain ${worker.name}?`} verb="Drain" text="It finishes what it has and is given nothing new, until you let it work again." act={() => set("draining")} close={() => setConfirm(null)} />}
      {confirm === "remove" && (
        <Confirm title={`Forget ${worker.name}?`} verb="Forget it" danger text="What it runs is handed to others. It comes back as a new worker when it connects again." close={() => setConfirm(null)}
          act={async () => {
            await ask("DELETE", `/api/v1/workers/${encodeURIComponent(id)}`);
            change((s) => withoutWorker(s, id));
            location.hash = "#/workers";
          }} />
      )}
      <div class="split wide-left">
        <div class="stack">
          <Said error={error} />
          <Panel bare title="Devices" aside={node ? <span>live</span> : <span>no report</span>}>
            {devices.length ? devices.map((d, i) => <Device key={d.uuid ?? i} device={d} />)
              : (worker.devices ?? []).filter((d) => d.kind !== "cpu").length ? (worker.devices ?? []).filter((d) => d.kind !== "cpu").map((d, i) => <Device key={i} device={{ name: d.name, kind: d.kind, memory_total_bytes: d.memory_bytes ?? null }} />)
              : <Empty title="No device to share">Tasks run on its processors.</Empty>}
            {(node?.clients_left_out ?? 0) > 0 && <div class="empty">{integer(node?.clients_left_out)} programs more are not listed.</div>}
          </Panel>
          <Clients devices={devices} />
          <Engines worker={worker} />
          <Panel bare title="Tasks it runs" aside={`${running.length} of ${worker.slots}`}>
            {running.length === 0 ? <Empty title="None" /> : (
              <div class="table-wrap"><table class="cards"><tbody>
                {running.slice(0, 50).map((t) => (
                  <tr key={t.id}>
                    <td class="lead"><span class="clip"><TaskLink id={t.id} name={t.name} /></span> <span class="under">{t.type}</span></td>
                    <td data-label="progress"><Share share={t.progress?.share} text={t.progress?.text} /></td>
                    <td data-label="started" class="right dim"><Ago time={t.started} now={now} /></td>
                  </tr>
                ))}
              </tbody></table></div>
            )}
          </Panel>
        </div>
        <div class="stack">
          <Panel title={running.length >= worker.slots ? "What it does" : "Why it is not busy"}>
            {why.value ? <p>{why.value.text[0]?.toUpperCase() + why.value.text.slice(1)}.</p> : <p class="dim">{why.error ? why.error.message : "…"}</p>}
            {why.value && <p class="dim">{integer(why.value.queued)} queued, of which {integer(why.value.fitting)} fit this worker.</p>}
          </Panel>
          <Panel title="Machine" aside={worker.connected && <a href={address(["workers", id, "machine"])}>in full</a>}>
            <dl class="facts">
              <Fact name="Processors">{typeof host?.cpus === "number" ? integer(host.cpus) : (worker.devices?.find((d) => d.kind === "cpu")?.name ?? "unavailable")}</Fact>
              <Fact name="Busy">{percent(host?.cpu_pct)}</Fact>
              {typeof worker.load?.load === "number" && <Fact name="Load">{decimal(worker.load.load, 2)}</Fact>}
              <Fact name="Memory">{bytes(host?.memory_total_bytes ?? worker.host_memory_bytes)}</Fact>
              <Fact name="Available">{bytes(host?.memory_available_bytes ?? worker.load?.memory_free_bytes)}</Fact>
              {node?.daemon && <Fact name="Swap arena">{bytes(node.daemon.arena_lent_bytes)} of {bytes(node.daemon.arena_bytes)}</Fact>}
              <Fact name="Node daemon">{node ? (node.daemon ? `${node.daemon.version ?? "runs"}${typeof node.daemon.uptime_s === "number" ? `, up ${duration(node.daemon.uptime_s * 1000)}` : ""}` : "does not answer") : "unavailable"}</Fact>
            </dl>
          </Panel>
          <Panel title="Worker">
            <dl class="facts">
              <Fact name="Slots">{integer(worker.slots)}</Fact>
              <Fact name="Done">{integer(worker.done)}</Fact>
              <Fact name="Failed">{integer(worker.failed)}</Fact>
              <Fact name="Lost">{integer(worker.lost)}</Fact>
              <Fact name="Heard of">{worker.connected ? "now" : worker.seen ? clock(worker.seen, now) : "unavailable"}</Fact>
              <Fact name="Address">{worker.address || "unavailable"}</Fact>
              <Fact name="Version">{worker.version || "unavailable"}</Fact>
              {worker.private && <Fact name="Pool">private</Fact>}
            </dl>
          </Panel>
          <Panel title="Can do">
            <div class="row">{(worker.types ?? []).map((t) => <a class="tag" key={t} href={address(["tasks"], { type: t })}>{t}</a>)}</div>
            {worker.labels && Object.keys(worker.labels).length > 0 && <div class="row labels">{Object.entries(worker.labels).map(([k, v]) => <span class="tag" key={k}>{k}={String(v)}</span>)}</div>}
          </Panel>
        </div>
      </div>
    </Page>
  );
}
