// devices.ts: a device's memory as parts of a bar. Pure.
import type { NodeClient, NodeDevice } from "./types";

export interface Part {
  key: string;
  name: string;
  colour: number; // of eight
  bytes: number;
  share: number; // of the bar, 0 … 1
  moving: boolean;
}

export interface Bar {
  total: number | null; // null: unavailable
  used: number | null;
  resident: Part[];
  foreign: number | null; // share of what programs outside have
  swapped: Part[];
  swappedBytes: number | null;
}

export const COLOURS = 8;

function known(value: number | null | undefined): value is number {
  return typeof value === "number" && Number.isFinite(value) && value >= 0;
}

export function clientKey(client: NodeClient): string {
  return `${client.pid ?? ""}/${client.name ?? ""}`;
}

export function clientName(client: NodeClient): string {
  return client.name || (client.pid ? `pid ${client.pid}` : "unnamed");
}

// A colour that stays with a program while it lives: by pid, so that none changes when another comes or goes.
export function colourOf(client: NodeClient): number {
  let sum = 0;
  for (const c of clientKey(client)) sum = (sum * 31 + (c.codePointAt(0) ?? 0)) >>> 0;
  return sum % COLOURS;
}

// Colours by program, different ones for neighbours as far as there are enough.
export function coloursOf(clients: readonly NodeClient[]): Map<string, number> {
  const colours = new Map<string, number>(), taken = new Set<number>();
  for (const client of [...clients].sort((a, b) => (a.pid ?? 0) - (b.pid ?? 0))) {
    let colour = colourOf(client);
    for (let i = 0; i < COLOURS && taken.has(colour) && taken.size < COLOURS; i++) colour = (colour + 1) % COLOURS;
    taken.add(colour);
    colours.set(clientKey(client), colour);
  }
  return colours;
}

export function barOf(device: NodeDevice): Bar {
  const clients = device.clients ?? [], colours = coloursOf(clients);
  const total = known(device.memory_total_bytes) && device.memory_total_bytes > 0 ? device.memory_total_bytes : null;
  const part = (client: NodeClient, bytes: number, of: number): Part => ({
    key: clientKey(client), name: clientName(client), colour: colours.get(clientKey(client)) ?? 0, bytes, share: of > 0 ? Math.min(1, bytes / of) : 0,
    moving: client.state === "coming-in" || client.state === "going-out",
  });
  const resident = total === null ? [] : clients.filter((c) => known(c.resident_bytes) && c.resident_bytes > 0).map((c) => part(c, c.resident_bytes as number, total));
  const out = clients.filter((c) => known(c.swapped_bytes) && c.swapped_bytes > 0);
  const outBytes = out.reduce((sum, c) => sum + (c.swapped_bytes as number), 0);
  const foreign = total !== null && known(device.memory_foreign_bytes) ? Math.min(1, device.memory_foreign_bytes / total) : null;
  const sum = resident.reduce((n, p) => n + p.bytes, 0);
  return {
    total,
    used: known(device.memory_used_bytes) ? device.memory_used_bytes : clients.length && total !== null ? sum : null,
    resident,
    // What is used and nobody of ours has is others', where it is not told apart.
    foreign: foreign ?? (total !== null && known(device.memory_used_bytes) && device.memory_used_bytes > sum ? Math.min(1 - Math.min(1, sum / total), (device.memory_used_bytes - sum) / total) : null),
    // On the scale of the device, or of itself where it is more than the device.
    swapped: out.map((c) => part(c, c.swapped_bytes as number, Math.max(total ?? 0, outBytes))),
    swappedBytes: known(device.swapped_bytes) ? device.swapped_bytes : clients.length ? outBytes : null,
  };
}
