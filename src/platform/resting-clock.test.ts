import assert from "node:assert/strict";
import { test } from "node:test";
import { RestingClock } from "./resting-clock.js";
import { PassingClock } from "./testing/passing-clock.js";

test("each slice of work is followed by a rest twice as long, until the rests are used up", async () => {
  const clock = new PassingClock();
  const resting = new RestingClock(clock, 25);
  clock.pass(5);
  await resting.yield();
  clock.pass(6);
  await resting.yield();
  assert.deepEqual(clock.pauses, [10, 12]);
  clock.pass(7);
  await resting.yield();
  assert.deepEqual(clock.pauses, [10, 12, 3], "what is left of them");
  assert.equal(clock.turns, 0);
  clock.pass(8);
  await resting.yield();
  assert.deepEqual([clock.pauses.length, clock.turns], [3, 1], "then only the loop is given back");
});

test("a rest that is under way ends when somebody waits for the work", async () => {
  const clock = new PassingClock();
  const resting = new RestingClock(clock, 25);
  clock.standsStill = true;
  clock.pass(5);
  const rested = resting.yield();
  resting.endRests();
  await rested;
  assert.deepEqual([clock.pauses, clock.cancelled], [[10], 1]);
  clock.pass(5);
  await resting.yield();
  assert.deepEqual([clock.pauses.length, clock.turns], [1, 1]);
});

test("work that took no time, or whose rests were ended, gives the loop back and no more; the time is the world's", async () => {
  const clock = new PassingClock();
  const resting = new RestingClock(clock, 25);
  await resting.yield();
  clock.pass(5);
  resting.endRests();
  await resting.yield();
  assert.deepEqual([clock.pauses, clock.turns], [[], 2]);
  assert.deepEqual([resting.now(), resting.wallNow()], [55, 1_055]);
});
