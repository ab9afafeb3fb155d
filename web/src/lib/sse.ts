// sse.ts: server-sent events out of bytes as they come: a character, a line or an event may be split anywhere. Comments are told, too: they say what happens
// while one waits.

export interface Sse {
  event?: string;
  data?: string;
  comment?: string;
}

export const LINE_MOST = 4 << 20;

export class SseParser {
  private decoder = new TextDecoder("utf-8");
  private rest = "";
  private name: string | undefined;
  private data: string[] = [];

  // What these bytes complete. Throws RangeError on a line that never ends.
  push(bytes: Uint8Array): Sse[] {
    return this.take(this.decoder.decode(bytes, { stream: true }));
  }

  private take(text: string): Sse[] {
    const found: Sse[] = [];
    // A CR at the end may be half of CR LF: it waits for what follows.
    let all = this.rest + text, held = "";
    if (all.endsWith("\r")) {
      all = all.slice(0, -1);
      held = "\r";
    }
    const lines = all.split(/\r\n|\n|\r/);
    this.rest = (lines.pop() ?? "") + held;
    if (this.rest.length > LINE_MOST) throw new RangeError("a line that does not end");
    for (const line of lines) this.line(line, found);
    return found;
  }

  private line(line: string, found: Sse[]): void {
    if (line === "") {
      if (this.data.length) found.push({ event: this.name, data: this.data.join("\n") });
      this.name = undefined;
      this.data = [];
      return;
    }
    const at = line.indexOf(":"), field = at < 0 ? line : line.slice(0, at);
    const value = at < 0 ? "" : line.slice(at + 1).replace(/^ /, "");
    if (field === "") found.push({ comment: value });
    else if (field === "data") this.data.push(value);
    else if (field === "event") this.name = value;
  }
}
