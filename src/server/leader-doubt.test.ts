import assert from "node:assert/strict";
import { test } from "node:test";
import { LeaderDoubt } from "./leader-doubt.js";

const TICK_MS = 100;

test("a leader whose loop stood still is in doubt at once, before the next tick comes, until a majority confirms it", () => {
  const doubt = new LeaderDoubt(TICK_MS);
  assert.equal(doubt.holds(50_000), false); // it has not begun
  doubt.onTick(1_000);
  assert.equal(doubt.holds(1_300), false);
  assert.equal(doubt.holds(1_301), true);
  doubt.onTick(5_000);
  doubt.onTick(5_100);
  assert.equal(doubt.holds(5_100), true);
  doubt.onConfirmed();
  assert.equal(doubt.holds(5_100), false);
});
