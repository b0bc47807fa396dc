import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "./clock.js";
import { SpareTime } from "./spare-time.js";

/** A clock on which a turn of the others takes as long as it is told; it notes the pauses asked for. */
class FakeClock implements Clock {
  readonly pauses: number[] = [];
  turnMs = 0;
  #now = 0;

  pass(ms: number): void {
    this.#now += ms;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    this.pauses.push(delayMs);
    this.#now += delayMs;
    run();
    return { cancel: () => undefined };
  }

  every(): { cancel(): void } {
    throw new Error("nothing here is done again and again");
  }

  yield(): Promise<void> {
    this.#now += this.turnMs;
    return Promise.resolve();
  }
}

test("the next slice follows at once where nobody else has work, and rests where others have", async () => {
  const clock = new FakeClock();
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
  const clock = new FakeClock();
  const spare = new SpareTime(clock);
  clock.turnMs = 1.5;
  clock.pass(100);
  await spare.restFrom(0.5);
  assert.deepEqual(clock.pauses, [4]);
  await new SpareTime(clock, 3).restFrom(0.5);
  assert.deepEqual(clock.pauses, [4, 1.5]);
});
