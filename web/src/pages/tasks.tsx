// tasks.tsx: tasks, newest first, by page; the first one follows what happens.
import type { JSX } from "preact";
import { useMemo, useState } from "preact/hooks";
import { get } from "../lib/api";
import { integer } from "../lib/format";
import { useAsked, useNow, usePoll } from "../lib/hooks";
import { overlay, type Filter } from "../lib/lists";
import { may, useLive } from "../lib/live";
import { address, type Route } from "../lib/route";
import { TASK_STATES, type Account, type List, type Task } from "../lib/types";
import { Ago, Empty, Page, Said, Share, StateTag, stateWord, TaskLink, WorkerLink } from "../parts/basics";

const PER_PAGE = 50;
const TYPES = ["command", "preprocess", "augment", "validate", "synchronise", "mirror", "migrate", "optimise", "monitor", "probe"];

export function accountNames(accounts: Account[] | undefined): Map<string, string> {
  return new Map((accounts ?? []).map((a) => [a.id, a.name]));
}

export function useAccounts(): Account[] | undefined {
  return useAsked(may("account.read") ? "/api/v1/accounts?limit=1000" : null, (what, signal) => get<List<Account>>(what, signal)).value?.data;
}

export function TasksPage({ route }: { route: Route }): JSX.Element {
  const { state, type, account, after } = route.query;
  const filter: Filter = { state, type, account };
  const now = useNow(5000);
  const query = new URLSearchParams({ limit: String(PER_PAGE) });
  for (const [name, value] of Object.entries({ state, type, account, after })) if (value) query.set(name, value);
  const asked = useAsked(`/api/v1/tasks?${query}`, (what, signal) => get<List<Task>>(what, signal));
  // What started to fit a filter, or ended while the connection was broken, is not told as such.
  usePoll(state || type || account ? 4000 : 15_000, () => {
    if (!after && !asked.busy) asked.again();
  });
  const live = useLive((s) => s.tasks), workers = useLive((s) => s.workers), counts = useLive((s) => s.counts);
  const accounts = useAccounts(), names = accountNames(accounts);
  const rows = useMemo(() => overlay(asked.value?.data ?? [], asked.value ? live : new Map(), filter, !after), [asked.value, live, state, type, account, after]);
  const to = (change: Record<string, string | undefined>) => (location.hash = address(["tasks"], { state, type, account, after: undefined, ...change }));
  const [typed, setTyped] = useState("");
  return (
    <Page title="Tasks" sub={counts ? `${integer(counts.leased ?? 0)} running, ${integer((counts.queued ?? 0) + (counts.held ?? 0) + (counts.backoff ?? 0))} waiting` : undefined} actions={may("task.submit") && <a class="button first" href="#/submit">New task</a>}>
      <div class="filters" role="search">
        <select aria-label="State" value={state ?? ""} onChange={(e) => to({ state: e.currentTarget.value || undefined })}>
          <option value="">Any state</option>
          {TASK_STATES.map((s) => <option value={s} key={s}>{stateWord(s)}</option>)}
        </select>
        <select aria-label="Type" value={type ?? ""} onChange={(e) => to({ type: e.currentTarget.value || undefined })}>
          <option value="">Any type</option>
          {[...new Set([...TYPES, ...(type ? [type] : [])])].map((t) => <option value={t} key={t}>{t}</option>)}
        </select>
        {may("task.read.all") && accounts && (
          <select aria-label="Account" value={account ?? ""} onChange={(e) => to({ account: e.currentTarget.value || undefined })}>
            <option value="">Everybody’s</option>
            {accounts.map((a) => <option value={a.id} key={a.id}>{a.name}</option>)}
          </select>
        )}
        <form class="row" onSubmit={(e) => { e.preventDefault(); if (typed.trim()) location.hash = address(["tasks", typed.trim()]); }}>
          <input aria-label="Task id" placeholder="task_… (Enter opens it)" size={22} value={typed} onInput={(e) => setTyped(e.currentTarget.value)} />
        </form>
        {(state || type || account) && <a href="#/tasks">Clear</a>}
      </div>
      <Said error={asked.error} />
      <section class="panel" aria-busy={asked.busy}>
        {rows.length === 0 && asked.value ? <Empty title="No such tasks">{state || type || account ? <a href="#/tasks">Show all</a> : may("task.submit") ? <a href="#/submit">Submit the first one</a> : null}</Empty> : (
          <div class="table-wrap">
            <table class="cards tight">
              <thead><tr><th>Task</th><th>State</th><th>Type</th><th>Progress</th><th>Worker</th>{names.size > 0 && <th>Account</th>}<th>Priority</th><th class="right">Created</th></tr></thead>
              <tbody>
                {rows.map((t) => (
                  <tr key={t.id} data-task={t.id}>
                    <td class="lead"><span class="clip"><TaskLink id={t.id} name={t.name} /></span></td>
                    <td data-label="state"><StateTag state={t.state} />{(t.attempt ?? 0) > 1 && <span class="under"> attempt {t.attempt}</span>}</td>
                    <td data-label="type" class="dim">{t.type}</td>
                    <td data-label="progress" class={t.state === "leased" ? "wide" : "empty-cell"}>{t.state === "leased" ? <Share share={t.progress?.share} text={t.progress?.text} /> : null}</td>
                    <td data-label="worker" class={t.worker ? "" : "empty-cell"}>{t.worker ? <span class="clip"><WorkerLink id={t.worker} name={workers.get(t.worker)?.name} /></span> : <span class="dim">–</span>}</td>
                    {names.size > 0 && <td data-label="account"><span class="clip">{t.account ? (names.get(t.account) ?? t.account.slice(-8)) : "–"}</span></td>}
                    <td data-label="priority" class={!t.priority || t.priority === "normal" ? "dim" : ""}>{t.priority ?? "–"}</td>
                    <td data-label="created" class="right dim"><Ago time={t.created ?? t.queued} now={now} /></td>
                  </tr>
                ))}
              </tbody>
            </table>
          </div>
        )}
      </section>
      <nav class="row pages" aria-label="Pages of the list">
        {after && <button type="button" onClick={() => history.back()}>Newer</button>}
        {asked.value?.has_more && asked.value.next && <button type="button" onClick={() => to({ after: asked.value?.next ?? undefined })}>Older</button>}
        {!after && !asked.value?.has_more && rows.length > 10 && <span class="dim">That is all.</span>}
      </nav>
    </Page>
  );
}
