// accounts.tsx: accounts, for who may see them; making and changing them, for administrators.
import type { JSX } from "preact";
import { useState } from "preact/hooks";
import { ask, get, patchWithMatch, session } from "../lib/api";
import { integer } from "../lib/format";
import { useAsked, useNow } from "../lib/hooks";
import { may } from "../lib/live";
import { address, type Route } from "../lib/route";
import type { Account, List } from "../lib/types";
import { Ago, Dialog, Empty, Page, Said, StateTag, toast } from "../parts/basics";

const ROLES = ["user", "worker", "auditor", "operator", "admin"] as const;

function Edit({ account, close, done }: { account: Account | null; close: () => void; done: () => void }): JSX.Element {
  const [name, setName] = useState(account?.name ?? "");
  const [role, setRole] = useState(account?.role ?? "user");
  const [password, setPassword] = useState("");
  const [weight, setWeight] = useState(String(account?.weight ?? ""));
  const [most, setMost] = useState(String(account?.limits.max_leases || ""));
  const [disabled, setDisabled] = useState(account?.disabled ?? false);
  const [error, setError] = useState<unknown>(null);
  const [busy, setBusy] = useState(false);
  const submit = async (e: Event) => {
    e.preventDefault();
    setBusy(true);
    setError(null);
    try {
      if (account) {
        await patchWithMatch(`/api/v1/accounts/${account.id}`, { role, disabled, ...(weight ? { weight: Number(weight) } : {}), limits: { ...account.limits, max_leases: Number(most || 0) } });
        if (password) await ask("POST", `/api/v1/accounts/${account.id}/password`, { body: { password } });
      } else {
        await ask("POST", "/api/v1/accounts", { body: { name, role, ...(password ? { password } : {}), ...(weight ? { weight: Number(weight) } : {}), ...(most ? { limits: { max_leases: Number(most) } } : {}) } });
      }
      toast(account ? "Changed." : `${name} is there.`);
      done();
      close();
    } catch (e) {
      setError(e);
      setBusy(false);
    }
  };
  const self = account?.id === session.me?.account;
  return (
    <Dialog title={account ? account.name : "New account"} close={close}>
      <form class="form" onSubmit={submit}>
        {!account && <div class="field"><label for="a-name">Name</label><input id="a-name" required maxLength={63} pattern="[a-z0-9._\-]+" autocapitalize="none" value={name} onInput={(e) => setName(e.currentTarget.value)} /><span class="hint">small letters, digits, . _ -</span></div>}
        <div class="fields">
          <div class="field"><label for="a-role">Role</label><select id="a-role" value={role} onChange={(e) => setRole(e.currentTarget.value)}>{ROLES.map((r) => <option key={r}>{r}</option>)}</select></div>
          <div class="field"><label for="a-weight">Weight</label><input id="a-weight" type="number" min={1} max={1000} placeholder="100" value={weight} onInput={(e) => setWeight(e.currentTarget.value)} /></div>
          <div class="field"><label for="a-most">Tasks at once</label><input id="a-most" type="number" min={0} placeholder="no limit" value={most} onInput={(e) => setMost(e.currentTarget.value)} /></div>
        </div>
        {!self && <div class="field"><label for="a-password">{account ? "New password" : "Password"}</label><input id="a-password" type="password" autocomplete="new-password" minLength={12} maxLength={255} value={password} onInput={(e) => setPassword(e.currentTarget.value)} /><span class="hint">{account ? "Empty: stays as it is. A new one ends the account’s sessions." : "Empty: signs in with keys only."}</span></div>}
        {account && !self && <label class="check"><input type="checkbox" checked={disabled} onChange={(e) => setDisabled(e.currentTarget.checked)} /> Disabled</label>}
        <Said error={error} />
        <div class="actions"><button type="button" onClick={close}>Cancel</button><button class="first" disabled={busy}>{account ? "Change" : "Make the account"}</button></div>
      </form>
    </Dialog>
  );
}

function OwnPassword({ close }: { close: () => void }): JSX.Element {
  const [old, setOld] = useState("");
  const [password, setPassword] = useState("");
  const [error, setError] = useState<unknown>(null);
  const submit = async (e: Event) => {
    e.preventDefault();
    try {
      await ask("POST", `/api/v1/accounts/${session.me?.account}/password`, { body: { old, password } });
      close();
      // A new password ends all sessions, this one too.
      await session.signOut();
    } catch (e) {
      setError(e);
    }
  };
  return (
    <Dialog title="Change my password" close={close}>
      <form class="form" onSubmit={submit}>
        <div class="field"><label for="o-old">Present one</label><input id="o-old" type="password" required autocomplete="current-password" value={old} onInput={(e) => setOld(e.currentTarget.value)} /></div>
        <div class="field"><label for="o-new">New one</label><input id="o-new" type="password" required minLength={12} maxLength={255} autocomplete="new-password" value={password} onInput={(e) => setPassword(e.currentTarget.value)} /><span class="hint">At least 12 characters. All your sessions end; sign in again with the new one.</span></div>
        <Said error={error} />
        <div class="actions"><button type="button" onClick={close}>Cancel</button><button class="first">Change it</button></div>
      </form>
    </Dialog>
  );
}

export function AccountsPage({ route }: { route: Route }): JSX.Element {
  const now = useNow(30_000);
  const reads = may("account.read"), changes = may("account.change"), after = route.query.after;
  const asked = useAsked(reads ? `/api/v1/accounts?limit=200${after ? `&after=${encodeURIComponent(after)}` : ""}` : null, (what, signal) => get<List<Account>>(what, signal));
  const [editing, setEditing] = useState<Account | "new" | null>(null);
  const [own, setOwn] = useState(false);
  return (
    <Page title={reads ? "Accounts" : "My account"} actions={<><button type="button" onClick={() => setOwn(true)}>Change my password</button>{changes && <button type="button" class="first" onClick={() => setEditing("new")}>New account</button>}</>}>
      {editing && <Edit account={editing === "new" ? null : editing} close={() => setEditing(null)} done={asked.again} />}
      {own && <OwnPassword close={() => setOwn(false)} />}
      <Said error={asked.error} />
      {reads ? (
        <section class="panel">
          <div class="table-wrap">
            <table class="cards">
              <thead><tr><th>Account</th><th>Role</th><th>Signs in</th><th class="right">Weight</th><th class="right">Tasks at once</th><th class="right">Made</th><th /></tr></thead>
              <tbody>
                {asked.value?.data.map((a) => (
                  <tr key={a.id}>
                    <td class="lead"><span class="main-text">{a.name}</span> {a.disabled && <StateTag state="disabled" />}</td>
                    <td data-label="role">{a.role}</td>
                    <td data-label="signs in" class="dim">{a.has_password ? "with a password" : "keys only"}</td>
                    <td data-label="weight" class="right">{integer(a.weight)}</td>
                    <td data-label="tasks at once" class="right">{a.limits.max_leases ? integer(a.limits.max_leases) : <span class="dim">no limit</span>}</td>
                    <td data-label="made" class="right dim"><Ago time={a.created} now={now} /></td>
                    <td class="right nowrap"><span class="row end"><a class="button" href={address(["keys"], { account: a.id })}>Keys</a>{changes && <button type="button" onClick={() => setEditing(a)}>Change</button>}</span></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        </section>
      ) : <section class="panel"><Empty title={session.me?.name ?? ""}>{session.me?.role}</Empty></section>}
      {asked.value?.has_more && asked.value.next && <div class="row pages"><button type="button" onClick={() => (location.hash = address(["accounts"], { after: asked.value?.next ?? undefined }))}>More</button></div>}
    </Page>
  );
}
