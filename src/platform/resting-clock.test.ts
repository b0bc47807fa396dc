import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "./clock.js";
import { RestingClock } from "./resting-clock.js";

/** A clock that passes when it is told, and at once where it is asked for a pause; it notes pauses and turns. */
class FakeClock implements Clock {
  readonly rests: number[] = [];
  turns = 0;
  cancelled = 0;
  /** Pauses that were asked for do not end by themselves. */
  standsStill = false;
  #now = 50;

  pass(ms: number): void {
    this.#now += ms;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return 1_000 + this.#now;
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    this.rests.push(delayMs);
    if (!this.standsStill) {
      this.#now += delayMs;
      run();
    }
    return { cancel: () => void this.cancelled++ };
  }

  every(): { cancel(): void } {
    throw new Error("nothing here is done again and again");
  }

  yield(): Promise<void> {
    this.turns++;
    return Promise.resolve();
  }
}

test("each slice of work is followed by a rest twice as long, until the rests are used up", async () => {
  const clock = new FakeClock();
  const resting = new RestingClock(clock, 25);
  clock.pass(5);
  await resting.yield();
  clock.pass(6);
  await resting.yield();
  assert.deepEqual(clock.rests, [10, 12]);
  clock.pass(7);
  await resting.yield();
  assert.deepEqual(clock.rests, [10, 12, 3], "what is left of them");
  assert.equal(clock.turns, 0);
  clock.pass(8);
  await resting.yield();
  assert.deepEqual([clock.rests.length, clock.turns], [3, 1], "then only the loop is given back");
});

test("a rest that is under way ends when somebody waits for the work", async () => {
  const clock = new FakeClock();
  const resting = new RestingClock(clock, 25);
  clock.standsStill = true;
  clock.pass(5);
  const rested = resting.yield();
  resting.endRests();
  await rested;
  assert.deepEqual([clock.rests, clock.cancelled], [[10], 1]);
  clock.pass(5);
  await resting.yield();
  assert.deepEqual([clock.rests.length, clock.turns], [1, 1]);
});

test("work that took no time, or whose rests were ended, gives the loop back and no more; the time is the world's", async () => {
  const clock = new FakeClock();
  const resting = new RestingClock(clock, 25);
  await resting.yield();
  clock.pass(5);
  resting.endRests();
  await resting.yield();
  assert.deepEqual([clock.rests, clock.turns], [[], 2]);
  assert.deepEqual([resting.now(), resting.wallNow()], [55, 1_055]);
});
