// basics.tsx: the small parts that every page uses.
import type { ComponentChildren, JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { ago, clock, integer, shortId, UNAVAILABLE } from "../lib/format";
import { Problem } from "../lib/problem";
import { address } from "../lib/route";

let opened = false;

export function Page(props: { title: string; heading?: ComponentChildren; sub?: ComponentChildren; back?: { href: string; text: string }; actions?: ComponentChildren; children: ComponentChildren }): JSX.Element {
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${props.title} · Berth`;
  }, [props.title]);
  // A new page is announced: its heading gets the focus, unless somebody is in a field of it already. Not the first one: there the browser begins at the top.
  useEffect(() => {
    const first = !opened;
    opened = true;
    if (!first && (document.activeElement === document.body || document.activeElement?.closest("nav"))) heading.current?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, []);
  return (
    <>
      <div class="head">
        <div class="grow">
          {props.back && <div class="crumb"><a href={props.back.href}>← {props.back.text}</a></div>}
          <h1 tabIndex={-1} ref={heading}>{props.heading ?? props.title}</h1>
          {props.sub && <div class="sub">{props.sub}</div>}
        </div>
        {props.actions && <div class="actions">{props.actions}</div>}
      </div>
      {props.children}
    </>
  );
}

export function Panel(props: { title?: ComponentChildren; aside?: ComponentChildren; bare?: boolean; class?: string; children: ComponentChildren }): JSX.Element {
  return (
    <section class={`panel ${props.class ?? ""}`}>
      {props.title && <header><h2>{props.title}</h2>{props.aside && <div class="aside">{props.aside}</div>}</header>}
      {props.bare ? props.children : <div class="body">{props.children}</div>}
    </section>
  );
}

const KINDS: Record<string, string> = {
  done: "good", active: "good", ready: "good", resident: "good",
  leased: "info busy", running: "info busy", starting: "info busy", "coming-in": "info busy",
  queued: "warn", backoff: "warn", draining: "warn", suspect: "warn", waiting: "warn", stopping: "warn", "giving-way": "warn", "going-out": "warn", swapped: "warn",
  failed: "bad", dead: "bad", lost: "bad", expired: "bad", stuck: "bad",
};
const WORDS: Record<string, string> = { leased: "running", dead: "dead letter", backoff: "retrying", swapped: "swapped out" };

export function StateTag({ state, text }: { state: string; text?: string }): JSX.Element {
  return <span class={`state ${KINDS[state] ?? ""}`}>{text ?? WORDS[state] ?? state}</span>;
}

export function stateWord(state: string): string {
  return WORDS[state] ?? state;
}

export function Ago({ time, now, none = "–" }: { time: string | null | undefined; now: number; none?: string }): JSX.Element {
  if (!time) return <span class="dim">{none}</span>;
  return <time class="nowrap" dateTime={time} title={clock(time, 0)}>{ago(time, now)}</time>;
}

export function TaskLink({ id, name }: { id: string; name?: string | null }): JSX.Element {
  return <a href={address(["tasks", id])} class={name ? "main-text" : "mono"} title={id}>{name || shortId(id)}</a>;
}

export function WorkerLink({ id, name }: { id: string | undefined; name?: string }): JSX.Element {
  if (!id) return <span class="dim">–</span>;
  return <a href={address(["workers", id])} title={id}>{name || shortId(id)}</a>;
}

export function Said({ error }: { error: unknown }): JSX.Element | null {
  if (!error) return null;
  const problem = error instanceof Problem ? error : null;
  return (
    <div class="said" role="alert">
      <b>{error instanceof Error ? error.message : String(error)}</b>
      {problem && problem.violations.length > 0 && <ul>{problem.violations.slice(0, 20).map((v) => <li key={v.path + v.text}>{v.path && <code>{v.path}</code>} {v.text}</li>)}</ul>}
      {problem && problem.unmet.length > 0 && <ul>{problem.unmet.slice(0, 20).map((u) => <li key={u.need}><code>{u.need}</code>: {u.matched} of {u.total} workers</li>)}</ul>}
      {problem && problem.status > 0 && (
        <div class="small">
          {problem.code}{problem.retryAfter ? `, try again in ${problem.retryAfter} s` : ""}{problem.requestId ? `, request ${problem.requestId}` : ""}
        </div>
      )}
    </div>
  );
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }): JSX.Element {
  return <div class="empty"><b>{title}</b>{children}</div>;
}

export function Share({ share, text }: { share: number | null | undefined; text?: string }): JSX.Element {
  if (typeof share !== "number") return <span class="dim">{text || "–"}</span>;
  const percent = Math.round(Math.min(1, Math.max(0, share)) * 100);
  return (
    <div class="progress" title={text}>
      <div class="meter" role="progressbar" aria-valuemin={0} aria-valuemax={100} aria-valuenow={percent} aria-label={text || "progress"}><i style={{ width: `${percent}%` }} /></div>
      <span class="num">{percent} %</span>
    </div>
  );
}

export function Tile({ label, value, text, note, href }: { label: string; value?: number | null; text?: string | null; note?: ComponentChildren; href?: string }): JSX.Element {
  const shown = text ?? (typeof value === "number" ? (value > 0 && value < 10 && !Number.isInteger(value) ? value.toFixed(1) : integer(value)) : null);
  const inner = (
    <>
      <div class="label">{label}</div>
      <div class={shown !== null ? "value" : "value none"}>{shown ?? UNAVAILABLE}</div>
      <div class="note" title={typeof note === "string" ? note : undefined}>{note ?? "\u00a0"}</div>
    </>
  );
  return href ? <a class="tile" href={href}>{inner}</a> : <div class="tile">{inner}</div>;
}

export function Fact({ name, children }: { name: string; children: ComponentChildren }): JSX.Element {
  return <><dt>{name}</dt><dd>{children ?? <span class="dim">{UNAVAILABLE}</span>}</dd></>;
}

// A modal one: the browser keeps the focus inside and gives it back.
export function Dialog(props: { title: string; close: () => void; children: ComponentChildren }): JSX.Element {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    if (dialog && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  return (
    <dialog ref={ref} aria-label={props.title} onCancel={(e) => { e.preventDefault(); props.close(); }}>
      <div class="inner"><h2>{props.title}</h2>{props.children}</div>
    </dialog>
  );
}

export function Confirm(props: { title: string; text: ComponentChildren; verb: string; danger?: boolean; act: () => Promise<void>; close: () => void }): JSX.Element {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const act = async () => {
    setBusy(true);
    try {
      await props.act();
      props.close();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  };
  return (
    <Dialog title={props.title} close={props.close}>
      <div>{props.text}</div>
      <Said error={error} />
      <div class="actions">
        <button type="button" onClick={props.close}>Keep it</button>
        <button type="button" class={props.danger ? "danger first" : "first"} disabled={busy} onClick={act}>{props.verb}</button>
      </div>
    </Dialog>
  );
}

export function Copy({ text }: { text: string }): JSX.Element {
  const [done, setDone] = useState(false);
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(text);
      setDone(true);
      setTimeout(() => setDone(false), 1500);
    } catch {
      toast("The browser does not let the page copy; select the text instead.");
    }
  };
  return <button type="button" onClick={copy}>{done ? "Copied" : "Copy"}</button>;
}

let showToast: ((text: string) => void) | null = null;

export function toast(text: string): void {
  showToast?.(text);
}

export function Toasts(): JSX.Element {
  const [list, set] = useState<{ id: number; text: string }[]>([]);
  useEffect(() => {
    let next = 0;
    showToast = (text) => {
      const id = next++;
      set((l) => [...l.slice(-2), { id, text }]);
      setTimeout(() => set((l) => l.filter((t) => t.id !== id)), 5000);
    };
    return () => void (showToast = null);
  }, []);
  return <div class="toasts" role="status" aria-live="polite">{list.map((t) => <div class="toast" key={t.id}>{t.text}</div>)}</div>;
}
