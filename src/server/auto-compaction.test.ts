import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingLog, SimClock } from "../../sim/index.js";
import { MvccError } from "../mvcc/errors.js";
import { type AutoCompaction, AutoCompactor } from "./auto-compaction.js";
import { RequestError } from "./errors.js";

const SECOND = 1_000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;

/** A member with a revision for each minute, or another unit of time, that has passed. */
class Play {
  readonly clock = new SimClock();
  readonly log = recordingLog();
  /** When each compaction was asked for, and at which revision. */
  readonly compactions: (readonly [at: number, revision: number])[] = [];
  leads = true;
  /** What the log says to the next compactions. */
  answer: () => Promise<unknown> = () => Promise.resolve();
  readonly #compactor: AutoCompactor;

  constructor(policy: AutoCompaction, unit = MINUTE) {
    this.#compactor = new AutoCompactor(
      {
        clock: this.clock,
        log: this.log,
        revision: () => 1 + Math.floor(this.clock.now() / unit),
        leads: () => this.leads,
        compact: (revision) => {
          this.compactions.push([this.clock.now() / unit, revision]);
          return this.answer();
        },
      },
      policy,
    );
  }

  get said(): readonly string[] {
    return this.log.lines.map(({ message }) => message);
  }

  /** The end of each play: no timer is left. */
  end(): void {
    this.#compactor.stop();
    assert.equal(this.clock.timers, 0);
  }
}

test("an hour is kept, and compacted once an hour, at what the revision was an hour and a sample before", async () => {
  const p = new Play({ mode: "periodic", retentionMs: HOUR });
  await p.clock.run(3 * HOUR);
  assert.deepEqual(p.compactions, [
    [60, 1],
    [120, 55],
    [180, 115],
  ]);
  p.end();
});

test("a longer retention is waited for once, then compacted each hour", async () => {
  const p = new Play({ mode: "periodic", retentionMs: 10 * HOUR });
  await p.clock.run(12 * HOUR);
  assert.deepEqual(p.compactions, [
    [600, 1],
    [660, 55],
    [720, 115],
  ]);
  p.end();
});

test("a shorter retention is the period", async () => {
  const p = new Play({ mode: "periodic", retentionMs: 5 * SECOND }, SECOND);
  await p.clock.run(15 * SECOND);
  assert.deepEqual(p.compactions, [
    [5, 1],
    [10, 5],
    [15, 10],
  ]);
  p.end();
});

test("a follower samples and does not compact; when it leads it compacts at once what is old enough", async () => {
  const p = new Play({ mode: "periodic", retentionMs: HOUR });
  p.leads = false;
  await p.clock.run(5 * HOUR);
  assert.deepEqual(p.compactions, []);
  p.leads = true;
  await p.clock.run(6 * MINUTE);
  assert.deepEqual(p.compactions, [[306, 241]]);
  p.end();
});

test("a compaction that fails is tried again at the next sample; the window moves on meanwhile", async () => {
  const p = new Play({ mode: "periodic", retentionMs: HOUR });
  p.answer = () => Promise.reject(new RequestError("SERVER_TIMEOUT", "no answer"));
  await p.clock.run(66 * MINUTE);
  p.answer = () => Promise.resolve();
  await p.clock.run(6 * MINUTE + 60 * MINUTE);
  assert.deepEqual(p.compactions, [
    [60, 1],
    [66, 1],
    [72, 7],
    [132, 67],
  ]);
  const [, failed] = p.log.lines;
  assert.equal(failed?.message, "failed auto periodic compaction");
  assert.equal(failed?.fields["compact-period"], "1h0m0s");
  assert.equal(failed?.fields["retry-interval"], "6m0s");
  p.end();
});

test("what somebody else has compacted already counts as done", async () => {
  const p = new Play({ mode: "periodic", retentionMs: HOUR });
  p.answer = () => Promise.reject(new MvccError("MVCC_COMPACTED", "compacted at 90"));
  await p.clock.run(2 * HOUR);
  assert.deepEqual(
    p.compactions.map(([at]) => at),
    [60, 120],
  );
  assert.deepEqual(p.said.slice(0, 2), ["starting auto periodic compaction", "completed auto periodic compaction"]);
  p.end();
});

test("no second compaction begins while one is under way", async () => {
  const p = new Play({ mode: "periodic", retentionMs: HOUR });
  let settle: (value: unknown) => void = () => undefined;
  p.answer = () => new Promise((resolve) => (settle = resolve));
  await p.clock.run(3 * HOUR);
  assert.equal(p.compactions.length, 1);
  settle(undefined);
  p.answer = () => Promise.resolve();
  await p.clock.run(HOUR);
  assert.deepEqual(p.compactions[1], [240, 1 + 54], "the window stood still");
  p.end();
});

test("revisions are kept by number, looked at every five minutes, and each place is compacted once", async () => {
  const p = new Play({ mode: "revision", retentionRevisions: 10 }, 4 * MINUTE);
  await p.clock.run(40 * MINUTE);
  assert.deepEqual(p.compactions, [[10, 1]]);
  await p.clock.run(5 * MINUTE);
  assert.deepEqual(p.compactions[1], [11.25, 2]);
  p.end();

  const still = new Play({ mode: "revision", retentionRevisions: 10 }, MINUTE);
  await still.clock.run(20 * MINUTE);
  assert.deepEqual(
    still.compactions.map(([, revision]) => revision),
    [1, 6, 11],
  );
  still.leads = false;
  await still.clock.run(20 * MINUTE);
  assert.equal(still.compactions.length, 3);
  still.end();
});

test("without a new revision nothing is compacted twice; a failure is tried again", async () => {
  const p = new Play({ mode: "revision", retentionRevisions: 10 }, 30 * MINUTE);
  const revisions = (): readonly number[] => p.compactions.map(([, revision]) => revision);
  await p.clock.run(5 * HOUR + 29 * MINUTE);
  assert.deepEqual(revisions(), [1]);
  p.answer = () => Promise.reject(new RequestError("SERVER_NO_LEADER", "nobody leads"));
  await p.clock.run(MINUTE);
  p.answer = () => Promise.resolve();
  await p.clock.run(15 * MINUTE);
  assert.deepEqual(revisions(), [1, 2, 2]);
  assert.equal(p.log.lines.find(({ level }) => level === "warn")?.fields["retry-interval"], "5m0s");
  p.end();
});

test("a member that stops in the midst of a compaction says nothing more of it", async () => {
  const p = new Play({ mode: "periodic", retentionMs: SECOND }, SECOND);
  let fail: (error: unknown) => void = () => undefined;
  p.answer = () => new Promise((_, reject) => (fail = reject));
  await p.clock.run(SECOND);
  p.end();
  fail(new RequestError("SERVER_STOPPED", "the member is stopping"));
  await p.clock.run(0);
  assert.deepEqual(p.said, ["starting auto periodic compaction"]);
  assert.equal(p.clock.timers, 0);
});
