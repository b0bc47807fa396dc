import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { DeadlineWheel, WheelEntry } from "./deadline-wheel.js";
import { ManualClock } from "./testing/manual-clock.js";

class Entry extends WheelEntry {
  toldAt: number | undefined;
  readonly #clock: ManualClock;

  constructor(clock: ManualClock) {
    super();
    this.#clock = clock;
  }

  override onDue(): void {
    assert.equal(this.toldAt, undefined, "told once");
    this.toldAt = this.#clock.now();
  }
}

test("every deadline is told, never early and soon after; those that are taken back are not", () => {
  const action = fc.record({
    delay: fc.oneof(fc.integer({ min: -100, max: 500 }), fc.integer({ min: 0, max: 200_000 })),
    cancelAfter: fc.option(fc.integer({ min: 0, max: 300 })),
    moveTo: fc.option(fc.integer({ min: 0, max: 400 })),
    pause: fc.integer({ min: 0, max: 120 }),
  });
  fc.assert(
    fc.property(fc.array(action, { maxLength: 30 }), (actions) => {
      const clock = new ManualClock();
      const wheel = new DeadlineWheel(clock);
      const all: { entry: Entry; due: number; cancelled: boolean }[] = [];
      for (const { delay, cancelAfter, moveTo, pause } of actions) {
        const entry = new Entry(clock);
        const record = { entry, due: clock.now() + delay, cancelled: false };
        all.push(record);
        wheel.set(entry, record.due);
        if (moveTo !== null) {
          record.due = clock.now() + moveTo;
          wheel.set(entry, record.due);
        }
        clock.advance(pause);
        if (cancelAfter !== null && entry.toldAt === undefined && cancelAfter <= pause) {
          wheel.cancel(entry);
          record.cancelled = true;
        }
      }
      clock.advance(250_000);
      for (const { entry, due, cancelled } of all) {
        if (cancelled) assert.equal(entry.toldAt, undefined);
        else {
          assert.ok(entry.toldAt! >= due, `${entry.toldAt} is before ${due}`);
        }
      }
      assert.equal(wheel.count, 0);
      clock.advance(100);
      assert.equal(clock.pending, 0, "no timer without an entry");
    }),
    { numRuns: 200 },
  );
});

test("a deadline is told within two grains of 50 ms", () => {
  const clock = new ManualClock();
  const wheel = new DeadlineWheel(clock);
  for (let delay = 0; delay < 300; delay += 7) {
    const entry = new Entry(clock);
    const due = clock.now() + delay;
    wheel.set(entry, due);
    clock.advance(delay + 110);
    assert.ok(entry.toldAt! - due <= 100, `${entry.toldAt! - due} ms late`);
    clock.advance(13);
  }
});

test("a server that stops keeps no timer", () => {
  const clock = new ManualClock();
  const wheel = new DeadlineWheel(clock);
  wheel.set(new Entry(clock), clock.now() + 1_000);
  wheel.stop();
  assert.equal(clock.pending, 0);
});
