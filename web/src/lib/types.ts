// types.ts: what the pool's API tells, as far as the page reads it. Members that may be missing are marked; null is "unavailable", never 0.

export type TaskState = "held" | "queued" | "leased" | "backoff" | "done" | "failed" | "dead" | "cancelled" | "expired";
export const TASK_STATES: readonly TaskState[] = ["held", "queued", "leased", "backoff", "done", "failed", "dead", "cancelled", "expired"];
export const PRIORITIES = ["urgent", "high", "normal", "low", "idle"] as const;
export type Priority = (typeof PRIORITIES)[number];

export interface Progress {
  share?: number;
  step?: number;
  steps?: number;
  text?: string;
}

export interface ArtifactRef {
  name?: string;
  sha256: string;
  bytes?: number;
}

export interface Task {
  id: string;
  type: string;
  name?: string | null;
  state: TaskState;
  reason?: string;
  account?: string;
  priority?: Priority;
  created?: string | null;
  queued?: string | null;
  started?: string | null;
  ended?: string | null;
  deadline?: string | null;
  attempt?: number;
  attempts?: number;
  worker?: string;
  progress?: Progress;
  result?: unknown;
  artifacts?: ArtifactRef[] | null;
  error?: Record<string, unknown> | null;
  usage?: Record<string, unknown> | null;
  needs?: Record<string, unknown> | null;
  after?: string[] | null;
  payload?: unknown;
}

export interface List<T> {
  data: T[];
  has_more: boolean;
  next?: string | null;
}

export interface WorkerDevice {
  kind?: string;
  name?: string;
  memory_bytes?: number | null;
}

export interface Worker {
  id: string;
  name: string;
  account?: string;
  state: string;
  connected?: boolean;
  slots: number;
  ready?: number;
  leases?: string[];
  types?: string[];
  devices?: WorkerDevice[];
  models?: unknown[];
  labels?: Record<string, string>;
  load?: Record<string, number | null>;
  host_memory_bytes?: number | null;
  private?: boolean;
  done?: number;
  failed?: number;
  lost?: number;
  address?: string;
  version?: string;
  seen?: string | null;
}

export interface NodeClient {
  pid?: number;
  name?: string;
  job?: string | null;
  state?: string;
  owned_bytes?: number | null;
  resident_bytes?: number | null;
  swapped_bytes?: number | null;
  priority?: string | null;
  position?: number | null; // in the queue, from 1
  wait_ms?: number | null;
}

export interface NodeDevice {
  uuid?: string;
  name?: string;
  kind?: string;
  memory_total_bytes?: number | null;
  memory_room_bytes?: number | null; // what programs may have of it in all
  memory_used_bytes?: number | null;
  memory_foreign_bytes?: number | null; // used by programs outside Berth
  swapped_bytes?: number | null;
  switches?: number | null;
  waiting?: number | null;
  utilization_pct?: number | null;
  power_watts?: number | null;
  temperature_c?: number | null;
  clients?: NodeClient[];
}

export interface NodeReport {
  devices?: NodeDevice[];
  clients_left_out?: number;
  host?: { memory_total_bytes?: number | null; memory_available_bytes?: number | null; cpu_pct?: number | null; cpus?: number | null } | null;
  daemon?: { version?: string; uptime_s?: number | null; arena_bytes?: number | null; arena_lent_bytes?: number | null } | null;
}

type Figure = number | null;

export interface MachineHost {
  cpu_user_pct: Figure;
  cpu_system_pct: Figure;
  cpu_wait_pct: Figure;
  cpu_stolen_pct: Figure;
  cpus: Figure;
  load: Figure;
  memory_total_bytes: Figure;
  memory_available_bytes: Figure;
  swap_total_bytes: Figure;
  swap_free_bytes: Figure;
  network_in_bytes_s: Figure;
  network_out_bytes_s: Figure;
  disk_read_bytes_s: Figure;
  disk_written_bytes_s: Figure;
  pressure_cpu_pct: Figure;
  pressure_memory_pct: Figure;
  pressure_io_pct: Figure;
  temperature_c: Figure;
  oom_kills: Figure;
}

