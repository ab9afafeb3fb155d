// machine.tsx: one machine as it is now and how it went: devices and who is on them, processors, memory, traffic, what stands still, processes with their files.
// The worker looks only while this page asks, every two seconds.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { get } from "../lib/api";
import { bytes, decimal, integer, percent, plural } from "../lib/format";
import { SPANS } from "../lib/history";
import { useAsked, useNow, usePoll } from "../lib/hooks";
import { loadNode, useLive } from "../lib/live";
import { draw, whyNot, type Line } from "../lib/machine";
import type { Machine, MachineDevice, MachineHost, MachineReport, NodeDevice, Worker } from "../lib/types";
import { Ago, Empty, Page, Panel, Said, StateTag, Tile } from "../parts/basics";
import { Chart, Spans } from "../parts/chart";
import { Device } from "../parts/device";
import { Probes, Processes } from "../parts/processes";
import { WorkerTabs } from "../parts/worker-tabs";

// What was there stays while another span is asked for.
function useMachine(id: string, seconds: number): { value: Machine | null; error: Error | null } {
  const asked = useAsked(`/api/v1/workers/${encodeURIComponent(id)}/machine?since=${seconds}`, (what, signal) => get<Machine>(what, signal));
  const last = useRef<Machine | null>(null);
  if (asked.value && (asked.value.machine || !last.current || !asked.value.connected)) last.current = asked.value;
  // The first look takes a moment; one that is refused is not asked for at that pace.
  usePoll(asked.error ? 5000 : asked.value?.machine ? 2000 : 500, asked.again);
  return { value: last.current, error: asked.error };
}

function sum(...values: (number | null)[]): number | null {
  const known = values.filter((v): v is number => v !== null);
  return known.length ? known.reduce((a, b) => a + b, 0) : null;
}

function Tiles({ report }: { report: MachineReport }): JSX.Element {
  const h: MachineHost | null = report.host;
  const used = h && h.memory_total_bytes !== null && h.memory_available_bytes !== null ? h.memory_total_bytes - h.memory_available_bytes : null;
  const swap = h && h.swap_total_bytes !== null && h.swap_free_bytes !== null ? h.swap_total_bytes - h.swap_free_bytes : null;
  const busy = h ? sum(h.cpu_user_pct, h.cpu_system_pct) : null;
  const network = h ? sum(h.network_in_bytes_s, h.network_out_bytes_s) : null, disk = h ? sum(h.disk_read_bytes_s, h.disk_written_bytes_s) : null;
  // What most stands still for.
  const stalled = h ? ([["processor", h.pressure_cpu_pct], ["memory", h.pressure_memory_pct], ["disk", h.pressure_io_pct]] as const).filter(([, v]) => v !== null) : [];
  const most = stalled.length ? stalled.reduce((a, b) => ((b[1] ?? 0) > (a[1] ?? 0) ? b : a)) : null;
  const why = (what: string) => whyNot(report, what) ?? undefined;
  return (
    <div class="tiles">
      <Tile label="Processors" text={busy === null ? null : percent(busy)} note={h && h.load !== null ? `load ${decimal(h.load, 1)} of ${integer(h.cpus)}` : why("processors")} />
      <Tile label="Memory" text={used === null ? null : bytes(used)} note={h && used !== null ? `of ${bytes(h.memory_total_bytes)}` : why("memory")} />
      <Tile label="Swap" text={swap === null ? null : bytes(swap)} note={h && swap !== null ? (h.swap_total_bytes ? `of ${bytes(h.swap_total_bytes)}` : "there is none") : why("memory")} />
      <Tile label="Network" text={network === null ? null : `${bytes(network)}/s`} note={h && network !== null ? "in and out" : why("network")} />
      <Tile label="Disks" text={disk === null ? null : `${bytes(disk)}/s`} note={h && disk !== null ? "read and written" : why("disk")} />
      <Tile label="Stalled" text={most ? percent(most[1]) : null} note={most ? ((most[1] ?? 0) > 0 ? `for ${most[0]}` : "last 10 s") : why("pressure")} />
      <Tile label="Temperature" text={h?.temperature_c == null ? null : `${integer(h.temperature_c)} °C`} note={h?.temperature_c == null ? why("temperature") : "processor"} />
    </div>
  );
}

