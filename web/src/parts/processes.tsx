// processes.tsx: the processes of a machine that do most, with what they ask of devices, and their files.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { bytes, decimal, duration, integer, percent, plural } from "../lib/format";
import { inOrder, ORDERS, whyNot, type Order } from "../lib/machine";
import type { MachineProcess, MachineReport } from "../lib/types";
import { Empty, Panel, StateTag } from "./basics";

const TITLES: Record<Order, string> = { device: "Device memory", cpu: "Processor", memory: "Memory", launches: "Launches", files: "Files" };

const SHORT = 10; // rows, until one wants more

function known(value: number | null | undefined): value is number {
  return typeof value === "number";
}

// A rate as short as it can be; what was not counted is "–".
function rate(value: number): string {
  return value >= 10_000 ? `${integer(value / 1000)} k/s` : `${value >= 10 || Number.isInteger(value) ? integer(value) : decimal(value)}/s`;
}

function flow(value: number | null): string {
  return known(value) ? `${bytes(value)}/s` : "–";
}

function any(...values: (number | null)[]): boolean {
  return values.some((v) => known(v) && v > 0);
}

function Calls({ p }: { p: MachineProcess }): JSX.Element {
  if (!known(p.launches_s) && !known(p.graphs_s)) return <span class="dim">–</span>;
  const calls = (p.launches_s ?? 0) + (p.graphs_s ?? 0);
  return (
    <>
      <div>{calls > 0 ? rate(calls) : <span class="dim">none</span>}</div>
      {any(p.copies_in_bytes_s, p.copies_out_bytes_s) && <div class="under nowrap" title="copied to and from the device">↓ {flow(p.copies_in_bytes_s)} ↑ {flow(p.copies_out_bytes_s)}</div>}
      {any(p.waiting_pct) && <div class="under nowrap">waits {percent(p.waiting_pct)} of the time</div>}
    </>
  );
}

function Files({ p }: { p: MachineProcess }): JSX.Element {
  return (
    <ul class="files">
      {p.files.map((f, i) => (
        <li key={i}>
          <bdi class={f.name ? "mono" : "mono dim"} title={f.name ?? undefined}>{f.name ?? "name unknown"}</bdi>
          {f.deleted && <span class="tag">deleted</span>}
          <span class="dim num">
            read {bytes(f.read_bytes)} in {integer(f.reads)}, written {bytes(f.written_bytes)} in {integer(f.writes)}, opened {integer(f.opens)}×
            {any(f.read_bytes_s, f.written_bytes_s) ? `; now ${flow(f.read_bytes_s)} and ${flow(f.written_bytes_s)}` : ""}
          </span>
        </li>
      ))}
      {any(p.files_left_out) && <li class="dim">and {integer(p.files_left_out)} more</li>}
    </ul>
  );
}

function Row({ p, open, toggle }: { p: MachineProcess; open: boolean; toggle: () => void }): JSX.Element {
  const name = p.name || (known(p.pid) ? `pid ${p.pid}` : "unnamed");
  return (
    <>
      <tr data-pid={p.pid}>
        <td class="lead"><span><bdi class="clip main-text">{name}</bdi> <span class="under">{known(p.pid) ? `pid ${p.pid}` : ""}{p.user ? ` · ${p.user}` : ""}</span></span></td>
        <td data-label="processor" class="right">{known(p.cpu_pct) ? `${p.cpu_pct < 10 ? decimal(p.cpu_pct) : integer(p.cpu_pct)} %` : "–"}</td>
        <td data-label="memory" class="right">{known(p.memory_bytes) ? bytes(p.memory_bytes) : "–"}</td>
        <td data-label="device memory" class={known(p.owned_bytes) ? "right" : "right empty-cell"}>
          {known(p.owned_bytes) ? <div><div>{bytes(p.resident_bytes)} <span class="dim">of {bytes(p.owned_bytes)}</span></div><div class="under">at most {bytes(p.peak_bytes)}</div></div> : <span class="dim">–</span>}
        </td>
        <td data-label="state" class={p.state ? "" : "empty-cell"}>{p.state ? <StateTag state={p.state} /> : <span class="dim">–</span>}</td>
        <td data-label="launches" class={any(p.launches_s, p.graphs_s, p.waiting_pct) ? "right" : "right empty-cell"}><div><Calls p={p} /></div></td>
        <td data-label="files" class="right">
          <div>
            {known(p.read_bytes_s) ? <div class="nowrap" title="read and written">{any(p.read_bytes_s, p.written_bytes_s) ? <>↓ {flow(p.read_bytes_s)} ↑ {flow(p.written_bytes_s)}</> : <span class="dim">quiet</span>}</div> : <span class="dim">–</span>}
            {p.files.length > 0 && <button type="button" class="bare small" aria-expanded={open} onClick={toggle}>{open ? "hide files" : plural(p.files.length + (p.files_left_out ?? 0), "file")}</button>}
          </div>
        </td>
      </tr>
      {open && p.files.length > 0 && <tr class="inside"><td colSpan={7}><Files p={p} /></td></tr>}
    </>
  );
}

