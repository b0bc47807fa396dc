import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";
import {
  Compare_CompareResult as Result,
  Compare_CompareTarget as Target,
  RangeRequest_SortOrder as Order,
  RangeRequest_SortTarget as SortBy,
  type RangeResponse,
  type TxnResponse,
} from "../proto/generated/etcdserverpb/kv.js";
import { applyCompaction, applyDeleteRange, applyPut, applyRange, applyTxn, isReadOnlyTxn } from "./requests.js";
import { showKeyValue, storeFixture, type StoreFixture } from "./testing/fixture.js";
import { compare, deleteRequest, op, putRequest, rangeRequest, txnRequest } from "./testing/requests.js";

/** a, b, c, d with one put each at 2, 3, 4, 5; then b again at 6 and a again at 7 and 8. */
async function filled(t: TestContext): Promise<StoreFixture> {
  const seven = {
    has: (lease: bigint) => lease === 7n,
    holdsKeys: false,
    attach: () => true,
    detach: () => undefined,
  };
  const s = await storeFixture(t, { store: { leases: seven } });
  for (const key of ["a", "b", "c", "d"]) s.put(key, `${key}1`);
  s.put("b", "b2");
  s.put("a", "a2");
  s.put("a", "a3", 7n);
  return s;
}

function keysOf({ kvs, more, count }: RangeResponse): string {
  const keys = kvs.map(({ key }) => Buffer.from(key).toString("latin1")).join("");
  return `${keys}${more ? "+" : ""} of ${count}`;
}

test("the ends of a range mean what they mean to etcd", async (t) => {
  const { store } = await filled(t);
  const answers: readonly (readonly [string, string, string])[] = [
    ["a", "", "a of 1"],
    ["x", "", " of 0"],
    ["a", "c", "ab of 2"],
    ["b", "\0", "bcd of 3"],
    ["\0", "\0", "abcd of 4"],
    ["c", "b", " of 0"],
    ["b", "b", " of 0"],
    ["b", "b\0", "b of 1"],
    ["a", "\xff", "abcd of 4"],
  ];
  for (const [key, end, expected] of answers) {
    assert.equal(keysOf(applyRange(store, rangeRequest(key, end))), expected, JSON.stringify([key, end]));
  }
});

test("a limit cuts after sorting and filtering, and says that there are more; the count counts all", async (t) => {
  const { store } = await filled(t);
  const ask = (rest: Parameters<typeof rangeRequest>[2]): string =>
    keysOf(applyRange(store, rangeRequest("a", "z", rest)));
  assert.equal(ask({ limit: 2 }), "ab+ of 4");
  assert.equal(ask({ limit: 4 }), "abcd of 4");
  assert.equal(ask({ limit: -1 }), "abcd of 4");
  assert.equal(ask({ countOnly: true }), " of 4");
  assert.equal(ask({ countOnly: true, limit: 1 }), " of 4");
  assert.equal(ask({ sortOrder: Order.DESCEND, limit: 2 }), "dc+ of 4");
  assert.equal(ask({ sortOrder: Order.ASCEND, sortTarget: SortBy.MOD }), "cdba of 4");
  assert.equal(ask({ sortOrder: Order.DESCEND, sortTarget: SortBy.VERSION }), "abcd of 4");
  assert.equal(ask({ sortOrder: Order.DESCEND, sortTarget: SortBy.CREATE, limit: 1 }), "d+ of 4");
  assert.equal(ask({ sortOrder: Order.DESCEND, sortTarget: SortBy.VALUE }), "dcba of 4");
  assert.equal(ask({ sortTarget: SortBy.MOD, limit: 2 }), "cb+ of 4", "one more than the limit is sorted");
  assert.equal(ask({ minModRevision: 5 }), "abd of 4");
  assert.equal(ask({ maxModRevision: 5 }), "cd of 4");
  assert.equal(ask({ minCreateRevision: 3, maxCreateRevision: 4 }), "bc of 4");
  assert.equal(ask({ minModRevision: 5, limit: 1 }), "a+ of 4");
  assert.equal(ask({ revision: 3 }), "ab of 2");
  assert.equal(ask({ revision: -1 }), "abcd of 4");
});

