import assert from "node:assert/strict";
import { test } from "node:test";
import { inspect } from "node:util";
import fc from "fast-check";
import { Compare, DeleteRangeRequest, PutRequest, RangeRequest, type RequestOp, TxnRequest } from "../proto/index.js";
import { checkDeleteRange, checkPut, checkRange, checkTxn } from "./checks.js";
import { ApiError } from "./errors.js";

const bytes = (text: string): Uint8Array => Buffer.from(text, "latin1");
const put = (key: string): RequestOp => ({
  request: { $case: "requestPut", value: PutRequest.create({ key: bytes(key) }) },
});
const del = (key: string, end = ""): RequestOp => ({
  request: { $case: "requestDeleteRange", value: DeleteRangeRequest.create({ key: bytes(key), rangeEnd: bytes(end) }) },
});
const get = (key: string): RequestOp => ({
  request: { $case: "requestRange", value: RangeRequest.create({ key: bytes(key) }) },
});
const txn = (success: RequestOp[], failure: RequestOp[] = []): RequestOp => ({
  request: { $case: "requestTxn", value: { compare: [], success, failure } },
});

function verdict(check: () => void): string {
  try {
    check();
    return "ok";
  } catch (error) {
    if (error instanceof ApiError) return error.code;
    throw error;
  }
}
const txnVerdict = (success: RequestOp[], failure: RequestOp[] = []): string =>
  verdict(() => checkTxn({ compare: [], success, failure }, 128));

test("an empty key is refused everywhere, and before anything else", () => {
  const value = bytes("v");
  assert.equal(
    verdict(() => checkRange(RangeRequest.create({ rangeEnd: value }))),
    "API_EMPTY_KEY",
  );
  assert.equal(
    verdict(() => checkPut(PutRequest.create({ value, ignoreValue: true }))),
    "API_EMPTY_KEY",
  );
  assert.equal(
    verdict(() => checkDeleteRange(DeleteRangeRequest.create())),
    "API_EMPTY_KEY",
  );
  const compare = [Compare.create()];
  assert.equal(
    verdict(() => checkTxn(TxnRequest.create({ compare }), 128)),
    "API_EMPTY_KEY",
  );
  assert.equal(txnVerdict([get("a"), put("")]), "API_EMPTY_KEY");
  assert.equal(txnVerdict([], [del("")]), "API_EMPTY_KEY");
});

test("a put that is to keep its value or lease may bring none", () => {
  const key = bytes("k");
  const check = (fields: Partial<PutRequest>): string =>
    verdict(() => checkPut({ ...PutRequest.create({ key }), ...fields }));
  assert.equal(check({ ignoreValue: true, ignoreLease: true }), "ok");
  assert.equal(check({ ignoreValue: true, value: key }), "API_VALUE_PROVIDED");
  assert.equal(check({ ignoreLease: true, lease: 1n }), "API_LEASE_PROVIDED");
  assert.equal(check({ ignoreLease: true, ignoreValue: true, value: key, lease: 1n }), "API_VALUE_PROVIDED");
});

test("a sort target that there is none of is refused; any order passes, as with etcd", () => {
  const key = bytes("k");
  const check = (sortOrder: number, sortTarget: number): string =>
    verdict(() => checkRange({ ...RangeRequest.create({ key }), sortOrder, sortTarget } as RangeRequest));
  for (const order of [-1, 0, 1, 2, 3]) for (const target of [0, 1, 2, 3, 4]) assert.equal(check(order, target), "ok");
  for (const target of [-1, 5]) assert.equal(check(0, target), "API_INVALID_SORT");
});

