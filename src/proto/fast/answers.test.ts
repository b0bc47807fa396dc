import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PutResponse, RangeRequest, RangeResponse } from "../generated/etcdserverpb/kv.js";
import { AnswerEncoder } from "./answers.js";
import { decodeGet } from "./get.js";
import { encodeKeyValue } from "./key-value.js";

const id = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const number = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc.constantFrom(127, 128, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 53 - 1),
);
const bytes = fc.oneof(fc.uint8Array({ minLength: 1, maxLength: 200 }), fc.constant(new Uint8Array(20_000).fill(3)));
const pair = fc.record(
  {
    key: bytes,
    createRevision: number,
    modRevision: number,
    version: number,
    value: bytes,
    lease: fc.constantFrom(0n, 7n),
  },
  { noNullPrototype: true },
);

test("answers are the bytes that the generated codecs write, whatever came before them", () => {
  fc.assert(
    fc.property(
      id,
      id,
      fc.array(fc.tuple(number, number, fc.option(pair, { nil: undefined })), { minLength: 1 }),
      (clusterId, memberId, answers) => {
        const encoder = new AnswerEncoder(clusterId, memberId);
        for (const [revision, raftTerm, kv] of answers) {
          const header = { clusterId, memberId, revision, raftTerm };
          const put = PutResponse.encode({ header, prevKv: undefined }).finish();
          assert.deepEqual(encoder.put(header), put);
          const kvs = kv === undefined ? [] : [kv];
          const range = RangeResponse.encode({ header, kvs, more: false, count: kvs.length }).finish();
          assert.deepEqual(encoder.get(header, kv && encodeKeyValue(kv)), range);
        }
      },
    ),
  );
});

test("a get of one key is known, and anything more is left to the generated codec", () => {
  const plain = RangeRequest.fromPartial({});
  const field = <Value>(value: fc.Arbitrary<Value>, none: Value): fc.Arbitrary<Value> =>
    fc.oneof({ weight: 8, arbitrary: fc.constant(none) }, { weight: 1, arbitrary: value });
  const request = fc.record(
    {
      key: fc.uint8Array({ maxLength: 150 }),
      rangeEnd: field(fc.uint8Array({ maxLength: 3 }), new Uint8Array()),
      limit: field(fc.nat(200), 0),
      revision: field(fc.nat(200), 0),
      sortOrder: field(fc.constantFrom(1, 2), 0),
      serializable: fc.boolean(),
      keysOnly: field(fc.boolean(), false),
      countOnly: field(fc.boolean(), false),
    },
    { noNullPrototype: true },
  );
  let known = 0;
  fc.assert(
    fc.property(request, (fields) => {
      const message = { ...plain, ...fields };
      const found = decodeGet(RangeRequest.encode(message).finish());
      const { key, serializable } = message;
      const isGet = key.length > 0 && key.length < 128;
      const plainGet = RangeRequest.encode({ ...plain, key, serializable }).finish();
      const isPlain = Buffer.compare(plainGet, RangeRequest.encode(message).finish()) === 0;
      if (!isGet || !isPlain) assert.equal(found, undefined);
      else assert.deepEqual(found, { key: Buffer.from(key).toString("latin1"), serializable });
      if (found !== undefined) known++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(known > 100, `${known} gets`);
  assert.equal(decodeGet(Uint8Array.of(0x0a, 5, 1)), undefined);
  assert.equal(decodeGet(Uint8Array.of(0x0a, 1, 1, 0x38, 0)), undefined);
});