test("keys only means empty values, and all the rest", async (t) => {
  const { store } = await filled(t);
  const { kvs, header } = applyRange(store, rangeRequest("a", "", { keysOnly: true }));
  assert.deepEqual(kvs.map(showKeyValue), ["a= 2/8/3 lease 7"]);
  assert.deepEqual(header, { clusterId: 0n, memberId: 0n, revision: 8, raftTerm: 0 });
});

test("a put answers the pair before it when asked, and may keep value or lease", async (t) => {
  const s = await filled(t);
  const { prevKv, header } = applyPut(s.store, putRequest("a", "a4", { prevKv: true }));
  assert.equal(showKeyValue(prevKv!), "a=a3 2/8/3 lease 7");
  assert.equal(header!.revision, 9);
  applyPut(s.store, putRequest("b", "", { ignoreValue: true, lease: 7n }));
  applyPut(s.store, putRequest("b", "b3", { ignoreLease: true }));
  assert.deepEqual(s.show({ key: "b", end: undefined }), ["b=b3 3/11/4 lease 7"]);
  assert.equal(applyPut(s.store, putRequest("new", "", { prevKv: true })).prevKv, undefined);
});

test("a put that cannot be done changes nothing", async (t) => {
  const { store } = await filled(t);
  const refused: readonly (readonly [Parameters<typeof putRequest>[2], string])[] = [
    [{ lease: 8n }, "LEASE_NOT_FOUND"],
    [{ ignoreValue: true }, "KEY_NOT_FOUND"],
    [{ ignoreLease: true }, "KEY_NOT_FOUND"],
    [{ ignoreValue: true, lease: 8n }, "LEASE_NOT_FOUND"],
  ];
  for (const [rest, code] of refused) assert.throws(() => applyPut(store, putRequest("new", "", rest)), { code });
  assert.equal(store.revision, 8);
});

test("a deletion counts, and answers the pairs before it when asked", async (t) => {
  const { store } = await filled(t);
  const { deleted, prevKvs, header } = applyDeleteRange(store, deleteRequest("b", "d", true));
  assert.equal(deleted, 2);
  assert.deepEqual(prevKvs.map(showKeyValue), ["b=b2 3/6/2", "c=c1 4/4/1"]);
  assert.equal(header!.revision, 9);
  assert.deepEqual(applyDeleteRange(store, deleteRequest("b", "d", true)), {
    header: { clusterId: 0n, memberId: 0n, revision: 9, raftTerm: 0 },
    deleted: 0,
    prevKvs: [],
  });
});

test("compares decide as etcd's do, over one key, none or a span", async (t) => {
  const { store } = await filled(t);
  const holds = (...parts: Parameters<typeof compare>): boolean =>
    applyTxn(store, txnRequest({ compare: [compare(...parts)] })).succeeded;
  const version = (value: number) => ({ $case: "version" as const, value });
  const value = (text: string) => ({ $case: "value" as const, value: Buffer.from(text) });
  assert.equal(holds(Target.VERSION, Result.EQUAL, version(3), "a"), true);
  assert.equal(holds(Target.VERSION, Result.NOT_EQUAL, version(3), "a"), false);
  assert.equal(holds(Target.VERSION, Result.EQUAL, version(0), "x"), true, "a key that is not there has version 0");
  assert.equal(holds(Target.VERSION, Result.GREATER, version(0), "a", "z"), true);
  assert.equal(holds(Target.VERSION, Result.GREATER, version(1), "a", "z"), false, "all of the span must hold");
  assert.equal(holds(Target.VERSION, Result.GREATER, version(1), "a", "c"), true);
  assert.equal(holds(Target.VALUE, Result.EQUAL, value("a3"), "a"), true);
  assert.equal(holds(Target.VALUE, Result.LESS, value("b"), "a"), true);
  assert.equal(holds(Target.VALUE, Result.NOT_EQUAL, value("y"), "x"), false, "a value that is not there never holds");
  assert.equal(holds(Target.VALUE, Result.EQUAL, undefined, "x"), false);
  assert.equal(holds(Target.CREATE, Result.EQUAL, { $case: "createRevision", value: 3 }, "b"), true);
  assert.equal(holds(Target.MOD, Result.LESS, { $case: "modRevision", value: 6 }, "b"), false);
  assert.equal(holds(Target.LEASE, Result.EQUAL, { $case: "lease", value: 7n }, "a"), true);
  assert.equal(holds(Target.LEASE, Result.EQUAL, undefined, "b"), true, "no operand is zero");
  assert.equal(holds(Target.MOD, Result.GREATER, version(100), "b"), true, "an operand of another kind is zero");
  assert.equal(holds(Target.VERSION, Result.EQUAL, version(0), "x", "\0"), true);
});