test("operations are counted in the longest list; a nested transaction has what its outer one leaves", () => {
  const many = (count: number): RequestOp[] => Array.from({ length: count }, () => get("a"));
  assert.equal(txnVerdict(many(128), many(128)), "ok");
  assert.equal(txnVerdict(many(129)), "API_TOO_MANY_OPERATIONS");
  assert.equal(txnVerdict([], many(129)), "API_TOO_MANY_OPERATIONS");
  const compare = Array.from({ length: 129 }, () => Compare.create({ key: bytes("k") }));
  assert.equal(
    verdict(() => checkTxn(TxnRequest.create({ compare }), 128)),
    "API_TOO_MANY_OPERATIONS",
  );
  assert.equal(txnVerdict([txn(many(127))]), "ok");
  assert.equal(txnVerdict([txn(many(128))]), "API_TOO_MANY_OPERATIONS");
  assert.equal(txnVerdict([get("a"), txn([txn(many(125))])]), "ok");
  assert.equal(txnVerdict([get("a"), txn([txn(many(126))])]), "API_TOO_MANY_OPERATIONS");
});

test("an operation with nothing in it is told as etcd tells it", () => {
  assert.equal(txnVerdict([{ request: undefined }]), "KEY_NOT_FOUND");
});

test("a key is written once in a transaction", () => {
  const cases: [RequestOp[], string][] = [
    [[put("a"), put("b")], "ok"],
    [[put("a"), put("a")], "API_DUPLICATE_KEY"],
    [[put("a"), del("a")], "API_DUPLICATE_KEY"],
    [[del("a"), put("a")], "API_DUPLICATE_KEY"],
    [[del("a"), del("a", "z")], "ok"],
    [[put("b"), del("a", "c")], "API_DUPLICATE_KEY"],
    [[put("c"), del("a", "c")], "ok"],
    [[put("a\0"), del("a")], "ok"],
    [[put("b"), del("a", "b"), del("c", "d")], "ok"],
    [[put("b"), del("c", "d"), del("a", "z")], "API_DUPLICATE_KEY"],
    // etcd's check does not know "from the key on", nor ends before their beginning.
    [[put("b"), del("a", "\0")], "ok"],
    [[put("b"), del("c", "a")], "ok"],
    [[get("a"), put("a"), get("a")], "ok"],
    // Nested ones.
    [[txn([put("a")], [put("a")])], "ok"],
    [[txn([put("a")], [put("a")]), put("a")], "API_DUPLICATE_KEY"],
    [[txn([put("a")]), txn([put("a")])], "API_DUPLICATE_KEY"],
    [[txn([put("a")]), txn([], [put("a")])], "API_DUPLICATE_KEY"],
    [[txn([put("a"), put("a")])], "API_DUPLICATE_KEY"],
    [[txn([del("a")]), put("a")], "API_DUPLICATE_KEY"],
    [[del("a", "c"), txn([], [put("b")])], "API_DUPLICATE_KEY"],
    [[txn([del("a")]), txn([put("a")])], "API_DUPLICATE_KEY"],
    // The order counts: a nested put is not held against a delete in a later nested transaction.
    [[txn([put("a")]), txn([del("a")])], "ok"],
    [[txn([del("a")], [put("a")])], "ok"],
  ];
  for (const [operations, expected] of cases) {
    assert.equal(txnVerdict(operations), expected, inspect(operations, { depth: 9 }));
    assert.equal(txnVerdict([], operations), expected);
  }
});

test("ranges of deletes cover what they cover one by one, in whatever order they come", () => {
  const key = fc.string({ unit: fc.constantFrom("a", "b", "c"), minLength: 1, maxLength: 2 });
  const range = fc.tuple(key, fc.oneof(fc.constant(""), key));
  fc.assert(
    fc.property(fc.array(range, { maxLength: 8 }), key, (ranges, key) => {
      const covered = ranges.some(([begin, end]) => (end === "" ? key === begin : begin <= key && key < end));
      const operations = [put(key), ...ranges.map(([begin, end]) => del(begin, end))];
      assert.equal(txnVerdict(operations), covered ? "API_DUPLICATE_KEY" : "ok");
    }),
    { numRuns: 2000 },
  );
});

test("4,000 nested puts among 4,000 nested deletes are checked without a quadratic effort", () => {
  const nested = Array.from({ length: 62 }, (_, outer) =>
    txn(
      Array.from({ length: 64 }, (_, inner) =>
        inner % 2 === 0 ? put(`p${outer}-${inner}`) : del(`d${outer}-${inner}`),
      ),
    ),
  );
  assert.equal(txnVerdict(nested), "ok");
});
