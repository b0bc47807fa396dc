import assert from "node:assert/strict";
import { test } from "node:test";
import { SimClock } from "../../sim/index.js";
import { EMPTY_BYTES } from "../base/bytes.js";
import { CATCH_UP_HELD_BYTES_MIN, CATCH_UP_HELD_MS_MAX, MESSAGE_ENTRY_BYTES_MAX } from "../base/limits.js";
import { EntryType, MessageType, type Message } from "../proto/raft.js";
import { CatchUpPace } from "./catch-up-pace.js";

const LEADER = 1n;
const VOTER = 2n;
const LEARNER = 3n;

function message(type: MessageType, to: bigint, index: number, bytes = 0): Message {
  const entry = { type: EntryType.normal, term: 1, index: index + 1, data: new Uint8Array(bytes) };
  return {
    type,
    to,
    from: LEADER,
    term: 1,
    logTerm: 1,
    index,
    entries: bytes === 0 ? [] : [entry],
    commit: 0,
    vote: 0n,
    snapshot: undefined,
    reject: false,
    rejectHint: 0,
    context: EMPTY_BYTES,
    responses: [],
  };
}

const append = (to: bigint, index: number, bytes = MESSAGE_ENTRY_BYTES_MAX): Message =>
  message(MessageType.append, to, index, bytes);
const appends = (to: bigint, from: number, count: number): Message[] =>
  Array.from({ length: count }, (_, i) => append(to, from + i));

function fixture(): {
  readonly clock: SimClock;
  readonly pace: CatchUpPace;
  readonly learners: Set<bigint>;
  /** The indexes of what left for this member. */
  readonly leftFor: (id: bigint) => number[];
} {
  const clock = new SimClock();
  const learners = new Set([LEARNER]);
  const left: Message[] = [];
  const pace = new CatchUpPace({
    clock,
    isLearner: (id) => learners.has(id),
    send: (messages) => left.push(...messages),
  });
  return { clock, pace, learners, leftFor: (id) => left.filter(({ to }) => to === id).map(({ index }) => index) };
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, i) => from + i);

test("what a learner lacks leaves evenly and in order; nobody else's messages wait behind it", () => {
  const { clock, pace, leftFor } = fixture();
  pace.send([...appends(LEARNER, 0, 100), ...appends(VOTER, 0, 100), message(MessageType.heartbeat, LEARNER, 777)]);
  assert.deepEqual(leftFor(VOTER), range(0, 100));
  assert.deepEqual(leftFor(LEARNER), [0, 777]);
  clock.advance(CATCH_UP_HELD_MS_MAX / 2);
  assert.equal(pace.isHolding(LEARNER), true);
  const half = leftFor(LEARNER).length;
  assert.ok(half >= 49 && half <= 54, `${half} of 101 have left after half of the time`);
  clock.advance(CATCH_UP_HELD_MS_MAX / 2);
  assert.deepEqual(
    leftFor(LEARNER).filter((index) => index !== 777),
    range(0, 100),
  );
  assert.deepEqual([clock.timers, pace.isHolding(LEARNER)], [0, false]);
});

test("what comes meanwhile goes behind what is held, and does not put off the end", () => {
  const { clock, pace, leftFor } = fixture();
  pace.send(appends(LEARNER, 0, 50));
  for (let second = 0; second < CATCH_UP_HELD_MS_MAX / 1000; second++) {
    pace.send(appends(LEARNER, 50 + 10 * second, 10));
    const held = 50 + 10 * (second + 1) - leftFor(LEARNER).length;
    assert.ok(held <= 50, `${held} messages are held, 50 were at first`);
    clock.advance(1000);
  }
  assert.deepEqual(leftFor(LEARNER), range(0, leftFor(LEARNER).length));
  assert.equal(leftFor(LEARNER).length, 50 + (10 * CATCH_UP_HELD_MS_MAX) / 1000);
  assert.equal(clock.timers, 0);
  pace.send([append(LEARNER, 1_000)]);
  assert.equal(leftFor(LEARNER).at(-1), 1_000, "and then nothing is held any more");
});

test("what an ordinary moment brings is not held, nor is anything for a voter", () => {
  const { clock, pace, leftFor } = fixture();
  pace.send([append(LEARNER, 0)]);
  const many = (4 * CATCH_UP_HELD_BYTES_MIN) / MESSAGE_ENTRY_BYTES_MAX;
  pace.send(appends(VOTER, 0, many));
  assert.deepEqual(leftFor(LEARNER), [0]);
  assert.equal(leftFor(VOTER).length, many);
  assert.equal(clock.timers, 0);
});

test("a learner that becomes a voter gets at once what is held for it, in its order, and from then on all", () => {
  const { clock, pace, learners, leftFor } = fixture();
  pace.send(appends(LEARNER, 0, 10));
  learners.delete(LEARNER);
  pace.release(LEARNER);
  assert.deepEqual(leftFor(LEARNER), range(0, 10));
  assert.equal(clock.timers, 0);
  pace.send(appends(LEARNER, 10, 10));
  pace.release(LEARNER);
  assert.deepEqual(leftFor(LEARNER), range(0, 20));
});

test("what was given up never leaves, and no timer is left behind", () => {
  const { clock, pace, learners, leftFor } = fixture();
  learners.add(4n);
  pace.send([...appends(LEARNER, 0, 10), ...appends(4n, 0, 10)]);
  pace.drop(LEARNER);
  assert.equal(clock.timers, 1);
  pace.dropAll();
  assert.equal(clock.timers, 0);
  clock.advance(CATCH_UP_HELD_MS_MAX);
  assert.deepEqual([leftFor(LEARNER), leftFor(4n)], [[0], [0]]);
});
