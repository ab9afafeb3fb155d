// app.tsx: the frame: who is signed in, where one is, how the connection does; and the page in it.
import type { JSX } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { session } from "./lib/api";
import { duration } from "./lib/format";
import { useNow, useRoute } from "./lib/hooks";
import { reconnectNow, startLive, stopLive, useConnection, useLive } from "./lib/live";
import { Problem } from "./lib/problem";
import type { Route } from "./lib/route";
import type { Me } from "./lib/types";
import { Empty, Page, Said, Toasts } from "./parts/basics";
import * as Icons from "./parts/icons";
import { ThemeSwitch } from "./parts/theme-switch";
import { AccountsPage } from "./pages/accounts";
import { AuditPage } from "./pages/audit";
import { ChatPage, forgetTalk } from "./pages/chat";
import { KeysPage } from "./pages/keys";
import { MachinePage } from "./pages/machine";
import { ModelsPage } from "./pages/models";
import { OverviewPage } from "./pages/overview";
import { SignIn } from "./pages/sign-in";
import { SubmitPage } from "./pages/submit";
import { TaskPage } from "./pages/task";
import { TasksPage } from "./pages/tasks";
import { WorkerPage } from "./pages/worker";
import { WorkersPage } from "./pages/workers";

interface Place {
  name: string;
  href: string;
  icon: () => JSX.Element;
  right?: string;
  short?: boolean; // also at the foot of a small screen
  pages: string[];
}

const PLACES: Place[] = [
  { name: "Overview", href: "#/", icon: Icons.Overview, pages: [""], short: true },
  { name: "Tasks", href: "#/tasks", icon: Icons.Tasks, right: "task.read", pages: ["tasks", "submit"], short: true },
  { name: "Models", href: "#/models", icon: Icons.Models, right: "model.read", pages: ["models"], short: true },
  { name: "Playground", href: "#/chat", icon: Icons.Chat, right: "generate", pages: ["chat"], short: true },
  { name: "Workers", href: "#/workers", icon: Icons.Workers, right: "worker.read", pages: ["workers"], short: true },
  { name: "Keys", href: "#/keys", icon: Icons.Keys, right: "key.own", pages: ["keys"], short: true },
  { name: "Accounts", href: "#/accounts", icon: Icons.Accounts, pages: ["accounts"] },
  { name: "Audit", href: "#/audit", icon: Icons.Audit, right: "audit.read", pages: ["audit"] },
];

function Where({ route }: { route: Route }): JSX.Element {
  const [page = "", id, part] = route.path;
  switch (page) {
    case "":
      return <OverviewPage />;
    case "tasks":
      return id ? <TaskPage id={id} key={id} /> : <TasksPage route={route} />;
    case "submit":
      return <SubmitPage route={route} key={route.query.like ?? ""} />;
    case "workers":
      return id ? (part === "machine" ? <MachinePage id={id} key={id} /> : <WorkerPage id={id} key={id} />) : <WorkersPage />;
    case "models":
      return <ModelsPage />;
    case "chat":
      return <ChatPage route={route} />;
    case "keys":
      return <KeysPage route={route} />;
    case "accounts":
      return <AccountsPage route={route} />;
    case "audit":
      return <AuditPage route={route} />;
    default:
      return <Page title="Not here"><Empty title="There is no such page"><a href="#/">Overview</a></Empty></Page>;
  }
}

function ConnectionSign({ short = false }: { short?: boolean }): JSX.Element {
  const c = useConnection();
  const now = useNow();
  const word = c.phase === "live" ? "Live" : c.phase === "connecting" ? "Connecting…" : c.phase === "waiting" ? `Reconnecting${c.retryAt && c.retryAt - now > 1000 && !short ? ` in ${duration(c.retryAt - now)}` : "…"}` : "Off";
  return <span class={`connection ${c.phase}`} data-connection={c.phase} role="status" title={c.text ?? "The event stream"}><span class="dot" />{word}</span>;
}

function Interrupted(): JSX.Element | null {
  const c = useConnection();
  const now = useNow();
  // A short break is not worth a word.
  if (c.phase === "live" || c.phase === "off" || c.tries < 2) return null;
  return (
    <div class="banner" role="alert">
      <span>The pool does not answer; what is shown is as of before. {c.phase === "connecting" ? "Trying…" : c.retryAt ? `Next try in ${duration(Math.max(0, c.retryAt - now))}.` : ""}</span>
      {c.phase === "waiting" && <button type="button" onClick={reconnectNow}>Try now</button>}
    </div>
  );
}