interface PlotProps {
  report: MachineReport;
  title: string;
  kind: "permille" | "bytes" | "bytes/s" | "plain";
  unit?: string;
  lines: Line[];
  span: number;
  top?: number;
  why?: string | null;
}

function Plot({ report, title, kind, unit = "", lines, span, top, why }: PlotProps): JSX.Element {
  const drawn = useMemo(() => draw(report, kind, unit, lines), [report]);
  return (
    <div class="plot">
      <h3>{title}</h3>
      {drawn ? <Chart times={drawn.times} series={drawn.lines} unit={drawn.unit} span={span} height={112} top={top} /> : <div class="none">unavailable{why ? `: ${why}` : ""}</div>}
    </div>
  );
}

// What is measured beside how busy it is, and in one line what is not, and why.
function Sensors({ device: d }: { device: MachineDevice }): JSX.Element {
  const all: [string, ComponentChildren | null][] = [
    ["Memory busy", d.memory_busy_pct === null ? null : percent(d.memory_busy_pct)],
    ["Power", d.power_watts === null ? null : <>{integer(d.power_watts)} W{d.power_limit_watts !== null && <span class="dim"> of {integer(d.power_limit_watts)} W</span>}</>],
    ["Temperature", d.temperature_c === null ? null : `${integer(d.temperature_c)} °C`],
    ["Clocks", d.clock_mhz === null ? null : <>{integer(d.clock_mhz)} MHz{d.memory_clock_mhz !== null && <span class="dim">, memory {integer(d.memory_clock_mhz)} MHz</span>}</>],
    ["Held back", d.held_back === null ? null : d.held_back || "no"],
  ];
  const missing = [...(d.utilization_pct === null ? ["busy"] : []), ...all.filter(([, value]) => value === null).map(([name]) => name.toLowerCase())];
  return (
    <>
      <ul class="sensors">{all.filter(([, value]) => value !== null).map(([name, value]) => <li key={name}><span>{name}</span> <b class="num">{value}</b></li>)}</ul>
      {missing.length > 0 && <p class="dim small">Unavailable: {missing.join(", ")}{d.why ? ` (${d.why})` : ""}.</p>}
    </>
  );
}

function DevicePart({ report, node, device, span }: { report: MachineReport; node: NodeDevice | undefined; device: MachineDevice; span: number }): JSX.Element {
  const at = `device.${device.index ?? 0}`;
  const has = (what: string) => report.history?.series.some((s) => s.name === `${at}.${what}`);
  const plots = [
    has("memory") && <Plot key="m" report={report} title="Memory in use" kind="bytes" lines={[{ name: `${at}.memory`, label: "used", colour: "--d0" }]} span={span} />,
    has("use") && <Plot key="u" report={report} title="Busy" kind="permille" unit="%" top={100} lines={[{ name: `${at}.use`, label: "busy", colour: "--d2" }]} span={span} />,
    has("power") && <Plot key="p" report={report} title="Power" kind="plain" unit="W" lines={[{ name: `${at}.power`, label: "drawn", colour: "--d1" }]} span={span} />,
    has("temperature") && <Plot key="t" report={report} title="Temperature" kind="plain" unit="°C" lines={[{ name: `${at}.temperature`, label: "device", colour: "--d4" }]} span={span} />,
  ].filter(Boolean);
  return (
    <div class="device-part">
      <Device device={{ ...(node ?? { name: device.name ?? undefined, kind: device.kind ?? undefined }), utilization_pct: device.utilization_pct, power_watts: null, temperature_c: null }} />
      <Sensors device={device} />
      {(device.errors ?? 0) > 0 && <p class="said">Its driver told of {plural(device.errors ?? 0, "error")}.</p>}
      {plots.length > 0 && <div class="plots">{plots}</div>}
    </div>
  );
}

