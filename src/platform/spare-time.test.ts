import assert from "node:assert/strict";
import { test } from "node:test";
import { SpareTime } from "./spare-time.js";
import { PassingClock } from "./testing/passing-clock.js";

test("the next slice follows at once where nobody else has work, and rests where others have", async () => {
  const clock = new PassingClock();
  const spare = new SpareTime(clock);
  assert.equal(spare.isOver, false);
  clock.pass(3);
  assert.equal(spare.isOver, true);
  await spare.rest();
  assert.equal(spare.isOver, false);
  assert.deepEqual(clock.pauses, []);
  clock.turnMs = 1.5;
  clock.pass(2);
  await spare.rest();
  assert.deepEqual(clock.pauses, [16], "a ninth of the time");
  assert.equal(spare.isOver, false);
});

test("work that waited for others in between rests for what it took of the loop", async () => {
  const clock = new PassingClock();
  const spare = new SpareTime(clock);
  clock.turnMs = 1.5;
  clock.pass(100);
  await spare.restFrom(0.5);
  assert.deepEqual(clock.pauses, [4]);
  await new SpareTime(clock, 3).restFrom(0.5);
  assert.deepEqual(clock.pauses, [4, 1.5]);
});
