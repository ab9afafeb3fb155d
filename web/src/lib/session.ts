// session.ts: who is signed in. The access token (15 minutes) is in memory only. The refresh token is in this tab's sessionStorage, so that a reload does not sign
// out: it is good once, gone with the tab, and a copy of it that is used ends the session. It could be read by a script of ours only: the page's policy lets no
// other script run. A tab that was duplicated holds the same refresh token: whichever uses it tells the others of this browser what came for it.
import { Problem, problemOf, unreachable } from "./problem";
import type { Me, Tokens } from "./types";

const KEPT = "berth.refresh";
const EARLY_MS = 60_000;

type Listener = (me: Me | null) => void;

function isTokens(value: unknown): value is Tokens {
  const t = value as Tokens | null;
  return typeof t === "object" && t !== null && typeof t.access === "string" && typeof t.refresh === "string" && typeof t.me === "object" && t.me !== null && Array.isArray(t.me.rights);
}

export class Session {
  me: Me | null = null;
  private access: string | null = null;
  private refresh: string | null = null;
  private expires = 0;
  private renewing: Promise<void> | null = null;
  private listeners = new Set<Listener>();
  private channel: BroadcastChannel | null = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("berth.session");

  constructor(private storage: Storage | null) {
    if (this.channel) this.channel.onmessage = (e: MessageEvent) => this.heard(e.data);
  }

  listen(listener: Listener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private tell(): void {
    for (const listener of this.listeners) listener(this.me);
  }

  private keep(tokens: Tokens): void {
    this.access = tokens.access;
    this.refresh = tokens.refresh;
    // By this machine's clock, whatever the difference to the pool's: never longer than the 15 minutes an access token has.
    const left = Date.parse(tokens.expires) - Date.now();
    this.expires = Date.now() + Math.min(Math.max(left || 0, 2 * EARLY_MS), 15 * 60_000);
    this.me = tokens.me;
    try {
      this.storage?.setItem(KEPT, tokens.refresh);
    } catch {
      // Storage that refuses: a reload asks for the password.
    }
    this.tell();
  }

  forget(): void {
    this.access = this.refresh = null;
    this.me = null;
    try {
      this.storage?.removeItem(KEPT);
    } catch {
      // Nothing was kept then.
    }
    this.tell();
  }

  private heard(data: unknown): void {
    const said = data as { was?: unknown; tokens?: unknown; ended?: unknown } | null;
    if (!said || !this.refresh) return;
    if (said.was === this.refresh && isTokens(said.tokens)) this.keep(said.tokens);
    else if (this.me?.session && said.ended === this.me.session) this.forget();
  }

  private async post(path: string, body: unknown): Promise<Tokens> {
    let answer: Response;
    try {
      answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), cache: "no-store" });
    } catch (e) {
      throw unreachable(e);
    }
    if (!answer.ok) throw await problemOf(answer);
    const tokens: unknown = await answer.json();
    if (!isTokens(tokens)) throw new Problem(502, "page.answer", "The pool's answer is not understood.");
    return tokens;
  }

  // True: signed in again with what this tab kept.
  async restore(): Promise<boolean> {
    let kept: string | null = null;
    try {
      kept = this.storage?.getItem(KEPT) ?? null;
    } catch {
      return false;
    }
    if (!kept) return false;
    this.refresh = kept;
    await this.renew();
    return true;
  }

  async signIn(name: string, password: string): Promise<void> {
    this.keep(await this.post("/api/v1/sessions", { name, password }));
  }

  async setUp(token: string, name: string, password: string): Promise<void> {
    this.keep(await this.post("/api/v1/setup", { token, name, password }));
  }

  async signOut(): Promise<void> {
    const access = this.access, session = this.me?.session;
    this.forget();
    this.channel?.postMessage({ ended: session });
    if (access) await fetch("/api/v1/sessions/current", { method: "DELETE", headers: { Authorization: `Bearer ${access}` } }).catch(() => undefined);
  }

  // One at a time: a refresh token is good once.
  private renew(): Promise<void> {
    this.renewing ??= (async () => {
      const was = this.refresh;
      if (!was) throw new Problem(401, "auth.required", "Sign in.");
      try {
        const tokens = await this.post("/api/v1/sessions/refresh", { refresh: was });
        this.keep(tokens);
        this.channel?.postMessage({ was, tokens });
      } catch (e) {
        // Refused for good; anything else (pool away, busy) is tried again later. Another tab may have been first: then this one has its tokens by now.
        if (e instanceof Problem && (e.status === 401 || e.status === 403 || e.status === 422) && this.refresh === was) this.forget();
        if (this.refresh === was || !this.refresh) throw e;
      }
    })().finally(() => (this.renewing = null));
    return this.renewing;
  }

  // A token to ask with. again: the last one was refused.
  async token(again = false): Promise<string> {
    if (again || !this.access || Date.now() > this.expires - EARLY_MS) await this.renew();
    if (!this.access) throw new Problem(401, "auth.required", "Sign in.");
    return this.access;
  }
}