const PROCESSORS: Line[] = [{ name: "cpu.busy", label: "busy", colour: "--d0" }];
const MEMORY: Line[] = [{ name: "memory.used", label: "memory", colour: "--d2" }, { name: "swap.used", label: "swap", colour: "--d4" }];
const NETWORK: Line[] = [{ name: "network.in", label: "in", colour: "--d0" }, { name: "network.out", label: "out", colour: "--d1" }];
const DISKS: Line[] = [{ name: "disk.read", label: "read", colour: "--d0" }, { name: "disk.written", label: "written", colour: "--d1" }];
const STALLED: Line[] = [{ name: "pressure.cpu", label: "processor", colour: "--d0" }, { name: "pressure.memory", label: "memory", colour: "--d4" }, { name: "pressure.io", label: "disk", colour: "--d1" }];

function Shown({ report, nodes, span }: { report: MachineReport; nodes: NodeDevice[]; span: number }): JSX.Element {
  // The processors are no device to share: the rest of the page is about them.
  const shared = report.devices.map((device, i) => ({ device, node: nodes[i]?.name === device.name ? nodes[i] : nodes.find((n) => n.name === device.name) })).filter(({ device }) => device.kind !== "cpu");
  const told = nodes.filter((n) => n.kind !== "cpu");
  const why = whyNot(report, "devices");
  return (
    <div class="stack">
      <Tiles report={report} />
      <Panel bare title="Devices" aside={shared.length ? plural(shared.length, "device") : undefined}>
        {shared.length === 0 && (told.length ? told.map((d, i) => <div class="device-part" key={i}><Device device={d} /></div>) : <Empty title="No device to share">{why ?? "Tasks run on its processors."}</Empty>)}
        {shared.length === 0 && told.length > 0 && why && <p class="dim small pad">Sensors are unavailable: {why}.</p>}
        {shared.map(({ device, node }, i) => <DevicePart key={device.index ?? i} report={report} node={node} device={device} span={span} />)}
      </Panel>
      <Panel title="How it went">
        <div class="plots five">
          <Plot report={report} title="Processors" kind="permille" unit="%" top={100} lines={PROCESSORS} span={span} why={whyNot(report, "processors")} />
          <Plot report={report} title="Memory" kind="bytes" lines={MEMORY} span={span} why={whyNot(report, "memory")} />
          <Plot report={report} title="Stalled, share of the time" kind="permille" unit="%" lines={STALLED} span={span} why={whyNot(report, "pressure")} />
          <Plot report={report} title="Network" kind="bytes/s" lines={NETWORK} span={span} why={whyNot(report, "network")} />
          <Plot report={report} title="Disks" kind="bytes/s" lines={DISKS} span={span} why={whyNot(report, "disk")} />
        </div>
      </Panel>
      <Processes report={report} />
      <Probes report={report} />
    </div>
  );
}

export function MachinePage({ id }: { id: string }): JSX.Element {
  const now = useNow();
  const [seconds, setSeconds] = useState<number>(SPANS[0].seconds);
  const worker = useAsked(`/api/v1/workers/${encodeURIComponent(id)}`, (what, signal) => get<Worker>(what, signal));
  const live = useLive((s) => s.workers.get(id)), node = useLive((s) => s.nodes.get(id));
  const { value, error } = useMachine(id, seconds);
  useEffect(() => {
    if (!node) void loadNode(id);
  }, [id]);
  const name = live?.name ?? worker.value?.name, state = live?.state ?? worker.value?.state;
  const report = value?.machine ?? null;
  return (
    <Page
      title={name ?? "Machine"}
      back={{ href: "#/workers", text: "Workers" }}
      sub={<span class="row">{state && <StateTag state={state} />}{value?.seen && <span class="dim">as of <Ago time={value.seen} now={now} /></span>}</span>}
      actions={<><WorkerTabs id={id} at="machine" /><Spans seconds={seconds} set={setSeconds} /></>}
    >
      {report && !value?.connected && <div class="banner" role="status">It is not connected; this is what it did before.</div>}
      {!report && <Said error={error ?? worker.error} />}
      {report ? <Shown report={report} nodes={node?.devices ?? []} span={seconds} />
        : value && !value.connected ? <Empty title="It is not connected">What it does is seen while it is.</Empty>
        : !error && !worker.error && <Empty title="The machine looks at itself…" />}
    </Page>
  );
}
