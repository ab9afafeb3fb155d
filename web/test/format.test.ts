// format.test.ts: what is not known is never shown as 0.
import { describe, expect, it } from "vitest";
import { ago, bytes, clock, decimal, duration, integer, percent, plural, shortId } from "../src/lib/format";

describe("unknown", () => {
  it("is unavailable", () => {
    for (const format of [bytes, integer, decimal, percent, duration]) for (const value of [null, undefined, NaN, Infinity]) expect(format(value)).toBe("unavailable");
    expect(ago(null, 0)).toBe("unavailable");
    expect(ago("nonsense", 0)).toBe("unavailable");
    expect(clock(undefined, 0)).toBe("unavailable");
  });
  it("is not zero, and zero is not unknown", () => expect([bytes(0), integer(0), percent(0), duration(0)]).toEqual(["0 B", "0", "0 %", "0 ms"]));
});

it("bytes", () => expect([1, 1023, 1024, 1536, 1048000, 1 << 30, 64.5 * 2 ** 30, 139 * 2 ** 30, 2 ** 50].map(bytes)).toEqual(["1 B", "1023 B", "1 KiB", "1.5 KiB", "1023 KiB", "1 GiB", "64.5 GiB", "139 GiB", "1 PiB"]));
it("bytes never show 1024 of a unit", () => expect(bytes(1048575)).toBe("1 MiB"));
it("durations", () => expect([0.4, 4.888, 830, 4200, 9960, 59_400, 60_000, 185_000, 3_600_000, 7_800_000, 90_000_000].map(duration)).toEqual(["0.4 ms", "4.9 ms", "830 ms", "4.2 s", "10 s", "59 s", "1 min", "3 min 5 s", "1 h", "2 h 10 min", "1 d 1 h"]));
it("integers", () => expect([5, 1234, 1234567].map(integer)).toEqual(["5", "1\u2009234", "1\u2009234\u2009567"]));
it("ago", () => {
  const now = Date.parse("2026-11-21T12:00:00Z");
  expect(["2026-11-21T12:00:00Z", "2026-11-21T11:59:30Z", "2026-11-21T11:00:00Z", "2026-11-18T12:00:00Z", "2026-11-21T12:03:00Z"].map((t) => ago(t, now))).toEqual(["just now", "30 s ago", "1 h ago", "3 d ago", "in 3 min"]);
});
it("ids and plurals", () => {
  expect(shortId("task_00000000000000000000000012345678")).toBe("12345678");
  expect([plural(1, "slot"), plural(0, "slot"), plural(2, "entry", "entries")]).toEqual(["1 slot", "0 slots", "2 entries"]);
});
