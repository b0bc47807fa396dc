import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WireError } from "../../base/bytes.js";
import {
  type Compare,
  type DeleteRangeRequest,
  type PutRequest,
  RangeRequest,
  type RequestOp,
  TxnRequest,
  TxnResponse,
} from "../generated/etcdserverpb/kv.js";
import { InternalRaftRequest } from "../generated/etcdserverpb/raft_internal.js";
import { AnswerEncoder } from "./answers.js";
import { requestIdOf } from "../request-id.js";
import { decodeTxn, decodeTxnEntry, encodeTxnEntry } from "./txn.js";

const plainly = { noNullPrototype: true } as const;
const bytes = fc.oneof(
  { weight: 6, arbitrary: fc.uint8Array({ maxLength: 12 }) },
  { weight: 1, arbitrary: fc.constantFrom(127, 128, 20_000).map((size) => new Uint8Array(size).fill(7)) },
);
const number = fc.oneof(fc.nat(300), fc.constantFrom(0, 1, 127, 128, 2 ** 32, 2 ** 49 - 1));
const flag = fc.boolean();
const put: fc.Arbitrary<PutRequest> = fc.record(
  {
    key: bytes,
    value: bytes,
    lease: fc.constantFrom(0n, 7n, -1n, 2n ** 62n),
    prevKv: flag,
    ignoreValue: flag,
    ignoreLease: flag,
  },
  plainly,
);
const range = fc
  .record({ key: bytes, rangeEnd: bytes, limit: number, revision: number, serializable: flag, keysOnly: flag }, plainly)
  .map((fields) => RangeRequest.fromPartial(fields));
const deletion: fc.Arbitrary<DeleteRangeRequest> = fc.record({ key: bytes, rangeEnd: bytes, prevKv: flag }, plainly);
const operation: fc.Arbitrary<RequestOp> = fc.oneof(
  put.map((value): RequestOp => ({ request: { $case: "requestPut", value } })),
  range.map((value): RequestOp => ({ request: { $case: "requestRange", value } })),
  deletion.map((value): RequestOp => ({ request: { $case: "requestDeleteRange", value } })),
);
const targetUnion: fc.Arbitrary<Compare["targetUnion"]> = fc.oneof(
  fc.constant(undefined),
  number.map((value) => ({ $case: "version" as const, value })),
  number.map((value) => ({ $case: "createRevision" as const, value })),
  number.map((value) => ({ $case: "modRevision" as const, value })),
  bytes.map((value) => ({ $case: "value" as const, value })),
);
const compare = fc
  .record(
    {
      result: fc.constantFrom(0, 1, 2, 3),
      target: fc.constantFrom(0, 1, 2, 3),
      key: bytes,
      targetUnion,
      rangeEnd: fc.oneof(fc.constant(new Uint8Array()), bytes),
    },
    plainly,
  )
  .map((fields): Compare => fields);
const operations = fc.array(operation, { maxLength: 4 });
const txn: fc.Arbitrary<TxnRequest> = fc.record(
  { compare: fc.array(compare, { maxLength: 3 }), success: operations, failure: operations },
  plainly,
);
const id = fc.oneof(fc.bigInt({ min: 1n, max: 2n ** 64n - 1n }), fc.constantFrom(1n, 127n, 128n, 2n ** 63n));

/** Puts of 16 KB and more are the generated codec's. */
function isShort(request: TxnRequest): boolean {
  return [...request.success, ...request.failure].every(({ request: asked }) => {
    if (asked?.$case !== "requestPut") return true;
    return asked.value.key.length < 16_384 && asked.value.value.length < 16_384;
  });
}

test("a flat transaction decodes as the generated codec decodes it", () => {
  fc.assert(
    fc.property(txn, (request) => {
      const decoded = decodeTxn(TxnRequest.encode(request).finish());
      if (isShort(request)) assert.deepEqual(decoded, request);
      else assert.equal(decoded, undefined);
    }),
    { numRuns: 1000 },
  );
});