function Frame({ me, route }: { me: Me; route: Route }): JSX.Element {
  const places = PLACES.filter((p) => !p.right || me.rights.includes(p.right));
  const current = (p: Place) => (p.pages.includes(route.path[0] ?? "") ? "page" : undefined);
  const counts = useLive((s) => s.counts);
  const main = useRef<HTMLElement>(null);
  const running = counts?.leased ?? 0;
  return (
    <div class="frame">
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); main.current?.focus(); }}>Skip to the content</a>
      <div class="side">
        <a class="brand" href="#/"><Icons.Mark /> Berth</a>
        <nav class="nav" aria-label="Pages">
          {places.map((p) => <a key={p.href} href={p.href} aria-current={current(p)}><p.icon />{p.name}{p.href === "#/tasks" && running > 0 && <span class="count" aria-label={`${running} running`}>{running}</span>}</a>)}
        </nav>
        <div class="side-foot">
          <ConnectionSign />
          <div class="who"><b title={`${me.name}, ${me.role}`}>{me.name}</b><span class="dim grow">{me.role}</span><ThemeSwitch /><button type="button" class="bare" title="Sign out" aria-label="Sign out" onClick={() => void session.signOut()}><Icons.Out /></button></div>
        </div>
      </div>
      <header class="top">
        <a class="brand" href="#/"><Icons.Mark /> Berth</a>
        <ConnectionSign short />
        <a class="button bare" href="#/accounts" aria-label={`Account: ${me.name}`} title={me.name}><Icons.Accounts /></a>
        <ThemeSwitch />
        <button type="button" class="bare" title="Sign out" aria-label="Sign out" onClick={() => void session.signOut()}><Icons.Out /></button>
      </header>
      <main id="main" tabIndex={-1} ref={main}>
        <Interrupted />
        <Where route={route} />
      </main>
      <nav class="tabs-foot" aria-label="Pages">
        {places.filter((p) => p.short).map((p) => <a key={p.href} href={p.href} aria-current={current(p)}><p.icon />{p.name}</a>)}
      </nav>
      <Toasts />
    </div>
  );
}

// The one-time link is /setup#TOKEN: the token leaves the address bar at once.
function takeSetupToken(): string | null {
  if (location.pathname !== "/setup") return null;
  const token = location.hash.slice(1);
  history.replaceState(null, "", "/");
  return token;
}

const setupToken = takeSetupToken();

export function App(): JSX.Element | null {
  const [me, setMe] = useState<Me | null>(session.me);
  const [phase, setPhase] = useState<"looking" | "ready" | "trouble">(setupToken === null ? "looking" : "ready");
  const [setup, setSetup] = useState(setupToken);
  const [trouble, setTrouble] = useState<unknown>(null);
  const [ended, setEnded] = useState(false);
  const route = useRoute();
  const restore = () => {
    setPhase("looking");
    session.restore().then(
      () => setPhase("ready"),
      (e) => {
        // Signed out meanwhile, or the pool does not answer: then what was kept is good for another try.
        const refused = e instanceof Problem && (e.status === 401 || e.status === 403 || e.status === 422);
        setTrouble(e);
        setPhase(refused ? "ready" : "trouble");
      },
    );
  };
  useEffect(() => {
    const stop = session.listen((now) => {
      setMe((before) => {
        if (before && !now) setEnded(true);
        return now;
      });
    });
    if (setupToken === null) restore();
    return stop;
  }, []);
  const account = me?.account;
  useEffect(() => {
    if (!account) return;
    startLive();
    return () => {
      stopLive();
      forgetTalk();
    };
  }, [account]);
  if (phase === "looking") return null;
  if (phase === "trouble") {
    return (
      <main class="entry" id="main">
        <div class="card">
          <div class="brand"><Icons.Mark /> Berth</div>
          <div class="form"><Said error={trouble} /><button class="first" type="button" onClick={restore}>Try again</button></div>
        </div>
      </main>
    );
  }
  if (!me) return <SignIn setupToken={setup} note={ended ? "Signed out." : undefined} done={() => { setSetup(null); if (location.hash === "") location.hash = "#/"; }} key={String(setup)} />;
  return <Frame me={me} route={route} key={me.account} />;
}