test("a transaction's operations see those before them, its compares and checks do not", async (t) => {
  const s = await filled(t);
  const response = applyTxn(
    s.store,
    txnRequest({
      compare: [compare(Target.VERSION, Result.EQUAL, { $case: "version", value: 1 }, "c")],
      success: [
        op.put("c", "c2"),
        op.range("c"),
        op.txn({
          compare: [compare(Target.VERSION, Result.EQUAL, { $case: "version", value: 1 }, "c")],
          success: [op.delete("d"), op.range("a", "\0", { countOnly: true })],
          failure: [op.put("wrong")],
        }),
        op.range("c", "", { revision: 8 }),
      ],
      failure: [op.put("wrong")],
    }),
  );
  assert.deepEqual(tell(response), [
    "succeeded at 9",
    "put at 9",
    "range at 9: c=c2 4/9/2",
    "  succeeded at 0",
    "  delete 1 at 9",
    "  range at 9:  (3)",
    "range at 9: c=c1 4/4/1",
  ]);
});

test("a transaction that only reads answers the revision as it is, and counts as a read", async (t) => {
  const { store } = await filled(t);
  const request = txnRequest({ success: [op.range("a"), op.range("b", "", { revision: 3 })] });
  assert.equal(isReadOnlyTxn(request), true);
  assert.deepEqual(tell(applyTxn(store, request)), [
    "succeeded at 8",
    "range at 8: a=a3 2/8/3 lease 7",
    "range at 8: b=b1 3/3/1",
  ]);
  assert.equal(isReadOnlyTxn(txnRequest({ success: [op.txn({ success: [op.range("a")] })] })), false);
  assert.equal(isReadOnlyTxn(txnRequest({ success: [op.range("a")], failure: [op.delete("a")] })), false);
});

test("a transaction that deletes nothing uses no revision", async (t) => {
  const { store } = await filled(t);
  assert.deepEqual(tell(applyTxn(store, txnRequest({ success: [op.delete("x"), op.range("x")] }))), [
    "succeeded at 8",
    "delete 0 at 8",
    "range at 8: ",
  ]);
  assert.equal(store.revision, 8);
});

