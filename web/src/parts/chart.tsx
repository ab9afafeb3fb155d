// chart.tsx: history drawn by uPlot in the page's colours. null values leave a gap: unknown is not zero.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { SPANS } from "../lib/history";
import { onTheme } from "../lib/theme";

export interface Series {
  label: string;
  colour: string; // name of a token, like "--d0"
  values: (number | null)[];
}

function token(name: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

function figure(value: number | null | undefined): string {
  if (typeof value !== "number") return "–";
  return (value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2)).replace(/\.0+$|(\.\d*[1-9])0+$/, "$1");
}

export function Spans({ seconds, set }: { seconds: number; set: (seconds: number) => void }): JSX.Element {
  return (
    <div class="segments" role="group" aria-label="Time shown">
      {SPANS.map((s) => <button type="button" key={s.seconds} aria-pressed={s.seconds === seconds} onClick={() => set(s.seconds)}>{s.text}</button>)}
    </div>
  );
}

// span: so many seconds up to the last point are shown, known or not. top: the upper edge, else what the values need.
export function Chart({ times, series, unit, span, height = 150, top }: { times: number[]; series: Series[]; unit: string; span: number; height?: number; top?: number }): JSX.Element {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const [theme, setTheme] = useState(0);
  const [at, setAt] = useState<number | null>(null);
  useEffect(() => onTheme(() => setTheme((n) => n + 1)), []);
  const shape = series.map((s) => s.label + s.colour).join("|");
  useEffect(() => {
    const holder = place.current;
    if (!holder) return;
    const line = token("--line"), text = token("--text-3");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { show: false }, font: "11px system-ui, sans-serif", gap: 6 };
    const p = new uPlot(
      {
        width: holder.clientWidth || 300,
        height,
        padding: [6, 18, 0, 0],
        legend: { show: false },
        cursor: { y: false, points: { size: 6 }, drag: { x: false, y: false } },
        scales: { x: { time: true, range: (_u, min, max) => [Math.min(min, max - span), max] }, y: { range: (_u, _min, max) => [0, top ?? (max > 0 ? max * 1.12 : 1)] } },
        axes: [{ ...axis, grid: { show: false }, space: 70, size: 24, values: (_u, splits) => splits.map((t) => clockOf(t, span)) }, { ...axis, size: 42, space: 34, values: (_u, splits) => splits.map(figure) }],
        series: [{}, ...series.map((s) => ({ label: s.label, stroke: token(s.colour), width: 1.6, fill: token(s.colour) + "1f", spanGaps: false, points: { show: false } }))],
        hooks: { setCursor: [(u) => setAt(u.cursor.idx ?? null)] },
      },
      [times, ...series.map((s) => s.values)],
      holder,
    );
    plot.current = p;
    const watch = new ResizeObserver(() => p.setSize({ width: holder.clientWidth, height }));
    watch.observe(holder);
    return () => {
      watch.disconnect();
      p.destroy();
      plot.current = null;
    };
  }, [theme, shape, height, span, top]);
  useEffect(() => plot.current?.setData([times, ...series.map((s) => s.values)]), [times, series]);
  const shown = at ?? times.length - 1;
  const anything = series.some((s) => s.values.some((v) => v !== null));
  return (
    <div class="chart">
      <div class="legend">
        {series.map((s) => (
          <span key={s.label} style={{ "--c": `var(${s.colour})` } as JSX.CSSProperties}><i />{s.label} <b class="num">{figure(s.values[shown])}</b></span>
        ))}
        <span class="dim">{unit}{at !== null && times[at] ? `, ${clockOf(times[at], 0)}` : ""}</span>
      </div>
      <div ref={place} />
      {!anything && <div class="nothing">nothing known for this time</div>}
    </div>
  );
}

const DAYS = ["Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"];

// As exact as the span asks for; 0: to the second.
function clockOf(seconds: number, span: number): string {
  const d = new Date(seconds * 1000), two = (n: number) => String(n).padStart(2, "0");
  if (span > 2 * 86_400) return `${DAYS[d.getDay()]} ${d.getDate()}.`;
  return `${two(d.getHours())}:${two(d.getMinutes())}${span === 0 || d.getSeconds() ? `:${two(d.getSeconds())}` : ""}`;
}
