// chat.test.ts: an answer as it comes, with every way it may break.
import { describe, expect, it } from "vitest";
import { begin, blocks, close, figures, stop, take, type Answer } from "../src/lib/chat";
import { byUse, canChat, enginesByWorker, shownState } from "../src/lib/models";
import type { Sse } from "../src/lib/sse";

const chunk = (content: string, more: object = {}): Sse => ({ data: JSON.stringify({ model: "m", choices: [{ index: 0, delta: { content }, finish_reason: null }], ...more }) });
const all = (parts: Sse[], step = 100): Answer => parts.reduce((a, part, i) => take(a, part, 1000 + (i + 1) * step), begin(1000));

describe("an answer", () => {
  it("comes word by word and is measured", () => {
    const a = close(all([{ data: JSON.stringify({ choices: [{ delta: { role: "assistant" } }] }) }, chunk("Hel"), chunk("lo"), chunk("!"), { data: JSON.stringify({ choices: [{ delta: {}, finish_reason: "stop" }] }) }, { data: "[DONE]" }]));
    expect(a).toMatchObject({ phase: "done", text: "Hello!", finish: "stop", model: "m" });
    // The role is no word: the first token is what stands in the second part.
    expect(figures(a, 9999)).toEqual({ ttft: 200, tokens: 3, exact: false, rate: 10 });
  });
  it("takes the engine's own count over the parts", () => {
    const a = all([chunk("a"), chunk("b"), { data: JSON.stringify({ choices: [], usage: { prompt_tokens: 7, completion_tokens: 21 } }) }, { data: "[DONE]" }]);
    expect(figures(a, 9999)).toMatchObject({ tokens: 21, exact: true, rate: 200 });
    expect(a.usage?.prompt).toBe(7);
  });
  it("goes down in speed while nothing comes", () => {
    const a = all([chunk("a"), chunk("b")]);
    expect(figures(a, 1200).rate).toBeGreaterThan(figures(a, 5000).rate as number);
  });
  it("waits in a queue, and says where and why", () => {
    let a = all([{ comment: "waiting position 3 (another model has the device)" }]);
    expect(a).toMatchObject({ phase: "waiting", position: 3, note: "another model has the device" });
    a = take(a, { comment: "" }, 2000);
    expect(a.position).toBe(3);
    a = take(a, { comment: "waiting position 1 (its engine is starting)" }, 2000);
    expect(a).toMatchObject({ position: 1, note: "its engine is starting" });
    a = take(a, { comment: "waiting for the first token" }, 2500);
    expect(a).toMatchObject({ position: null, note: "for the first token" });
    a = take(a, chunk("x"), 3000);
    expect(a).toMatchObject({ phase: "writing", position: null, note: null });
    expect(take(a, { comment: "waiting position 9 (x)" }, 3100).position).toBeNull();
  });
  it("tells thoughts apart", () => expect(all([{ data: JSON.stringify({ choices: [{ delta: { reasoning_content: "hm" } }] }) }, chunk("a")])).toMatchObject({ thought: "hm", text: "a" }));
  it("of a completion has its words, too", () => expect(all([{ data: JSON.stringify({ choices: [{ text: "x" }] }) }]).text).toBe("x"));
});

describe("what breaks", () => {
  it("an error event is an error, what came before stays", () => {
    const a = all([chunk("half"), { event: "error", data: JSON.stringify({ error: { message: "the engine died", code: "engine.died" } }) }, chunk("more"), { data: "[DONE]" }]);
    expect(a).toMatchObject({ phase: "failed", text: "half" });
    expect(a.error?.message).toBe("the engine died");
    expect(close(a).error?.code).toBe("engine.died");
  });
  it("a stream without [DONE] broke off", () => {
    expect(close(all([chunk("half")]))).toMatchObject({ phase: "failed", text: "half" });
    expect(close(begin(0)).phase).toBe("failed");
  });
  it("nonsense is an error, never an exception", () => {
    for (const data of ["{", "3", "null", "[]", '"x"']) expect(all([{ data }]).phase).toBe("failed");
    for (const data of ['{"choices":3}', '{"choices":[null]}', '{"choices":[{"delta":3}]}', '{"choices":[{"delta":{"content":{}}}]}', '{"usage":{"prompt_tokens":"x"},"choices":[]}', "{}"]) expect(all([{ data }])).toMatchObject({ text: "", error: null });
  });
  it("stopped by hand is no failure", () => {
    const a = stop(all([chunk("half")]));
    expect(close(a)).toMatchObject({ phase: "stopped", text: "half", error: null });
    expect(take(a, chunk("x"), 1).text).toBe("half");
  });
});

it("figures of nothing are unknown", () => expect(figures(begin(0), 100)).toEqual({ ttft: null, tokens: 0, exact: false, rate: null }));

it("blocks of code are told apart, also one that is still open", () => {
  expect(blocks("a\n\n```js\nx <b>\n```\nb")).toEqual([{ code: false, text: "a" }, { code: true, text: "x <b>" }, { code: false, text: "b" }]);
  expect(blocks("```\nopen")).toEqual([{ code: true, text: "open" }]);
  expect(blocks("")).toEqual([]);
});

describe("models", () => {
  it("ready but not in memory are swapped out; unknown is not", () => {
    expect(shownState({ state: "ready", resident: false })).toBe("swapped");
    expect(shownState({ state: "ready", resident: null })).toBe("ready");
    expect(shownState({ state: "cold", resident: false })).toBe("cold");
  });
  it("come by use", () => expect([{ name: "c", state: "cold" }, { name: "b", state: "ready" }, { name: "a", state: "ready", resident: false }].sort(byUse).map((m) => m.name)).toEqual(["b", "a", "c"]));
  it("that only embed are not talked to", () => expect([canChat({ name: "e", state: "ready", tasks: ["embedding"] }), canChat({ name: "u", state: "ready" })]).toEqual([false, true]));
  it("are told by worker, too", () => {
    const by = enginesByWorker([{ name: "a", state: "ready", workers: [{ worker: "w1", state: "ready" }, { worker: "w2", state: "cold" }] }, { name: "b", state: "cold", workers: [{ worker: "w1", state: "cold" }] }, { name: "c", state: "away" }]);
    expect([...by].map(([w, engines]) => [w, engines.map((e) => e.model)])).toEqual([["w1", ["a", "b"]], ["w2", ["a"]]]);
  });
});