test("a mistake anywhere in a transaction is told before anything is changed", async (t) => {
  const s = await filled(t);
  await s.compact(4);
  const mistakes: readonly (readonly [ReturnType<typeof op.put>, string])[] = [
    [op.put("n", "", { lease: 8n }), "LEASE_NOT_FOUND"],
    [op.put("n", "", { ignoreValue: true }), "KEY_NOT_FOUND"],
    [op.put("n", "", { ignoreLease: true, lease: 8n }), "KEY_NOT_FOUND"],
    [op.range("a", "", { revision: 9 }), "MVCC_FUTURE_REVISION"],
    [op.range("a", "", { revision: 3 }), "MVCC_COMPACTED"],
    [op.range("a", "", { revision: -5 }), "MVCC_COMPACTED"],
  ];
  for (const [mistake, code] of mistakes) {
    for (const operation of [mistake, op.txn({ success: [op.put("m"), mistake] })]) {
      assert.throws(() => applyTxn(s.store, txnRequest({ success: [op.put("k"), operation] })), { code });
    }
    applyTxn(s.store, txnRequest({ success: [op.range("a")], failure: [mistake] })); // the branch not taken is not checked
  }
  const both = txnRequest({ success: [op.range("a", "", { revision: 99 }), op.put("n", "", { lease: 8n })] });
  assert.throws(() => applyTxn(s.store, both), { code: "LEASE_NOT_FOUND" }, "puts are checked before ranges");
  assert.equal(s.store.revision, 8);
  assert.equal(s.store.range({ key: "k", end: undefined }).count, 0);
});

test("a put that keeps the value of a key deleted before it in the same transaction is refused; etcd dies of it", async (t) => {
  const s = await filled(t);
  const keep = op.put("a", "", { ignoreValue: true });
  const refused = [
    [op.delete("a"), keep],
    [op.txn({ success: [op.delete("\0", "\0")] }), op.txn({ success: [keep] })],
    [op.delete("a", "c"), op.txn({ success: [op.range("x"), keep] })],
  ];
  for (const success of refused) {
    assert.throws(() => applyTxn(s.store, txnRequest({ success })), { code: "KEY_NOT_FOUND" });
  }
  assert.equal(s.store.revision, 8);
  applyTxn(s.store, txnRequest({ success: [op.delete("b"), keep] }));
  applyTxn(s.store, txnRequest({ success: [op.delete("a"), op.put("a", "again"), keep] }));
  assert.deepEqual(s.show({ key: "a", end: undefined }), ["a=again 10/10/2"]);
});

test("a compaction answers the revision, and refuses what is compacted or not there yet", async (t) => {
  const s = await filled(t);
  const { response, finished } = applyCompaction(s.store, { revision: 5, physical: true });
  assert.equal(response.header!.revision, 8);
  await s.during(finished);
  assert.throws(() => applyCompaction(s.store, { revision: 5, physical: false }), { code: "MVCC_COMPACTED" });
  assert.throws(() => applyCompaction(s.store, { revision: 9, physical: false }), { code: "MVCC_FUTURE_REVISION" });
  assert.throws(() => applyRange(s.store, rangeRequest("a", "", { revision: 4 })), { code: "MVCC_COMPACTED" });
});

test("a compaction at revision 0 is accepted once, as in etcd", async (t) => {
  const s = await filled(t);
  assert.throws(() => applyCompaction(s.store, { revision: -1, physical: false }), { code: "MVCC_COMPACTED" });
  await s.during(applyCompaction(s.store, { revision: 0, physical: true }).finished);
  assert.throws(() => applyCompaction(s.store, { revision: 0, physical: false }), { code: "MVCC_COMPACTED" });
});

/** A transaction's answer in lines. */
function tell({ succeeded, header, responses }: TxnResponse): string[] {
  const lines = [`${succeeded ? "succeeded" : "failed"} at ${header!.revision}`];
  for (const { response } of responses) {
    switch (response?.$case) {
      case "responsePut":
        lines.push(`put at ${response.value.header!.revision}`);
        break;
      case "responseDeleteRange":
        lines.push(`delete ${response.value.deleted} at ${response.value.header!.revision}`);
        break;
      case "responseRange": {
        const { kvs, count, header } = response.value;
        const counted = count === kvs.length ? "" : ` (${count})`;
        lines.push(`range at ${header!.revision}: ${kvs.map(showKeyValue).join(", ")}${counted}`);
        break;
      }
      case "responseTxn":
        lines.push(...tell(response.value).map((line) => `  ${line}`));
        break;
      case undefined:
        lines.push("nothing");
    }
  }
  return lines;
}
