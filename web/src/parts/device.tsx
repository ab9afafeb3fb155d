// device.tsx: one device: its memory as a bar with who is in it, and what is swapped out, hatched, below.
import type { JSX } from "preact";
import { barOf, clientKey, clientName, coloursOf, type Part } from "../lib/devices";
import { bytes, decimal, percent } from "../lib/format";
import type { NodeDevice } from "../lib/types";

function colour(n: number): JSX.CSSProperties {
  return { "--c": `var(--d${n})` } as JSX.CSSProperties;
}

function describe(device: NodeDevice, resident: Part[], used: number | null): string {
  const who = resident.map((p) => `${p.name} ${bytes(p.bytes)}`).join(", ") || "no program";
  return `${device.name ?? "device"}: ${bytes(used)} of ${bytes(device.memory_total_bytes)} used; resident: ${who}; swapped out ${bytes(device.swapped_bytes)}`;
}

export function Device({ device, compact = false }: { device: NodeDevice; compact?: boolean }): JSX.Element {
  const bar = barOf(device), clients = device.clients ?? [], colours = coloursOf(clients);
  const most = compact ? 8 : 40;
  return (
    <div class="device" data-device={device.name}>
      <div class="device-head">
        <b>{device.name || device.uuid || "device"}</b>
        {device.kind && <span class="tag">{device.kind}</span>}
        <span class="figures">
          {bar.total === null && bar.used === null ? <span>memory unavailable</span> : bar.used === null ? <span><b>{bytes(bar.total)}</b>, use unavailable</span> : <span><b>{bytes(bar.used)}</b> of {bytes(bar.total)}</span>}
          {typeof device.utilization_pct === "number" ? <span>busy <b>{percent(device.utilization_pct)}</b></span> : <span>busy: unavailable</span>}
          {typeof device.power_watts === "number" && <span><b>{decimal(device.power_watts, 0)}</b> W</span>}
          {typeof device.temperature_c === "number" && <span><b>{decimal(device.temperature_c, 0)}</b> °C</span>}
          {typeof device.waiting === "number" && device.waiting > 0 && <span><b>{device.waiting}</b> waiting</span>}
        </span>
      </div>
      <div class={`memory ${bar.total === null || bar.used === null ? "unknown" : ""}`} role="img" aria-label={describe(device, bar.resident, bar.used)}>
        {bar.resident.map((p) => (
          <i key={p.key} class={`${p.moving ? "moving " : ""}${p.share < 0.09 ? "slim" : ""}`} style={{ ...colour(p.colour), width: `${p.share * 100}%` }} title={`${p.name}: ${bytes(p.bytes)} resident`}>
            {p.share >= 0.09 ? p.name : ""}
          </i>
        ))}
        {bar.foreign !== null && bar.foreign > 0.002 && <i class="foreign slim" style={{ width: `${bar.foreign * 100}%` }} title={`others: ${bytes(device.memory_foreign_bytes ?? bar.foreign * (bar.total ?? 0))}`} />}
      </div>
      {bar.swapped.length > 0 && (
        <div class="swapped-row">
          <span class="nowrap">swapped out {bytes(bar.swappedBytes)}</span>
          <div class="swapped" aria-hidden="true">
            {bar.swapped.map((p) => <i key={p.key} style={{ ...colour(p.colour), width: `${p.share * 100}%` }} title={`${p.name}: ${bytes(p.bytes)} swapped out`} />)}
          </div>
        </div>
      )}
      {clients.length > 0 && (
        <ul class="residents">
          {clients.slice(0, most).map((c) => {
            const out = (c.resident_bytes ?? 0) === 0 && (c.swapped_bytes ?? 0) > 0;
            return (
              <li key={clientKey(c)} style={colour(colours.get(clientKey(c)) ?? 0)}>
                <span class={`swatch ${out ? "out" : ""}`} />
                <span class="name" title={clientName(c)}>{clientName(c)}</span>
                <span class="dim">{out ? `${bytes(c.swapped_bytes)} out` : bytes(c.resident_bytes)}{!out && (c.swapped_bytes ?? 0) > 0 ? `, ${bytes(c.swapped_bytes)} out` : ""}</span>
              </li>
            );
          })}
          {clients.length > most && <li class="dim">and {clients.length - most} more</li>}
        </ul>
      )}
    </div>
  );
}
