// audit.tsx: who did what to accounts, keys and sign-ins, newest first; and copying the store, for administrators.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, get } from "../lib/api";
import { bytes, clock } from "../lib/format";
import { useAsked, useNow } from "../lib/hooks";
import { may } from "../lib/live";
import { address, type Route } from "../lib/route";
import type { AuditRow, List } from "../lib/types";
import { Dialog, Empty, Page, Said } from "../parts/basics";
import { useAccounts } from "./tasks";

const WORDS: Record<string, string> = {
  setup: "became the first administrator",
  sign_in: "signed in",
  "session.sign_out": "signed out",
  "session.replay": "used a session’s token a second time: the session was ended",
  "account.create": "made the account",
  "account.change": "changed the account",
  "account.disable": "disabled the account",
  "account.password": "gave a new password to",
  "key.create": "made a key for",
  "key.end": "ended the key",
};

// The pool's outcomes are 0 or a negative number of Linux's: EPERM and EACCES are refusals.
function Outcome({ outcome }: { outcome: number }): JSX.Element {
  if (outcome === 0) return <span class="dim">done</span>;
  return <span class="state bad">{outcome === -13 || outcome === -1 ? "refused" : `failed (${outcome})`}</span>;
}

function BackUp({ close }: { close: () => void }): JSX.Element {
  const [path, setPath] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const [done, setDone] = useState<{ path: string; bytes?: number } | null>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      setDone(await ask<{ path: string; bytes?: number }>("POST", "/api/v1/backup", { body: { path } }));
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  if (done) {
    return (
      <Dialog title="The copy is made" close={close}>
        <p><code>{done.path}</code>{done.bytes !== undefined && <>, {bytes(done.bytes)}</>}, on the pool’s machine.</p>
        <p class="dim">Artifacts, logs and the file of secrets lie in the pool’s folder and are not in it.</p>
        <div class="actions"><button type="button" class="first" onClick={close}>Good</button></div>
      </Dialog>
    );
  }
  return (
    <Dialog title="Back up the store" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="field"><label for="b-path">File on the pool’s machine</label><input id="b-path" required pattern="/.+" placeholder="/var/backups/pool.db" autocapitalize="none" value={path} onInput={(e) => setPath(e.currentTarget.value)} /><span class="hint">Its full path; it must not be there yet. The pool goes on meanwhile.</span></div>
        <Said error={error} />
        <div class="actions"><button type="button" onClick={close}>Cancel</button><button class="first" disabled={busy}>{busy ? "Copying…" : "Make a copy"}</button></div>
      </form>
    </Dialog>
  );
}

export function AuditPage({ route }: { route: Route }): JSX.Element {
  const now = useNow(30_000);
  const { account, after } = route.query;
  const query = new URLSearchParams({ limit: "100", ...(account ? { account } : {}), ...(after ? { after } : {}) });
  const asked = useAsked(`/api/v1/audit?${query}`, (what, signal) => get<List<AuditRow>>(what, signal));
  const accounts = useAccounts();
  const [copying, setCopying] = useState(false);
  return (
    <Page title="Audit" sub="Who did what to accounts and keys, and who signed in; newest first" actions={<><button type="button" onClick={asked.again}>Look again</button>{may("backup") && <button type="button" class="first" onClick={() => setCopying(true)}>Back up…</button>}</>}>
      {copying && <BackUp close={() => setCopying(false)} />}
      {accounts && accounts.length > 1 && (
        <div class="filters">
          <select aria-label="Account" value={account ?? ""} onChange={(e) => (location.hash = address(["audit"], { account: e.currentTarget.value || undefined }))}>
            <option value="">Everybody</option>
            {accounts.map((a) => <option value={a.id} key={a.id}>{a.name}</option>)}
          </select>
        </div>
      )}
      <Said error={asked.error} />
      <section class="panel">
        {asked.value && asked.value.data.length === 0 ? <Empty title="Nothing yet">{account && "Nothing by this account."}</Empty> : (
          <div class="table-wrap">
            <table class="cards">
              <thead><tr><th>Who</th><th>Did what</th><th>Outcome</th><th>From</th><th class="right">When</th></tr></thead>
              <tbody>
                {asked.value?.data.map((row) => (
                  <tr key={row.id}>
                    <td class="lead"><span class="main-text">{row.data.name ?? "somebody"}</span></td>
                    <td data-label="did"><span>{WORDS[row.data.verb] ?? row.data.verb} {row.data.object && row.data.object !== row.data.name && <b>{row.data.object}</b>}</span></td>
                    <td data-label="outcome"><Outcome outcome={row.data.outcome} /></td>
                    <td data-label="from" class="dim">{row.data.address ? <span class="mono">{row.data.address}</span> : "itself"}</td>
                    <td data-label="when" class="right dim"><time class="nowrap" dateTime={row.time} title={row.time}>{clock(row.time, now)}</time></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      {asked.value?.has_more && asked.value.next && <div class="row pages"><button type="button" onClick={() => (location.hash = address(["audit"], { account, after: asked.value?.next ?? undefined }))}>Older</button></div>}
    </Page>
  );
}
