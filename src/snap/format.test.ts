import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { equalBytes } from "../base/bytes.js";
import { encodeSnapshotEnvelope } from "../proto/wal.js";
import type { Snapshot } from "../proto/raft.js";
import {
  decodeSnapshotFile,
  encodeSnapshotFile,
  parseDatabaseName,
  parseSnapshotName,
  snapshotName,
} from "./format.js";
import { SnapshotError } from "./errors.js";
import { GOLDEN_NAME, goldenSnapshot, REPOSITORY } from "./testing/golden.js";

const PATH = "/snap/x.snap";

function snapshotOf(size: number): Snapshot {
  return {
    data: new Uint8Array(size).map((_, i) => (i * 31) >> 3),
    metadata: {
      confState: {
        voters: [1n, 2n ** 64n - 1n],
        learners: [5n],
        votersOutgoing: [],
        learnersNext: [],
        autoLeave: false,
      },
      index: 123_456_789_012,
      term: 7,
    },
  };
}

test("a snapshot file by real etcd reads, and is written again byte for byte", () => {
  const golden = goldenSnapshot();
  const snapshot = decodeSnapshotFile(golden, PATH);
  assert.deepEqual(parseSnapshotName(GOLDEN_NAME), { name: GOLDEN_NAME, term: 3, index: 22 });
  assert.equal(snapshot.metadata.term, 3);
  assert.equal(snapshot.metadata.index, 22);
  assert.deepEqual(snapshot.metadata.confState.voters, [0x2e1259d415f2a040n]);
  assert.deepEqual(snapshot.metadata.confState.learners, [0x186e785a513d40d7n]);
  assert.ok(equalBytes(encodeSnapshotFile(snapshot), golden));
});

for (const [what, bytes] of [
  ["of 4 KB", encodeSnapshotFile(snapshotOf(4000))],
  ["by real etcd", goldenSnapshot()],
] as const) {
  test(`every flipped bit of a snapshot file ${what} is refused by name, with file and offset`, () => {
    const codes = new Map<string, number>();
    for (let bit = 0; bit < bytes.length * 8; bit++) {
      const damaged = bytes.slice();
      damaged[bit >> 3]! ^= 1 << (bit & 7);
      const code = refusal(damaged);
      codes.set(code, (codes.get(code) ?? 0) + 1);
    }
    let sum = 0;
    for (const count of codes.values()) sum += count;
    assert.equal(sum, bytes.length * 8);
    assert.ok(codes.get("SNAP_CRC_MISMATCH")! > (bytes.length - 20) * 8);
  });

  test(`every cut of a snapshot file ${what} is refused by name`, () => {
    for (let size = 0; size < bytes.length; size++) refusal(bytes.subarray(0, size));
  });

  test(`zeroed sectors and bytes behind the end of a snapshot file ${what} are refused by name`, () => {
    for (let at = 0; at < bytes.length; at += 512) refusal(bytes.slice().fill(0, at, at + 512));
    for (const extra of [0, 1, 8, 0x12]) refusal(Uint8Array.of(...bytes, extra));
  });
}

/** The code with which bytes are refused; fails when they are not, or without place. */
function refusal(bytes: Uint8Array): string {
  try {
    decodeSnapshotFile(bytes, PATH);
  } catch (error) {
    assert.ok(error instanceof SnapshotError, String(error));
    assert.match(error.message, /\/snap\/x\.snap: .*(offset \d+|\[\d+, \d+\))/);
    return error.code;
  }
  return assert.fail("damage went unnoticed");
}

test("an envelope whose snapshot cannot be read is malformed, not a crash", () => {
  const bytes = encodeSnapshotFile(snapshotOf(10));
  assert.throws(() => decodeSnapshotFile(encodeSnapshotEnvelope({ crc: 1, data: new Uint8Array(0) }), PATH), {
    code: "SNAP_EMPTY",
  });
  assert.throws(() => decodeSnapshotFile(encodeSnapshotEnvelope({ crc: 0, data: bytes }), PATH), {
    code: "SNAP_EMPTY",
  });
});

test("names carry term and index, and nothing else is a name", () => {
  assert.equal(snapshotName(2, 0x16), "0000000000000002-0000000000000016.snap");
  for (const name of ["db", "x.snap", "0000000000000002-0000000000000016.snap.broken", "0000000000000016.snap.db"]) {
    assert.equal(parseSnapshotName(name), undefined);
  }
  assert.equal(parseSnapshotName("ffffffffffffffff-0000000000000016.snap"), undefined);
  assert.equal(parseDatabaseName("0000000000000016.snap.db"), 22);
  assert.equal(parseDatabaseName("16.snap.db"), undefined);
});

test("the hex example in docs/formats/snap.md is what the code reads and writes", () => {
  const page = readFileSync(join(REPOSITORY, "docs/formats/snap.md"), "utf8");
  const dump = /```hex\n([^`]+)```/.exec(page)![1]!;
  const bytes = Uint8Array.from(
    dump
      .split("\n")
      .flatMap((line) => line.replace(/#.*/, "").match(/[0-9a-f]{2}/g) ?? [])
      .map((pair) => parseInt(pair, 16)),
  );
  const snapshot = decodeSnapshotFile(bytes, PATH);
  assert.deepEqual(snapshot, {
    data: Uint8Array.of(0x7b, 0x7d),
    metadata: {
      confState: { voters: [1n], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false },
      index: 22,
      term: 3,
    },
  });
  assert.ok(equalBytes(encodeSnapshotFile(snapshot), bytes));
});
