// sse.test.ts: server-sent events, however the bytes are split.
import { describe, expect, it } from "vitest";
import { LINE_MOST, SseParser, type Sse } from "../src/lib/sse";

const bytes = (text: string) => new TextEncoder().encode(text);

function whole(text: string, step: number): Sse[] {
  const parser = new SseParser(), all = bytes(text), found: Sse[] = [];
  for (let i = 0; i < all.length; i += step) found.push(...parser.push(all.subarray(i, i + step)));
  return found;
}

const STREAM = ': queued, position 3\r\n\r\ndata: {"a":"größe 🚢"}\n\nevent: error\ndata: one\ndata:two\n\ndata\n\nid: 4\nretry: 3\n\n:\n\ndata: [DONE]\r\n\r\n';
const WANTED: Sse[] = [{ comment: "queued, position 3" }, { event: undefined, data: '{"a":"größe 🚢"}' }, { event: "error", data: "one\ntwo" }, { event: undefined, data: "" }, { comment: "" }, { event: undefined, data: "[DONE]" }];

describe("a stream", () => {
  it("is the same however it is split", () => {
    for (let step = 1; step <= bytes(STREAM).length; step++) expect(whole(STREAM, step)).toEqual(WANTED);
  });
  it("tells an event when it is whole, not before", () => {
    const parser = new SseParser();
    expect(parser.push(bytes("data: x\n"))).toEqual([]);
    expect(parser.push(bytes("\n"))).toEqual([{ event: undefined, data: "x" }]);
  });
  it("with lone CRs works, too", () => expect(whole("data: a\r\rdata: b\r\r", 3)).toEqual([{ event: undefined, data: "a" }]));
  it("with a line that does not end is given up", () => {
    const parser = new SseParser(), part = bytes("x".repeat(1 << 20));
    expect(() => {
      for (let i = 0; i <= LINE_MOST >> 20; i++) parser.push(part);
    }).toThrow(RangeError);
  });
  it("of any bytes does not throw", () => {
    let seed = 1;
    for (let round = 0; round < 200; round++) {
      const parser = new SseParser(), data = new Uint8Array(64);
      for (let i = 0; i < data.length; i++) data[i] = (seed = (seed * 1103515245 + 12345) >>> 0) >>> 24;
      expect(Array.isArray(parser.push(data))).toBe(true);
    }
  });
});