export interface MachineDevice {
  index: Figure;
  name: string | null;
  kind: string | null;
  utilization_pct: Figure;
  memory_busy_pct: Figure;
  power_watts: Figure;
  power_limit_watts: Figure;
  temperature_c: Figure;
  clock_mhz: Figure;
  memory_clock_mhz: Figure;
  held_back: string | null; // "": it is not
  errors: Figure;
  why: string | null; // something of these is missing
}

export interface MachineFile {
  name: string | null;
  deleted: boolean | null;
  opens: Figure;
  reads: Figure;
  writes: Figure;
  read_bytes: Figure;
  written_bytes: Figure;
  read_bytes_s: Figure;
  written_bytes_s: Figure;
}

export interface MachineProcess {
  pid: Figure;
  name: string | null;
  user: string | null;
  state: string | null;
  cpu_pct: Figure;
  memory_bytes: Figure;
  owned_bytes: Figure;
  resident_bytes: Figure;
  peak_bytes: Figure;
  waiting_pct: Figure;
  launches_s: Figure;
  graphs_s: Figure;
  waits_s: Figure;
  copies_in_bytes_s: Figure;
  copies_out_bytes_s: Figure;
  opens_s: Figure;
  reads_s: Figure;
  writes_s: Figure;
  read_bytes_s: Figure;
  written_bytes_s: Figure;
  files_left_out: Figure;
  files: MachineFile[];
}

export interface MachineProbe {
  family: string | null;
  state: string | null;
  rung: string | null;
  share_pct: Figure;
  cost_pct: Figure;
  per_s: Figure;
  p95_us: Figure;
  why: string | null;
}

export interface MachineReport {
  shown: string | null;
  host: MachineHost | null;
  unavailable: { what: string | null; why: string | null }[];
  devices: MachineDevice[];
  probes: MachineProbe[];
  history: { step_s: number; end_s: number; series: { name: string; values: (number | null)[] }[] } | null;
  processes_left_out: Figure;
  processes: MachineProcess[] | null; // null: for who may change workers only
}

export interface Machine {
  connected: boolean;
  span_s: number;
  seen: string | null;
  machine: MachineReport | null;
}

export interface History {
  from_ms: number;
  step_ms: number;
  count: number;
  partial?: boolean;
  series: Record<string, (number | null)[]>;
}

export interface Me {
  account: string;
  name: string;
  role: string;
  rights: string[];
  session?: string;
}

export interface Tokens {
  access: string;
  refresh: string;
  expires: string;
  me: Me;
}

export interface PoolEvent {
  id: string;
  type: string;
  time?: string;
  account?: string;
  task?: string;
  data: unknown;
}

export interface Why {
  state: string;
  text: string;
  position?: number;
  fitting?: number;
  fitting_ready?: number;
  priority_now?: string;
  eta_ms?: number;
  unmet?: { need: string; matched: number; total: number }[];
  slots?: number;
  ready?: number;
  leases?: number;
  queued?: number;
}

export interface Key {
  id: string;
  account: string;
  label: string;
  scopes?: string[] | null;
  limits?: Record<string, number>;
  expires?: string | null;
  used?: string | null;
  created: string;
}

export interface AuditRow {
  id: string;
  time: string;
  account: string;
  data: { verb: string; object: string; outcome: number; address: string; name?: string };
}

export interface Account {
  id: string;
  name: string;
  role: string;
  limits: Record<string, number>;
  weight: number;
  disabled: boolean;
  has_password: boolean;
  created: string;
}

export function ended(state: string): boolean {
  return state === "done" || state === "failed" || state === "dead" || state === "cancelled" || state === "expired";
}
