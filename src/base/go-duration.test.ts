import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { formatDuration, parseDuration } from "./go-duration.js";

test("durations are printed as Go prints them", () => {
  const printed: readonly (readonly [milliseconds: number, text: string])[] = [
    [0, "0s"],
    [1e-6, "1ns"],
    [0.0015, "1.5µs"],
    [0.5, "500µs"],
    [1, "1ms"],
    [20.125, "20.125ms"],
    [999.999999, "999.999999ms"],
    [1000, "1s"],
    [1500, "1.5s"],
    [60_000, "1m0s"],
    [90_500, "1m30.5s"],
    [3_600_000, "1h0m0s"],
    [36_061_001, "10h1m1.001s"],
    [-1500, "-1.5s"],
  ];
  for (const [milliseconds, text] of printed) assert.equal(formatDuration(milliseconds), text);
});

test("what is printed is read as the same duration, to the nanosecond", () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1e15 }), (nanoseconds) => {
      const read = parseDuration(formatDuration(nanoseconds / 1e6))!;
      assert.ok(Math.abs(read * 1e6 - nanoseconds) < 1, `${nanoseconds} became ${read * 1e6}`);
    }),
  );
});
