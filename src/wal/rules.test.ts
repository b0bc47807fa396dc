import assert from "node:assert/strict";
import { test } from "node:test";
import { EMPTY_BYTES } from "../base/bytes.js";
import type { Entry } from "../proto/raft.js";
import { RecordType } from "./encoder.js";
import { WalError, type WalErrorCode } from "./errors.js";
import { entries, entry, METADATA, ORIGIN, state, texts, World } from "./testing/fixture.js";
import { LogBuilder } from "./testing/log-builder.js";

const log = (): LogBuilder => new LogBuilder();
const confChange = (index: number, data: Uint8Array, type: 1 | 2 = 1): Entry => ({ type, term: 1, index, data });

/** What whole records may not say, and by which code they are refused. */
const refused: readonly (readonly [string, WalErrorCode, LogBuilder])[] = [
  ["a segment without a CRC record", "WAL_SEMANTIC", log().bareSegment().record(RecordType.metadata, METADATA)],
  ["a segment without metadata", "WAL_SEMANTIC", log().bareSegment().record(RecordType.crc).snapshot(0, 0)],
  ["metadata in the middle", "WAL_SEMANTIC", log().begin().record(RecordType.metadata, METADATA)],
  ["a CRC record in the middle", "WAL_SEMANTIC", log().begin().entry(entry(1)).record(RecordType.crc)],
  ["metadata of another member", "WAL_METADATA_CONFLICT", log().begin().segment(1, Uint8Array.of(1, 2))],
  ["a hole between entries", "WAL_SLICE_OUT_OF_RANGE", log().begin().entry(entry(1), entry(3))],
  ["a hole at the beginning", "WAL_SLICE_OUT_OF_RANGE", log().begin().entry(entry(2))],
  ["an entry of index 0", "WAL_SEMANTIC", log().begin().entry(entry(0))],
  [
    "an entry of term 0",
    "WAL_SEMANTIC",
    log()
      .begin()
      .entry(entry(1, "x", 0)),
  ],
  [
    "a falling term of entries",
    "WAL_SEMANTIC",
    log()
      .begin()
      .entry(entry(1, "a", 2), entry(2, "b", 1)),
  ],
  [
    "an unknown type of entry",
    "WAL_SEMANTIC",
    log()
      .begin()
      .record(RecordType.entry, Uint8Array.of(8, 9, 16, 1, 24, 1)),
  ],
  [
    "an entry with a tail",
    "WAL_SEMANTIC",
    log()
      .begin()
      .record(RecordType.entry, Uint8Array.of(8, 0, 16, 1, 24, 1, 40, 1)),
  ],
  [
    "an overwritten committed entry",
    "WAL_SEMANTIC",
    log()
      .begin()
      .entry(entry(1), entry(2))
      .state(state(2, 2))
      .entry(entry(2, "x", 2)),
  ],
  ["a configuration change without data", "WAL_SEMANTIC", log().begin().entry(confChange(1, EMPTY_BYTES))],
  [
    "an empty one that overwrites",
    "WAL_SEMANTIC",
    log()
      .begin()
      .entry(entry(1), entry(2), confChange(2, EMPTY_BYTES, 2)),
  ],
  ["a falling term", "WAL_SEMANTIC", log().begin().entry(entry(1)).state(state(2, 1)).state(state(1, 1))],
  ["a falling commit", "WAL_SEMANTIC", log().begin().entry(entry(1), entry(2)).state(state(1, 2)).state(state(1, 1))],
  [
    "a changed vote",
    "WAL_SEMANTIC",
    log()
      .begin()
      .state(state(1, 0, 1n))
      .state(state(1, 0, 2n)),
  ],
  [
    "a vote taken back",
    "WAL_SEMANTIC",
    log()
      .begin()
      .state(state(1, 0, 1n))
      .state(state(1, 0, 0n)),
  ],
  [
    "a state of term 0",
    "WAL_SEMANTIC",
    log()
      .begin()
      .state(state(0, 0, 1n)),
  ],
  ["a commit after the last entry", "WAL_SEMANTIC", log().begin().entry(entry(1)).state(state(1, 5))],
  [
    "a state with a tail",
    "WAL_SEMANTIC",
    log()
      .begin()
      .record(RecordType.state, Uint8Array.of(8, 1, 16, 1, 24, 0, 32, 1)),
  ],
  ["a snapshot record of noise", "WAL_SEMANTIC", log().begin().record(RecordType.snapshot, Uint8Array.of(255))],
];

for (const [what, code, builder] of refused) {
  test(`refused: ${what}`, async () => {
    const world = new World();
    builder.onto(world.disk);
    await assert.rejects(world.read(), (error) => {
      assert.ok(error instanceof WalError, String(error));
      assert.equal(error.code, code, error.message);
      assert.ok(error.segment !== undefined && error.offset !== undefined);
      assert.match(error.message, /\.wal, byte \d+: .*walnut wal verify/);
      return true;
    });
    world.assertAtRest();
  });
}