test("a transaction's entry is the bytes that the generated codec writes, and comes back", () => {
  fc.assert(
    fc.property(id, txn.filter(isShort), (requestId, request) => {
      const data = encodeTxnEntry(requestIdOf(requestId), TxnRequest.encode(request).finish());
      const header = { ID: requestId, username: "", authRevision: 0 };
      const generated = InternalRaftRequest.encode(InternalRaftRequest.fromPartial({ header, txn: request })).finish();
      assert.deepEqual(new Uint8Array(data), new Uint8Array(generated));
      assert.deepEqual(decodeTxnEntry(data), { id: requestIdOf(requestId), txn: request });
      const caller = { username: "alice", revision: 300 };
      const signed = encodeTxnEntry(requestIdOf(requestId), TxnRequest.encode(request).finish(), caller);
      assert.deepEqual(decodeTxnEntry(signed), { id: requestIdOf(requestId), caller, txn: request });
      const named = { ID: requestId, username: "alice", authRevision: 300 };
      const same = InternalRaftRequest.encode(
        InternalRaftRequest.fromPartial({ header: named, txn: request }),
      ).finish();
      assert.deepEqual(new Uint8Array(signed), new Uint8Array(same));
    }),
    { numRuns: 500 },
  );
});

test("what is known, cut and bent, the generated codec reads alike, and writes the same bytes", () => {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    byte: fc.nat(255),
    cut: fc.boolean(),
  });
  let read = 0;
  let refused = 0;
  fc.assert(
    fc.property(txn, fc.array(damage, { maxLength: 3 }), (request, damages) => {
      let encoded = new Uint8Array(TxnRequest.encode(request).finish());
      for (const { at, byte, cut } of damages) {
        const position = Math.floor(at * Math.min(encoded.length, 80));
        if (cut) encoded = encoded.slice(0, position);
        else encoded[position] = byte;
      }
      const found = decodeTxn(encoded);
      let generated: TxnRequest | undefined;
      try {
        generated = TxnRequest.decode(encoded);
      } catch (error) {
        assert.ok(error instanceof WireError, String(error));
        refused++;
      }
      if (found === undefined) return;
      read++;
      assert.deepEqual(found, generated);
      assert.deepEqual(new Uint8Array(TxnRequest.encode(found).finish()), encoded);
    }),
    { numRuns: 5000 },
  );
  assert.ok(read > 300, `${read} were read`);
  assert.ok(refused > 100, `${refused} were refused`);
});

test("nested transactions, compares of leases, sorts and entries of other kinds are left to the generated codec", () => {
  const others: Parameters<typeof TxnRequest.fromPartial>[0][] = [
    { success: [{ request: { $case: "requestTxn", value: {} } }] },
    { success: [{}] },
    { compare: [{ target: 4, key: Uint8Array.of(1), targetUnion: { $case: "lease", value: 1n } }] },
    { compare: [{ key: Uint8Array.of(1), targetUnion: { $case: "version", value: -1 } }] },
    { failure: [{ request: { $case: "requestRange", value: { key: Uint8Array.of(1), sortOrder: 1 } } }] },
  ];
  for (const fields of others)
    assert.equal(decodeTxn(TxnRequest.encode(TxnRequest.fromPartial(fields)).finish()), undefined);
  const entry = (fields: Parameters<typeof InternalRaftRequest.fromPartial>[0]): Uint8Array =>
    InternalRaftRequest.encode(InternalRaftRequest.fromPartial(fields)).finish();
  assert.equal(decodeTxnEntry(entry({ header: { ID: 5n }, compaction: { revision: 3 } })), undefined);
  const signed = entry({ header: { ID: 5n, username: "alice", authRevision: 2 }, txn: {} });
  assert.deepEqual(decodeTxnEntry(signed)?.caller, { username: "alice", revision: 2 });
  assert.equal(decodeTxnEntry(entry({ header: { ID: 5n, username: "é", authRevision: 2 }, txn: {} })), undefined);
  assert.equal(decodeTxnEntry(new Uint8Array()), undefined);
});

test("the answer to a transaction of puts is the bytes that the generated codec writes; others are left to it", () => {
  const inner = fc.record(
    { clusterId: fc.constant(0n), memberId: fc.constant(0n), revision: number, raftTerm: fc.constant(0) },
    plainly,
  );
  fc.assert(
    fc.property(number, flag, fc.array(inner, { maxLength: 5 }), flag, (revision, succeeded, headers, hasOther) => {
      const header = { clusterId: 3n, memberId: 2n ** 63n, revision, raftTerm: 2 };
      const responses: TxnResponse["responses"] = headers.map((of) => {
        return { response: { $case: "responsePut", value: { header: of, prevKv: undefined } } };
      });
      if (hasOther)
        responses.push({ response: { $case: "responseDeleteRange", value: { header, deleted: 1, prevKvs: [] } } });
      const response = { header, succeeded, responses };
      const answer = new AnswerEncoder(3n, 2n ** 63n).txn(header, response);
      if (hasOther || headers.some((of) => of.revision === 0)) assert.equal(answer, undefined);
      else assert.deepEqual(answer, TxnResponse.encode(response).finish());
    }),
  );
});
