// hooks.ts: what several pages need: the time, the address, something asked for.
import { useCallback, useEffect, useRef, useState } from "preact/hooks";
import { parseRoute, type Route } from "./route";

export function useNow(everyMs = 1000): number {
  const [now, set] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => set(Date.now()), everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
  return now;
}

export function useRoute(): Route {
  const [route, set] = useState(() => parseRoute(location.hash));
  useEffect(() => {
    const changed = () => set(parseRoute(location.hash));
    addEventListener("hashchange", changed);
    return () => removeEventListener("hashchange", changed);
  }, []);
  return route;
}

export interface Asked<T> {
  value: T | null;
  error: Error | null;
  busy: boolean;
  again(): void;
}

// Asks when `what` changes; what was there stays until the new is. null asks nothing.
export function useAsked<T>(what: string | null, ask: (what: string, signal: AbortSignal) => Promise<T>): Asked<T> {
  const [value, setValue] = useState<{ of: string; value: T } | null>(null);
  const [error, setError] = useState<Error | null>(null);
  const [busy, setBusy] = useState(false);
  const [turn, setTurn] = useState(0);
  const askRef = useRef(ask);
  askRef.current = ask;
  useEffect(() => {
    if (what === null) return;
    const stop = new AbortController();
    setBusy(true);
    askRef.current(what, stop.signal).then(
      (v) => {
        if (stop.signal.aborted) return;
        setValue({ of: what, value: v });
        setError(null);
        setBusy(false);
      },
      (e) => {
        if (stop.signal.aborted) return;
        setError(e instanceof Error ? e : new Error(String(e)));
        setBusy(false);
      },
    );
    return () => stop.abort();
  }, [what, turn]);
  const again = useCallback(() => setTurn((n) => n + 1), []);
  return { value: value && value.of === what ? value.value : null, error, busy, again };
}

export function usePoll(everyMs: number, call: () => void): void {
  const ref = useRef(call);
  ref.current = call;
  useEffect(() => {
    const timer = setInterval(() => {
      if (!document.hidden) ref.current();
    }, everyMs);
    return () => clearInterval(timer);
  }, [everyMs]);
}
