// stream.test.ts: the event stream against a world of its own: resuming, backing off, not listening to what is over.
import { describe, expect, it } from "vitest";
import { backoff, BACKOFF_MOST_MS } from "../src/lib/backoff";
import { Stream, type Connection, type Socket } from "../src/lib/stream";

class World {
  time = 1000;
  tickets = 0;
  refuse: Error | null = null;
  sockets: (Socket & { path: string; closed: boolean })[] = [];
  timers: { at: number; call: () => void }[] = [];
  seen: string[] = [];
  phases: Connection[] = [];
  stream = new Stream(
    {
      ticket: async () => {
        this.tickets++;
        if (this.refuse) throw this.refuse;
        return `t${this.tickets}`;
      },
      open: (path) => {
        const socket = { path, closed: false, onopen: null, onmessage: null, onclose: null, close: () => void (socket.closed = true) } as Socket & { path: string; closed: boolean };
        this.sockets.push(socket);
        return socket;
      },
      later: (ms, call) => {
        const timer = { at: this.time + ms, call };
        this.timers.push(timer);
        return () => void (this.timers = this.timers.filter((t) => t !== timer));
      },
      now: () => this.time,
      chance: () => 0.5,
    },
    (event) => this.seen.push(event.id),
    (c) => this.phases.push({ ...c }),
  );
  get socket() {
    return this.sockets[this.sockets.length - 1] as Socket & { path: string; closed: boolean };
  }
  say(id: string) {
    this.socket.onmessage?.({ data: JSON.stringify({ id, type: "task.state", data: {} }) });
  }
  async pass(ms: number) {
    this.time += ms;
    const due = this.timers.filter((t) => t.at <= this.time);
    this.timers = this.timers.filter((t) => t.at > this.time);
    for (const timer of due) timer.call();
    await Promise.resolve();
    await Promise.resolve();
  }
  async start() {
    this.stream.start();
    await this.pass(0);
    this.socket.onopen?.();
  }
}

describe("the stream", () => {
  it("opens with a ticket, and resumes by the last id after a break", async () => {
    const w = new World();
    await w.start();
    expect(w.socket.path).toBe("/events?ticket=t1");
    expect(w.stream.connection.phase).toBe("live");
    w.say("5-1");
    w.say("5-2");
    w.socket.onclose?.({ code: 1006, reason: "" });
    expect(w.stream.connection.phase).toBe("waiting");
    await w.pass(1000);
    expect(w.socket.path).toBe("/events?ticket=t2&after=5-2");
    expect(w.seen).toEqual(["5-1", "5-2"]);
  });
  it("backs off while the pool is away, and comes back at once when asked", async () => {
    const w = new World();
    await w.start();
    w.refuse = new Error("away");
    w.socket.onclose?.({ code: 1006, reason: "" });
    const waits: number[] = [];
    for (let i = 0; i < 8; i++) {
      waits.push((w.stream.connection.retryAt as number) - w.time);
      await w.pass(waits[i] as number);
    }
    for (let i = 1; i < waits.length; i++) expect(waits[i]).toBeGreaterThanOrEqual(waits[i - 1] as number);
    expect(w.stream.connection.text).toBe("away");
    w.refuse = null;
    w.stream.again();
    await w.pass(0);
    w.socket.onopen?.();
    expect(w.stream.connection).toMatchObject({ phase: "live", tries: 0 });
  });
  it("gives up on a socket that does not open", async () => {
    const w = new World();
    w.stream.start();
    await w.pass(0);
    const first = w.socket;
    await w.pass(15_000);
    expect(first.closed).toBe(true);
    expect(w.stream.connection.phase).toBe("waiting");
    first.onopen?.();
    expect(w.stream.connection.phase).toBe("waiting");
  });
  it("forgets everything when stopped: the next one may be somebody else", async () => {
    const w = new World();
    await w.start();
    w.say("5-9");
    w.stream.stop();
    expect(w.socket.closed).toBe(true);
    expect(w.timers.length).toBe(0);
    await w.start();
    expect(w.socket.path).toBe("/events?ticket=t2");
  });
  it("does not start twice", async () => {
    const w = new World();
    await w.start();
    w.stream.start();
    await w.pass(0);
    expect(w.sockets.length).toBe(1);
  });
  it("passes over frames that are none", async () => {
    const w = new World();
    await w.start();
    w.socket.onmessage?.({ data: "{" });
    w.socket.onmessage?.({ data: new ArrayBuffer(3) });
    expect(w.seen).toEqual([]);
  });
});

it("waits grow to a bound, and never are zero after the first", () => {
  for (const chance of [0, 0.5, 0.999]) {
    expect(backoff(0, chance)).toBeGreaterThanOrEqual(50);
    for (let tries = 1; tries < 100; tries++) {
      expect(backoff(tries, chance)).toBeGreaterThanOrEqual(500);
      expect(backoff(tries, chance)).toBeLessThanOrEqual(BACKOFF_MOST_MS);
    }
  }
});
