// sign-in.tsx: the one-time link that makes the first administrator, and signing in.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "../lib/api";
import { Said } from "../parts/basics";
import { Mark } from "../parts/icons";
import { ThemeSwitch } from "../parts/theme-switch";

export function SignIn({ setupToken, done, note }: { setupToken: string | null; done: () => void; note?: string }): JSX.Element {
  const [name, setName] = useState(setupToken !== null ? "admin" : "");
  const [password, setPassword] = useState("");
  const [again, setAgain] = useState("");
  const [error, setError] = useState<unknown>(setupToken === "" ? new Error("The link's token is missing: open the whole link that the pool printed at its start.") : null);
  const [busy, setBusy] = useState(false);
  const first = useRef<HTMLInputElement>(null);
  const setup = setupToken !== null;
  useEffect(() => {
    document.title = setup ? "First sign-in · Berth" : "Sign in · Berth";
    first.current?.focus();
  }, [setup]);
  const submit = async (e: Event) => {
    e.preventDefault();
    if (setup && password !== again) {
      setError(new Error("The two passwords differ."));
      return;
    }
    setBusy(true);
    setError(null);
    try {
      if (setup) await session.setUp(setupToken, name, password);
      else await session.signIn(name, password);
      done();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  };
  return (
    <main class="entry" id="main">
      <div class="card">
        <div class="brand"><Mark /> Berth</div>
        <h1>{setup ? "The first administrator" : "Sign in"}</h1>
        <p>{setup ? "This link works once. Choose a name, and a password of at least 12 characters." : (note ?? `to the pool at ${location.host}`)}</p>
        <form class="form" onSubmit={submit}>
          <div class="field">
            <label for="name">Name</label>
            <input id="name" ref={first} autocomplete="username" autocapitalize="none" spellcheck={false} required maxLength={63} pattern={setup ? "[a-z0-9._\\-]+" : undefined} value={name} onInput={(e) => setName(e.currentTarget.value)} />
          </div>
          <div class="field">
            <label for="password">Password</label>
            <input id="password" type="password" autocomplete={setup ? "new-password" : "current-password"} required minLength={setup ? 12 : 1} maxLength={255} value={password} onInput={(e) => setPassword(e.currentTarget.value)} />
          </div>
          {setup && (
            <div class="field">
              <label for="again">Password again</label>
              <input id="again" type="password" autocomplete="new-password" required minLength={12} maxLength={255} value={again} onInput={(e) => setAgain(e.currentTarget.value)} />
            </div>
          )}
          <Said error={error} />
          <button class="first" disabled={busy}>{busy ? "One moment…" : setup ? "Make the administrator" : "Sign in"}</button>
        </form>
        <div class="below">
          {setup ? <a href="/">Sign in instead</a> : <a href="/docs">API</a>}
          <ThemeSwitch />
        </div>
      </div>
    </main>
  );
}
