// Turns: places are lent once each, waiting is in order and bounded, who leaves is forgotten.
import assert from "node:assert/strict";
import test from "node:test";
import { Turns } from "../turns.mjs";

test("the place that fits best is lent, then the next", async () => {
    const turns = new Turns(["a", "b", "c"], 10);
    assert.equal(await turns.take(null, (place) => (place === "b" ? 5 : 1)), "b");
    assert.equal(await turns.take(null, (place) => (place === "b" ? 5 : 1)), "a");
    assert.equal(await turns.take(null), "c");
});

test("the others wait in order, and only so many", async () => {
    const turns = new Turns(["a"], 2), got = [];
    await turns.take();
    const first = turns.take().then((p) => got.push(["first", p])), second = turns.take().then((p) => got.push(["second", p]));
    assert.equal(turns.waiting, 2);
    await assert.rejects(turns.take(), (e) => e.status === 429 && e.code === "queue_full");
    turns.give("a");
    await first;
    turns.give("a");
    await second;
    assert.deepEqual(got, [["first", "a"], ["second", "a"]]);
});

test("who leaves while waiting takes nobody's turn", async () => {
    const turns = new Turns(["a"], 5), gone = new AbortController(), stays = new AbortController();
    await turns.take();
    const left = turns.take(gone.signal), next = turns.take(stays.signal);
    gone.abort(new Error("left"));
    await assert.rejects(left, /left/);
    assert.equal(turns.waiting, 1);
    turns.give("a");
    assert.equal(await next, "a");
    stays.abort(); // after its turn came: changes nothing here
    turns.give("a");
    assert.equal(await turns.take(), "a");
    await assert.rejects(turns.take(AbortSignal.abort(new Error("gone before"))), /gone before/);
});
