import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SimDisk } from "../../sim/index.js";
import { PIECE_BYTES } from "../base/limits.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import { RangeRequest, type RangeResponse } from "../proto/generated/etcdserverpb/kv.js";
import { rangePieces } from "./range-stream.js";
import {
  bytesOf,
  putRequest,
  rangeRequest,
  type RunningMember,
  startMember,
  stopMember,
  textOf,
  timePassesUntil,
  worldOf,
} from "./testing/fixture.js";

const REVISION = 9;

/** A store of some keys, whose revision is 9 at first and grows with each read. */
function readerOf(keys: readonly string[], valueBytes = 10): (request: RangeRequest) => Promise<RangeResponse> {
  let revision = REVISION;
  return ({ key, rangeEnd, limit, countOnly, revision: asked }) => {
    assert.ok(asked === REVISION || revision === REVISION, "all pieces are of the first one's revision");
    const from = textOf(key);
    const end = textOf(rangeEnd);
    const found = keys.filter((each) => (end === "" ? each === from : each >= from && (end === "\0" || each < end)));
    const kvs = countOnly ? [] : found.slice(0, limit > 0 ? limit : undefined).map((each) => pairOf(each, valueBytes));
    const header = { clusterId: 0n, memberId: 0n, revision: revision++, raftTerm: 0 };
    return Promise.resolve({ header, kvs, more: !countOnly && kvs.length < found.length, count: found.length });
  };
}

function pairOf(key: string, valueBytes: number): KeyValue {
  const value = new Uint8Array(valueBytes);
  return { key: bytesOf(key), value, createRevision: 2, modRevision: 2, version: 1, lease: 0n };
}

async function piecesOf(stream: AsyncIterable<RangeResponse>): Promise<RangeResponse[]> {
  const pieces: RangeResponse[] = [];
  for await (const piece of stream) pieces.push(piece);
  return pieces;
}

/** What a client makes of a stream. */
function joined(pieces: readonly RangeResponse[]): unknown {
  const { header, more, count } = pieces.at(-1)!;
  assert.ok(
    pieces.slice(0, -1).every((piece) => piece.header === undefined && !piece.more && piece.count === 0),
    "header, more and count come last",
  );
  return { keys: pieces.flatMap(({ kvs }) => kvs.map(({ key }) => textOf(key))), header, more, count };
}

test("the pieces of a stream are what a range answers", async () => {
  const arbitraryKeys = fc.uniqueArray(
    fc.string({ minLength: 1, maxLength: 3, unit: fc.constantFrom("a", "b", "\0") }),
    {
      maxLength: 40,
    },
  );
  const end = fc.constantFrom("", "\0", "b", "c", "ab");
  await fc.assert(
    fc.asyncProperty(arbitraryKeys, end, fc.nat(30), fc.boolean(), async (keys, rangeEnd, limit, countOnly) => {
      const stored = [...keys].sort();
      const request = RangeRequest.create({ key: bytesOf("a"), rangeEnd: bytesOf(rangeEnd), limit, countOnly });
      const whole = await readerOf(stored)(request);
      assert.deepEqual(joined(await piecesOf(rangePieces(request, readerOf(stored)))), joined([whole]));
    }),
  );
});

test("pieces grow while pairs are small, and come down to one pair that is larger than a piece", async () => {
  const keys = Array.from({ length: 300 }, (_, i) => `k${String(i).padStart(3, "0")}`);
  const all = RangeRequest.create({ key: bytesOf("k"), rangeEnd: bytesOf("l") });
  const sizes = async (valueBytes: number): Promise<number[]> =>
    (await piecesOf(rangePieces(all, readerOf(keys, valueBytes)))).map(({ kvs }) => kvs.length);
  assert.deepEqual(await sizes(10), [16, 32, 64, 128, 60]);
  const [first, ...rest] = await sizes(PIECE_BYTES);
  assert.equal(first, 16);
  assert.deepEqual(new Set(rest), new Set([1]));
});

test("nothing is read ahead of a client that does not ask", async () => {
  const read = readerOf(Array.from({ length: 100 }, (_, i) => `k${i}`));
  let reads = 0;
  const stream = rangePieces(RangeRequest.create({ key: bytesOf("k"), rangeEnd: bytesOf("l") }), (piece) => {
    reads++;
    return read(piece);
  });
  await stream.next();
  assert.equal(reads, 1);
  await stream.return(undefined);
  assert.equal(reads, 1);
});

async function memberWithKeys(count: number): Promise<RunningMember> {
  const m = await startMember(worldOf(new SimDisk()));
  for (let i = 0; i < count; i++) {
    await timePassesUntil(m, m.member.put(putRequest(`k${String(i).padStart(3, "0")}`, "1")));
  }
  return m;
}

const ALL = rangeRequest("k", { rangeEnd: bytesOf("l") });

test("a stream shows one revision, whatever is written meanwhile", async () => {
  const m = await memberWithKeys(40);
  const stream = m.member.rangeStream(ALL);
  const pieces: RangeResponse[] = [];
  for (;;) {
    const { done, value } = await timePassesUntil(m, stream.next());
    if (done === true) break;
    pieces.push(value);
    await timePassesUntil(m, m.member.put(putRequest("k039", "2")));
    await timePassesUntil(m, m.member.put(putRequest(`k999${pieces.length}`, "new")));
  }
  assert.ok(pieces.length > 1, `${pieces.length} pieces`);
  const kvs = pieces.flatMap((piece) => piece.kvs);
  assert.equal(kvs.length, 40);
  assert.ok(kvs.every(({ value }) => textOf(value) === "1"));
  assert.equal(pieces.at(-1)!.header?.revision, 41);
  assert.equal(pieces.at(-1)!.header?.memberId, m.member.memberId);
  assert.equal(pieces.at(-1)!.count, 40);
  await stopMember(m);
});

test("a compaction past its revision ends a stream with that error", async () => {
  const m = await memberWithKeys(40);
  const stream = m.member.rangeStream(ALL);
  await timePassesUntil(m, stream.next());
  await timePassesUntil(m, m.member.put(putRequest("k000", "2")));
  await timePassesUntil(m, m.member.compact({ revision: 42, physical: false }));
  await assert.rejects(timePassesUntil(m, stream.next()), { code: "MVCC_COMPACTED" });
  await stopMember(m);
});

test("a stream of a member that stops ends", async () => {
  const m = await memberWithKeys(40);
  const stream = m.member.rangeStream(ALL);
  await timePassesUntil(m, stream.next());
  await stopMember(m);
  await assert.rejects(stream.next(), { code: "SERVER_STOPPED" });
});
