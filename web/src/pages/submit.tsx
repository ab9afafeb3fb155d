// submit.tsx: a command, or a batch as JSON.
import type { JSX } from "preact";
import { useEffect, useState } from "preact/hooks";
import { ask, get } from "../lib/api";
import { plural } from "../lib/format";
import { address, type Route } from "../lib/route";
import { PRIORITIES, type List, type Task } from "../lib/types";
import { joinWords, parseBatch, splitWords } from "../lib/words";
import { Page, Panel, Said, toast } from "../parts/basics";

const EXAMPLE = `[
  {"type": "command", "name": "prepare", "payload": {"argv": ["sh", "-c", "echo ready"]}},
  {"type": "command", "name": "train", "after": ["#0"], "payload": {"argv": ["sh", "-c", "echo trained"]}}
]`;

export function SubmitPage({ route }: { route: Route }): JSX.Element {
  const [kind, setKind] = useState<"command" | "batch">(route.query.as === "batch" ? "batch" : "command");
  const [line, setLine] = useState("");
  const [shell, setShell] = useState(true);
  const [name, setName] = useState("");
  const [priority, setPriority] = useState("normal");
  const [device, setDevice] = useState("");
  const [memory, setMemory] = useState("");
  const [attempts, setAttempts] = useState("");
  const [wait, setWait] = useState(false);
  const [batch, setBatch] = useState("");
  const [error, setError] = useState<unknown>(null);
  const [said, setSaid] = useState<string | null>(null);
  const [busy, setBusy] = useState(false);
  const like = route.query.like;
  useEffect(() => {
    if (!like) return;
    get<Task>(`/api/v1/tasks/${encodeURIComponent(like)}`).then((t) => {
      const argv = (t.payload as { argv?: unknown } | null)?.argv;
      const only = t.payload && typeof t.payload === "object" && Object.keys(t.payload).length === 1;
      if (t.type === "command" && Array.isArray(argv) && only && !t.needs) {
        const isShell = argv[0] === "sh" && argv[1] === "-c" && argv.length === 3;
        setShell(isShell);
        setLine(isShell ? String(argv[2]) : joinWords(argv.map(String)));
        setName(t.name ?? "");
        setPriority(t.priority ?? "normal");
      } else {
        setKind("batch");
        setBatch(JSON.stringify({ type: t.type, ...(t.name ? { name: t.name } : {}), ...(t.needs ? { needs: t.needs } : {}), priority: t.priority, payload: t.payload }, null, 2));
      }
    }, setError);
  }, [like]);
  const body = (): unknown => {
    if (kind === "batch") {
      const tasks = parseBatch(batch);
      return tasks.length === 1 ? tasks[0] : { tasks };
    }
    const argv = shell ? ["sh", "-c", line] : splitWords(line);
    if (!line.trim()) throw new Error("What is to be run?");
    const needs = { ...(device ? { device } : {}), ...(memory ? { memory } : {}) };
    return {
      type: "command", payload: { argv }, priority,
      ...(name ? { name } : {}), ...(Object.keys(needs).length ? { needs } : {}), ...(attempts ? { attempts: Number(attempts) } : {}), ...(wait ? { wait_for_workers: true } : {}),
    };
  };
  const send = async (dry: boolean) => {
    setBusy(true);
    setError(null);
    setSaid(null);
    try {
      const what = body();
      if (dry) {
        const trial = await ask<{ workers?: number; data?: { workers: number }[] }>("POST", "/api/v1/tasks?dry_run=true", { body: what });
        const each = trial.data ? trial.data.map((t) => t.workers) : [trial.workers ?? 0];
        setSaid(each.length === 1 ? `${plural(each[0] ?? 0, "worker")} could run it.` : `${plural(each.length, "task")}: between ${Math.min(...each)} and ${Math.max(...each)} workers could run each.`);
      } else {
        const random = crypto.getRandomValues(new Uint8Array(16));
        const key = Array.from(random, (b) => b.toString(16).padStart(2, "0")).join("");
        const made = await ask<Task | List<Task>>("POST", "/api/v1/tasks", { body: what, headers: { "Idempotency-Key": key } });
        const tasks = "data" in made ? made.data : [made];
        toast(tasks.length === 1 ? "Submitted." : `${plural(tasks.length, "task")} submitted.`);
        location.hash = tasks.length === 1 && tasks[0] ? address(["tasks", tasks[0].id]) : "#/tasks";
      }
    } catch (e) {
      setError(e);
    }
    setBusy(false);
  };
  return (
    <Page title="New task" back={{ href: "#/tasks", text: "Tasks" }}>
      <Panel>
        <form class="form" onSubmit={(e) => { e.preventDefault(); void send(false); }}>
          <div class="segments" role="group" aria-label="Kind" style={{ alignSelf: "flex-start" }}>
            <button type="button" aria-pressed={kind === "command"} onClick={() => setKind("command")}>Command</button>
            <button type="button" aria-pressed={kind === "batch"} onClick={() => setKind("batch")}>Batch (JSON)</button>
          </div>
          {kind === "command" ? (
            <>
              <div class="field">
                <label for="line">Command</label>
                <textarea id="line" rows={3} required spellcheck={false} autocapitalize="none" placeholder={shell ? "python3 train.py --steps 100 && echo done" : "python3 train.py --steps 100"} value={line} onInput={(e) => setLine(e.currentTarget.value)} />
              </div>
              <label class="check"><input type="checkbox" checked={shell} onChange={(e) => setShell(e.currentTarget.checked)} /> <span>In a shell (<code>sh -c</code>)</span></label>
              <div class="fields">
                <div class="field"><label for="task-name">Name</label><input id="task-name" maxLength={200} value={name} onInput={(e) => setName(e.currentTarget.value)} /></div>
                <div class="field"><label for="priority">Priority</label><select id="priority" value={priority} onChange={(e) => setPriority(e.currentTarget.value)}>{PRIORITIES.map((p) => <option key={p}>{p}</option>)}</select></div>
                <div class="field"><label for="device">Device</label><select id="device" value={device} onChange={(e) => setDevice(e.currentTarget.value)}><option value="">none needed</option><option value="gpu">gpu</option><option value="software">software</option></select></div>
                <div class="field"><label for="memory">Device memory</label><input id="memory" placeholder="8GiB" value={memory} onInput={(e) => setMemory(e.currentTarget.value)} /></div>
                <div class="field"><label for="attempts">Attempts</label><input id="attempts" type="number" min={1} max={100} placeholder="3" value={attempts} onInput={(e) => setAttempts(e.currentTarget.value)} /></div>
              </div>
              <label class="check"><input type="checkbox" checked={wait} onChange={(e) => setWait(e.currentTarget.checked)} /> Queue it also when no worker there is now could run it</label>
            </>
          ) : (
            <div class="field">
              <label for="batch">Tasks: a JSON array, or one task a line</label>
              <textarea id="batch" rows={14} required spellcheck={false} placeholder={EXAMPLE} value={batch} onInput={(e) => setBatch(e.currentTarget.value)} />
              <span class="hint">All or none are taken. <code>"after": ["#0"]</code> names an earlier one. <button type="button" class="bare" onClick={() => setBatch(EXAMPLE)}>Fill in the example</button></span>
            </div>
          )}
          <Said error={error} />
          {said && <div class="said good" role="status">{said}</div>}
          <div class="row">
            <button class="first" disabled={busy}>Submit</button>
            <button type="button" disabled={busy} onClick={() => void send(true)}>Try only</button>
          </div>
        </form>
      </Panel>
    </Page>
  );
}
