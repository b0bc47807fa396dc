import assert from "node:assert/strict";
import test from "node:test";
import { HistoryError } from "./history.js";
import {
  fromEvents,
  fromRequest,
  fromResponse,
  refusalOf,
  type PutMessage,
  type RangeMessage,
  type TxnMessage,
} from "./messages.js";

const bytes = (text: string): Uint8Array => Uint8Array.from(text, (character) => character.charCodeAt(0));
const EMPTY = bytes("");
const header = { clusterId: 1n, memberId: 2n ** 63n, revision: 7, raftTerm: 3 };
const pair = { key: bytes("a"), value: bytes("\u00ff"), createRevision: 5, modRevision: 7, version: 2, lease: -1n };
const put: PutMessage = {
  key: bytes("a"),
  value: bytes("1"),
  lease: 9n,
  prevKv: true,
  ignoreValue: false,
  ignoreLease: false,
};
const range: RangeMessage = {
  key: bytes("a"),
  rangeEnd: bytes("\0"),
  limit: 3,
  revision: 0,
  sortOrder: 0,
  serializable: true,
  keysOnly: false,
  countOnly: false,
  minModRevision: 0,
  maxModRevision: 9,
  minCreateRevision: 0,
  maxCreateRevision: 0,
};

test("requests keep what says something and leave out the rest", () => {
  assert.deepEqual(fromRequest.put(put), { kind: "put", key: "a", value: "1", lease: "9", prevKv: true });
  assert.deepEqual(fromRequest.put({ ...put, lease: 0n, prevKv: false }), { kind: "put", key: "a", value: "1" });
  assert.deepEqual(fromRequest.range(range), {
    kind: "range",
    key: "a",
    end: "\0",
    limit: 3,
    serializable: true,
    maxModRevision: 9,
  });
  assert.deepEqual(fromRequest.delete({ key: bytes("a"), rangeEnd: EMPTY, prevKv: false }), {
    kind: "delete",
    key: "a",
  });
  assert.deepEqual(fromRequest.compact({ revision: 4, physical: true }), {
    kind: "compact",
    revision: 4,
    physical: true,
  });
  assert.deepEqual(fromRequest.hash({ revision: 0 }), { kind: "hash" });
});

test("a transaction keeps its compares, its branches and the nested ones", () => {
  const compare = (
    target: number,
    result: number,
    $case: string,
    value: number | bigint | Uint8Array,
  ): TxnMessage["compare"][number] => ({
    target,
    result,
    key: bytes("k"),
    rangeEnd: EMPTY,
    targetUnion: { $case, value },
  });
  const message: TxnMessage = {
    compare: [
      compare(0, 0, "version", 1),
      compare(1, 1, "createRevision", 2),
      compare(2, 2, "modRevision", 3),
      compare(3, 3, "value", bytes("v")),
      compare(4, 0, "lease", 5n),
      compare(0, 0, "value", bytes("v")), // an operand of another kind counts as zero
    ],
    success: [
      {
        request: {
          $case: "requestTxn",
          value: { compare: [], success: [], failure: [{ request: { $case: "requestPut", value: put } }] },
        },
      },
    ],
    failure: [
      { request: { $case: "requestRange", value: range } },
      { request: { $case: "requestDeleteRange", value: { key: bytes("b"), rangeEnd: bytes("c"), prevKv: true } } },
    ],
  };
  assert.deepEqual(fromRequest.txn(message), {
    kind: "txn",
    compares: [
      { key: "k", target: "version", result: "equal", operand: 1 },
      { key: "k", target: "create", result: "greater", operand: 2 },
      { key: "k", target: "mod", result: "less", operand: 3 },
      { key: "k", target: "value", result: "notEqual", operand: "v" },
      { key: "k", target: "lease", result: "equal", operand: "5" },
      { key: "k", target: "version", result: "equal", operand: 0 },
    ],
    success: [{ kind: "txn", compares: [], success: [], failure: [fromRequest.put(put)] }],
    failure: [fromRequest.range(range), { kind: "delete", key: "b", end: "c", prevKv: true }],
  });
});

test("answers keep every field, IDs as text", () => {
  const shown = { key: "a", value: "\u00ff", createRevision: 5, modRevision: 7, version: 2, lease: "-1" };
  const told = { revision: 7, clusterId: "1", memberId: "9223372036854775808", raftTerm: 3 };
  const rangeAnswer = { header, kvs: [pair], more: true, count: 4 };
  const expected = { kind: "range", header: told, kvs: [shown], more: true, count: 4 };
  assert.deepEqual(fromResponse.range(rangeAnswer), expected);
  assert.deepEqual(fromResponse.put({ header, prevKv: pair }), { kind: "put", header: told, prevKv: shown });
  assert.deepEqual(fromResponse.delete({ header, deleted: 1, prevKvs: [pair] }), {
    kind: "delete",
    header: told,
    deleted: 1,
    prevKvs: [shown],
  });
  const nested = { header: undefined, succeeded: false, responses: [] };
  assert.deepEqual(
    fromResponse.txn({
      header,
      succeeded: true,
      responses: [
        { response: { $case: "responseRange", value: rangeAnswer } },
        { response: { $case: "responseTxn", value: nested } },
      ],
    }),
    {
      kind: "txn",
      header: told,
      succeeded: true,
      responses: [expected, { kind: "txn", header: { revision: 0 }, succeeded: false, responses: [] }],
    },
  );
  assert.deepEqual(fromResponse.hash({ header, hash: 5, compactRevision: -1 }), {
    kind: "hash",
    header: told,
    hash: 5,
    compactRevision: -1,
  });
  assert.deepEqual(
    fromEvents(7, [
      { type: 0, kv: pair },
      { type: 1, kv: pair },
    ]),
    {
      revision: 7,
      changes: [
        { kind: "put", kv: shown },
        { kind: "delete", key: "a" },
      ],
    },
  );
});

test("what the model does not know is refused", () => {
  assert.throws(() => fromRequest.range({ ...range, sortOrder: 1 }), HistoryError);
  assert.throws(() => fromRequest.put({ ...put, ignoreValue: true }), HistoryError);
  assert.throws(() => fromRequest.put({ ...put, ignoreLease: true }), HistoryError);
});

test("only texts that rule out any effect are refusals", () => {
  assert.equal(refusalOf("etcdserver: mvcc: required revision has been compacted"), "compacted");
  assert.equal(refusalOf("etcdserver: mvcc: required revision is a future revision"), "future");
  assert.equal(refusalOf("etcdserver: too many requests"), "other");
  for (const open of [
    "etcdserver: request timed out",
    "etcdserver: leader changed",
    "14 UNAVAILABLE: Connection dropped",
    "",
  ]) {
    assert.equal(refusalOf(open), undefined, open);
  }
});
