// keys.tsx: API keys: a key's text is shown once, when it is made.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, get, session } from "../lib/api";
import { clock } from "../lib/format";
import { useAsked, useNow } from "../lib/hooks";
import { may } from "../lib/live";
import { address, type Route } from "../lib/route";
import type { Key, List } from "../lib/types";
import { Ago, Confirm, Copy, Dialog, Empty, Page, Said, toast } from "../parts/basics";
import { useAccounts } from "./tasks";

const LASTS = [["", "for ever"], ["1", "1 day"], ["30", "30 days"], ["90", "90 days"], ["365", "1 year"]] as const;

function MakeKey({ account, close, made }: { account: string | undefined; close: () => void; made: () => void }): JSX.Element {
  const [label, setLabel] = useState("");
  const [days, setDays] = useState("");
  const [some, setSome] = useState(false);
  const [scopes, setScopes] = useState<string[]>([]);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [key, setKey] = useState<string | null>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      const body: Record<string, unknown> = { label };
      if (account) body.account = account;
      if (days) body.expires = new Date(Date.now() + Number(days) * 86_400_000).toISOString().replace(/\.\d+Z$/, "Z");
      if (some) body.scopes = scopes;
      const got = await ask<{ key: string }>("POST", "/api/v1/keys", { body });
      setKey(got.key);
      made();
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  if (key !== null) {
    return (
      <Dialog title="Copy the key now" close={close}>
        <p>It is not shown again. Whoever has it acts as this account.</p>
        <div class="secret"><code data-secret>{key}</code><Copy text={key} /></div>
        <p class="dim">Any OpenAI client: base URL <code>{location.origin}/v1</code>, and this key.</p>
        <div class="actions"><button type="button" class="first" onClick={close}>I have it</button></div>
      </Dialog>
    );
  }
  return (
    <Dialog title="New key" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="field"><label for="key-label">What is it for?</label><input id="key-label" required maxLength={63} value={label} onInput={(e) => setLabel(e.currentTarget.value)} /></div>
        <div class="field"><label for="key-days">It lasts</label><select id="key-days" value={days} onChange={(e) => setDays(e.currentTarget.value)}>{LASTS.map(([v, t]) => <option value={v} key={v}>{t}</option>)}</select></div>
        <label class="check"><input type="checkbox" checked={some} onChange={(e) => setSome(e.currentTarget.checked)} /> Some rights only</label>
        {some && (
          <fieldset class="fields" aria-label="Rights">
            {(session.me?.rights ?? []).filter((r) => r !== "self").map((r) => (
              <label class="check" key={r}><input type="checkbox" checked={scopes.includes(r)} onChange={(e) => setScopes(e.currentTarget.checked ? [...scopes, r] : scopes.filter((s) => s !== r))} /> <code>{r}</code></label>
            ))}
          </fieldset>
        )}
        <Said error={error} />
        <div class="actions"><button type="button" onClick={close}>Cancel</button><button class="first" disabled={busy || (some && !scopes.length)}>Make the key</button></div>
      </form>
    </Dialog>
  );
}

export function KeysPage({ route }: { route: Route }): JSX.Element {
  const now = useNow(30_000);
  const account = route.query.account, after = route.query.after;
  const query = new URLSearchParams({ limit: "200", ...(account ? { account } : {}), ...(after ? { after } : {}) });
  const asked = useAsked(`/api/v1/keys?${query}`, (what, signal) => get<List<Key>>(what, signal));
  const accounts = useAccounts();
  const [making, setMaking] = useState(false);
  const [ending, setEnding] = useState<Key | null>(null);
  const own = !account || account === session.me?.account;
  const mayMake = own ? may("key.own") || may("account.change") : may("account.change");
  return (
    <Page title="API keys" sub={own ? "For your programs; give each its own." : `Of ${accounts?.find((a) => a.id === account)?.name ?? "another account"}`} actions={mayMake && <button type="button" class="first" onClick={() => setMaking(true)}>New key</button>}>
      {making && <MakeKey account={own ? undefined : account} close={() => setMaking(false)} made={asked.again} />}
      {ending && (
        <Confirm title={`End the key “${ending.label}”?`} verb="End it" danger text="Programs that use it are refused from now on." close={() => setEnding(null)}
          act={async () => {
            await ask("DELETE", `/api/v1/keys/${ending.id}`);
            toast("The key is worth nothing now.");
            asked.again();
          }} />
      )}
      {accounts && accounts.length > 1 && (
        <div class="filters">
          <select aria-label="Account" value={account ?? ""} onChange={(e) => (location.hash = address(["keys"], { account: e.currentTarget.value || undefined }))}>
            <option value="">My own</option>
            {accounts.filter((a) => a.id !== session.me?.account).map((a) => <option value={a.id} key={a.id}>{a.name}</option>)}
          </select>
        </div>
      )}
      <Said error={asked.error} />
      <section class="panel">
        {asked.value && asked.value.data.length === 0 ? <Empty title="No keys">{mayMake && "Make one for each program that talks to this pool."}</Empty> : (
          <div class="table-wrap">
            <table class="cards">
              <thead><tr><th>For</th><th>Rights</th><th>Used</th><th>Ends</th><th>Made</th><th /></tr></thead>
              <tbody>
                {asked.value?.data.map((k) => (
                  <tr key={k.id} data-key={k.id}>
                    <td class="lead"><span class="main-text">{k.label}</span> <span class="under mono">{k.id.slice(-8)}</span></td>
                    <td data-label="rights">{k.scopes ? <span class="row">{k.scopes.map((s) => <span class="tag" key={s}>{s}</span>)}</span> : <span class="dim">all of the account</span>}</td>
                    <td data-label="used" class="dim"><Ago time={k.used} now={now} none="never" /></td>
                    <td data-label="ends" class="dim">{k.expires ? clock(k.expires, now) : "never"}</td>
                    <td data-label="made" class="dim"><Ago time={k.created} now={now} /></td>
                    <td class="right">{mayMake && <button type="button" class="danger" onClick={() => setEnding(k)} aria-label={`End the key ${k.label}`}>End</button>}</td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      {asked.value?.has_more && asked.value.next && <div class="row pages"><button type="button" onClick={() => (location.hash = address(["keys"], { account, after: asked.value?.next ?? undefined }))}>More</button></div>}
    </Page>
  );
}
