import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvariantError } from "../base/errors.js";
import { Inflights } from "./inflights.js";
import { Progress } from "./progress.js";

function progressAt(match: number, next: number, messagesMax = 10): Progress {
  return new Progress(match, next, new Inflights(messagesMax, 0), false);
}

test("inflights behave as a queue with two limits", () => {
  const step = fc.oneof(
    fc.record({ bytes: fc.nat({ max: 30 }) }),
    fc.record({ free: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.constant("clear" as const),
  );
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.nat({ max: 100 }),
      fc.array(step),
      (messagesMax, bytesMax, steps) => {
        const inflights = new Inflights(messagesMax, bytesMax);
        let twin: { index: number; bytes: number }[] = [];
        let index = 0;
        for (const one of steps) {
          const sum = twin.reduce((total, { bytes }) => total + bytes, 0);
          const isFull = twin.length >= messagesMax || (bytesMax > 0 && sum >= bytesMax);
          assert.equal(inflights.isFull(), isFull);
          assert.equal(inflights.count, twin.length);
          assert.equal(inflights.bytes, sum);
          if (one === "clear") {
            inflights.clear();
            twin = [];
          } else if ("free" in one) {
            const to = Math.floor(one.free * (index + 1));
            inflights.freeTo(to);
            twin = twin.filter((sent) => sent.index > to);
          } else if (isFull) {
            assert.throws(() => inflights.add(index + 1, one.bytes), InvariantError);
          } else {
            index += 2;
            inflights.add(index, one.bytes);
            twin.push({ index, bytes: one.bytes });
          }
        }
      },
    ),
  );
});

test("a copy of inflights goes its own way", () => {
  const inflights = new Inflights(4, 0);
  inflights.add(1, 1);
  const copy = inflights.clone();
  copy.freeTo(1);
  assert.equal(inflights.count, 1);
  assert.equal(copy.count, 0);
});

test("a probe with entries goes out once; one without does not use it up", () => {
  const progress = progressAt(3, 4);
  progress.sentEntries(0, 0);
  assert.ok(!progress.isPaused());
  progress.sentEntries(2, 10);
  assert.ok(progress.isPaused());
  assert.equal(progress.next, 4, "nothing is sent ahead");
  assert.ok(progress.maybeUpdate(5));
  assert.ok(!progress.isPaused());
});

test("replication sends ahead until the window is full", () => {
  const progress = progressAt(3, 4, 2);
  progress.becomeReplicate();
  progress.sentEntries(2, 10);
  assert.equal(progress.next, 6);
  assert.ok(!progress.isPaused());
  progress.sentEntries(1, 10);
  assert.ok(progress.isPaused());
  assert.equal(progress.describe(), "StateReplicate match=3 next=7 paused inactive inflight=2[full]");
});

test("while a snapshot is on its way nothing is sent; afterwards the probe starts behind it", () => {
  const progress = progressAt(1, 2);
  progress.becomeSnapshot(10);
  assert.ok(progress.isPaused());
  assert.equal(progress.describe(), "StateSnapshot match=1 next=11 paused pendingSnap=10 inactive");
  assert.throws(() => progress.sentEntries(1, 1), InvariantError);
  progress.becomeProbe();
  assert.equal(progress.next, 11);
  progress.becomeSnapshot(20);
  progress.pendingSnapshot = 0; // it failed
  progress.becomeProbe();
  assert.equal(progress.next, 2);
});

test("old acknowledgements and old rejections change nothing", () => {
  const progress = progressAt(5, 9);
  assert.ok(!progress.maybeUpdate(5));
  assert.ok(!progress.maybeDecrease(7, 6), "not the probe that is out");
  progress.becomeReplicate();
  assert.ok(!progress.maybeDecrease(5, 4), "5 is known to match");
});

test("a rejection moves a probe to the hint, never behind what matches", () => {
  const progress = progressAt(5, 20);
  assert.ok(progress.maybeDecrease(19, 10));
  assert.equal(progress.next, 11);
  assert.ok(progress.maybeDecrease(10, 2));
  assert.equal(progress.next, 6);
});

test("the commit index is told once, and again when the message may have been lost", () => {
  const progress = progressAt(5, 10);
  progress.becomeReplicate();
  progress.sentEntries(4, 4);
  progress.sentCommit = 8;
  assert.ok(!progress.canBumpCommit(8));
  assert.ok(progress.canBumpCommit(9));
  progress.becomeProbe();
  assert.equal(progress.sentCommit, 5);
});

test("match stays below next whatever comes", () => {
  const step = fc.tuple(
    fc.constantFrom("update", "decrease", "probe", "replicate", "snapshot", "sent"),
    fc.nat({ max: 30 }),
    fc.nat({ max: 30 }),
  );
  fc.assert(
    fc.property(fc.array(step), (steps) => {
      const progress = progressAt(0, 1, 100);
      for (const [what, a, b] of steps) {
        if (what === "update") progress.maybeUpdate(a);
        else if (what === "decrease") progress.maybeDecrease(a, b);
        else if (what === "probe") progress.becomeProbe();
        else if (what === "replicate") progress.becomeReplicate();
        else if (what === "snapshot") progress.becomeSnapshot(Math.max(a, progress.match));
        else if (!progress.isPaused()) progress.sentEntries(a, b);
        assert.ok(progress.match < progress.next, `${progress.match} < ${progress.next} after ${what}`);
      }
    }),
  );
});