export function Processes({ report }: { report: MachineReport }): JSX.Element {
  const processes = report.processes;
  const [order, setOrder] = useState<Order>("device");
  const [all, setAll] = useState(false);
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (pid: number) => setOpen((was) => {
    const now = new Set(was);
    if (!now.delete(pid)) now.add(pid);
    return now;
  });
  if (!processes) return <Panel bare title="Processes"><Empty title="Not for this account">Processes and their files are shown to operators and administrators.</Empty></Panel>;
  const why = whyNot(report, "processes");
  const orders = (
    <label class="row pick"><span>by</span>
      <select value={order} onChange={(e) => setOrder(e.currentTarget.value as Order)} aria-label="Order of processes">
        {ORDERS.map((o) => <option key={o} value={o}>{TITLES[o].toLowerCase()}</option>)}
      </select>
    </label>
  );
  return (
    <Panel bare title="Processes" aside={orders}>
      {why ? <Empty title="Unavailable">{why}</Empty> : processes.length === 0 ? <Empty title="Nothing is busy" /> : (
        <div class="table-wrap">
          <table class="cards processes" id="processes">
            <thead><tr><th>Process</th><th class="right">Processor</th><th class="right">Memory</th><th class="right">Device memory</th><th>State</th><th class="right">Launches</th><th class="right">Files</th></tr></thead>
            <tbody>{inOrder(processes, order).slice(0, all ? undefined : SHORT).map((p, i) => <Row key={p.pid ?? -i} p={p} open={open.has(p.pid ?? -1)} toggle={() => toggle(p.pid ?? -1)} />)}</tbody>
          </table>
          {processes.length > SHORT && <div class="empty more"><button type="button" class="bare" aria-expanded={all} aria-controls="processes" onClick={() => setAll(!all)}>{all ? "Show fewer" : `Show all ${processes.length}`}</button></div>}
        </div>
      )}
    </Panel>
  );
}

const FAMILIES: Record<string, string> = { files: "Calls of files", gpu: "Calls of the driver", block: "Requests to disks", sched: "Waits for a processor", syscalls: "System calls" };

export function Probes({ report }: { report: MachineReport }): JSX.Element {
  const why = whyNot(report, "probes"), files = whyNot(report, "files");
  return (
    <Panel bare title="Probes in the kernel">
      {report.probes.length === 0 ? <p class="dim pad">Unavailable{why ? `: ${why}` : ""}.</p> : (
        <div class="table-wrap">
          <table class="cards">
            <thead><tr><th>What is counted</th><th class="right">A second</th><th class="right">95 % took at most</th><th>How</th><th class="right">It costs</th></tr></thead>
            <tbody>
              {report.probes.map((f, i) => (
                <tr key={i}>
                  <td class="lead"><span class="main-text">{FAMILIES[f.family ?? ""] ?? f.family ?? "?"}</span></td>
                  {f.state === "attached" ? (
                    <>
                      <td data-label="a second" class="right">{known(f.per_s) ? integer(f.per_s) : "–"}</td>
                      <td data-label="95 % took at most" class={known(f.p95_us) ? "right" : "right empty-cell"}>{known(f.p95_us) ? duration(f.p95_us / 1000) : <span class="dim">–</span>}</td>
                      <td data-label="how" class="dim">{f.rung}{known(f.share_pct) && f.share_pct < 100 ? `, ${decimal(f.share_pct)} % of them` : ""}</td>
                      <td data-label="it costs" class="right dim">{known(f.cost_pct) ? `${f.cost_pct < 0.01 ? "less than 0.01" : decimal(f.cost_pct, 2)} % of a processor` : "not measured"}</td>
                    </>
                  ) : <td colSpan={4} class="dim">{f.state ?? "unavailable"}{f.why ? `: ${f.why}` : ""}</td>}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {files && report.probes.length > 0 && <p class="dim pad">Names of files: {files}.</p>}
      <p class="dim small pad">They count while somebody looks, and are taken off a minute later, unless the machine’s settings say otherwise.</p>
    </Panel>
  );
}