/** What looks odd and real members write. */
const accepted: readonly (readonly [string, string[], LogBuilder])[] = [
  [
    "a vote given later in a term",
    ["1/1 entry 1"],
    log()
      .begin()
      .state(state(1, 0, 0n))
      .state(state(1, 0, 2n))
      .entry(entry(1)),
  ],
  [
    "entries sent again after a change of leaders, committed ones too",
    ["1/1 entry 1", "2/1 entry 2", "3/2 new"],
    log()
      .begin()
      .entry(entry(1), entry(2), entry(3))
      .state(state(1, 2))
      .entry(entry(1), entry(2), entry(3, "new", 2))
      .state(state(2, 2)),
  ],
  [
    "an overwriting entry of a lower term than the one it replaces",
    ["1/1 entry 1", "2/2 b"],
    log()
      .begin()
      .entry(entry(1), entry(2, "a", 3))
      .state(state(3, 1))
      .entry(entry(2, "b", 2))
      .state(state(4, 1)),
  ],
  [
    "a joint configuration left by itself",
    ["1/1 entry 1", "2/1 "],
    log()
      .begin()
      .entry(entry(1), confChange(2, EMPTY_BYTES, 2)),
  ],
  [
    "entries without any state",
    ["1/1 entry 1", "2/4 late"],
    log()
      .begin()
      .entry(entry(1), entry(2, "late", 4)),
  ],
  [
    "a head without metadata's bytes",
    ["1/1 entry 1"],
    log().bareSegment().record(4).record(1).snapshot(0, 0).entry(entry(1)),
  ],
];

for (const [what, expected, builder] of accepted) {
  test(`accepted: ${what}`, async () => {
    const world = new World();
    builder.onto(world.disk);
    const contents = await world.read();
    assert.equal(contents.damagedTail, undefined);
    assert.deepEqual(texts(contents), expected);
  });
}

test("the state of a received snapshot may stand in front of its record, as etcd 3.4 wrote it", async () => {
  const world = new World();
  log()
    .begin()
    .entry(entry(1))
    .state(state(2, 100))
    .snapshot(100, 2)
    .entry(entry(101, "next", 2))
    .onto(world.disk);
  const contents = await world.read({ index: 100, term: 2 });
  assert.deepEqual(texts(contents), ["101/2 next"]);
  await assert.rejects(world.read(), { code: "WAL_SLICE_OUT_OF_RANGE" });
});

test("an entry below the snapshot that overwrites takes those above it along (etcd brings them back)", async () => {
  const world = new World();
  log()
    .begin()
    .entry(...entries(1, 11))
    .state(state(1, 4))
    .entry(entry(5, "new", 2))
    .state(state(2, 5))
    .snapshot(8, 2)
    .onto(world.disk);
  assert.deepEqual(texts(await world.read({ index: 8, term: 2 })), []);
});

test("a leader's snapshot in place of entries of another term takes those behind it along (etcd brings them back)", async () => {
  const world = new World();
  log()
    .begin()
    .entry(entry(1), entry(2), entry(3), entry(4), entry(5), entry(6))
    .state(state(1, 2))
    .snapshot(4, 3)
    .state(state(3, 4))
    .onto(world.disk);
  const { entries: left } = await world.read({ index: 4, term: 3 });
  assert.deepEqual(left, []);
  const { writer } = await world.open({ index: 4, term: 3 });
  await writer.save(state(3, 5), [entry(5, "new", 3)]);
  await writer.close();
  assert.deepEqual(texts(await world.read({ index: 4, term: 3 })), ["5/3 new"]);
  world.assertAtRest();
});

test("a snapshot of this member's own leaves the entries behind it", async () => {
  const world = new World();
  log()
    .begin()
    .entry(entry(1), entry(2), entry(3), entry(4), entry(5), entry(6))
    .state(state(1, 4))
    .snapshot(4, 1)
    .onto(world.disk);
  assert.deepEqual(texts(await world.read({ index: 4, term: 1 })), ["5/1 entry 5", "6/1 entry 6"]);
});

test("a log read from its middle has no state at first, and is read all the same", async () => {
  const world = new World();
  log()
    .begin()
    .entry(entry(1), entry(2))
    .state(state(1, 2))
    .segment(3)
    .entry(entry(3, "c", 5), entry(4, "d", 5))
    .snapshot(3, 5)
    .onto(world.disk);
  await world.disk.removeFile("/data/wal/0000000000000000-0000000000000000.wal");
  assert.deepEqual(texts(await world.read({ index: 3, term: 5 })), ["4/5 d"]);
});

test("entries whose term has no state belong to a save that was not complete: they are given up, and what they overwrote is back", async () => {
  const world = new World();
  log()
    .begin()
    .entry(entry(1), entry(2), entry(3))
    .state(state(1, 1))
    .entry(entry(2, "new", 2), entry(3, "new", 2))
    .onto(world.disk);
  const contents = await world.read(ORIGIN);
  assert.deepEqual(texts(contents), ["1/1 entry 1", "2/1 entry 2", "3/1 entry 3"]);
  assert.equal(contents.damagedTail?.kind, "incomplete-save");
  assert.equal(contents.damagedTail.highestIndexSeen, 3);
  const opened = await world.open();
  assert.equal(opened.contents.repaired?.changed, true);
  await opened.writer.close();
  assert.equal((await world.read()).damagedTail, undefined);
  world.assertAtRest();
});
