// stream.ts: the one event stream of the page: a WebSocket opened with a ticket, resumed by the last event's id, opened again by itself when it breaks.
// Everything it needs of the world is handed in, so that it is tested without one.
import { backoff } from "./backoff";
import { parseEvent } from "./store";
import type { PoolEvent } from "./types";

export type Phase = "off" | "connecting" | "live" | "waiting";

export interface Connection {
  phase: Phase;
  since: number;
  tries: number;
  retryAt: number | null;
  text: string | null;
}

export interface Socket {
  onopen: (() => void) | null;
  onmessage: ((e: { data: unknown }) => void) | null;
  onclose: ((e: { code: number; reason: string }) => void) | null;
  close(): void;
}

export interface World {
  ticket(): Promise<string>;
  open(path: string): Socket;
  later(ms: number, call: () => void): () => void; // returns how to take it back
  now(): number;
  chance(): number;
}

const OPEN_MS = 15_000;

export class Stream {
  connection: Connection = { phase: "off", since: 0, tries: 0, retryAt: null, text: null };
  private socket: Socket | null = null;
  private cancel: (() => void) | null = null;
  private last: string | null = null;
  private run = 0; // what belongs to an earlier start is not listened to

  constructor(private world: World, private events: (event: PoolEvent) => void, private changed: (connection: Connection) => void) {}

  private set(phase: Phase, tries: number, retryAt: number | null = null, text: string | null = null): void {
    this.connection = { phase, since: phase === this.connection.phase ? this.connection.since : this.world.now(), tries, retryAt, text };
    this.changed(this.connection);
  }

  start(): void {
    if (this.connection.phase !== "off") return;
    void this.connect(0);
  }

  // Also forgets where it was: whoever starts it next may be somebody else.
  stop(): void {
    this.end();
    this.last = null;
    this.set("off", 0);
  }

  // Now, not later: the network is back, or somebody pressed the button.
  again(): void {
    if (this.connection.phase === "waiting") void this.connect(this.connection.tries);
  }

  // The connection is suspected to be dead (the machine slept): open another.
  renew(): void {
    if (this.connection.phase === "live") void this.connect(0);
  }

  private end(): void {
    this.run++;
    this.cancel?.();
    this.cancel = null;
    const socket = this.socket;
    this.socket = null;
    if (socket) {
      socket.onopen = socket.onmessage = socket.onclose = null;
      socket.close();
    }
  }

  private wait(tries: number, text: string | null): void {
    this.end();
    const ms = backoff(tries, this.world.chance()), run = this.run;
    this.set("waiting", tries + 1, this.world.now() + ms, text);
    this.cancel = this.world.later(ms, () => {
      if (run === this.run) void this.connect(tries + 1);
    });
  }

  private async connect(tries: number): Promise<void> {
    this.end();
    const run = this.run;
    this.set("connecting", tries);
    let ticket: string;
    try {
      ticket = await this.world.ticket();
    } catch (e) {
      if (run === this.run) this.wait(tries, e instanceof Error ? e.message : String(e));
      return;
    }
    if (run !== this.run) return;
    const socket = this.world.open(`/events?ticket=${encodeURIComponent(ticket)}${this.last ? `&after=${encodeURIComponent(this.last)}` : ""}`);
    this.socket = socket;
    this.cancel = this.world.later(OPEN_MS, () => {
      if (run === this.run) this.wait(tries, "The event stream did not open.");
    });
    let opened = false;
    socket.onopen = () => {
      opened = true;
      this.cancel?.();
      this.cancel = null;
      this.set("live", 0);
    };
    socket.onmessage = (e) => {
      const event = typeof e.data === "string" ? parseEvent(e.data) : null;
      if (!event) return;
      this.last = event.id;
      this.events(event);
    };
    socket.onclose = (e) => {
      if (run === this.run) this.wait(opened ? 0 : tries, e.reason || null);
    };
  }
}
