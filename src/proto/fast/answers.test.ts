import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { PutResponse, RangeRequest, RangeResponse } from "../generated/etcdserverpb/kv.js";
import { AnswerEncoder } from "./answers.js";
import { decodeGet, decodeSpan } from "./get.js";
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

test("a range's answer is the bytes that the generated codec writes", () => {
  fc.assert(
    fc.property(
      id,
      number,
      fc.array(pair, { maxLength: 6 }),
      fc.constantFrom(0, 1, 5_000),
      (memberId, revision, kvs, left) => {
        const header = { clusterId: 1n, memberId, revision, raftTerm: 2 };
        const count = kvs.length + left;
        const expected = RangeResponse.encode({ header, kvs, more: left > 0, count }).finish();
        const stored = kvs.map((kv) => encodeKeyValue(kv));
        assert.deepEqual(new AnswerEncoder(1n, memberId).range(header, stored, count), expected);
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
      const bytes = RangeRequest.encode(message).finish();
      const found = decodeGet(bytes);
      const { key, serializable } = message;
      const isGet = key.length > 0 && key.length < 128;
      const plainGet = RangeRequest.encode({ ...plain, key, serializable }).finish();
      const isPlain = Buffer.compare(plainGet, bytes) === 0;
      if (!isGet || !isPlain) assert.equal(found, undefined);
      else assert.deepEqual(found, { bytes, keyStart: 2, keyEnd: 2 + key.length, serializable });
      if (found !== undefined) known++;
    }),
    { numRuns: 2000 },
  );
  assert.ok(known > 100, `${known} gets`);
  assert.equal(decodeGet(Uint8Array.of(0x0a, 5, 1)), undefined);
  assert.equal(decodeGet(Uint8Array.of(0x0a, 1, 1, 0x38, 0)), undefined);
});

test("a range of newest pairs is known, and anything more is left to the generated codec", () => {
  const plain = RangeRequest.fromPartial({});
  const rarely = <Value>(value: fc.Arbitrary<Value>, none: Value): fc.Arbitrary<Value> =>
    fc.oneof({ weight: 12, arbitrary: fc.constant(none) }, { weight: 1, arbitrary: value });
  const request = fc.record(
    {
      key: fc.uint8Array({ maxLength: 150 }),
      rangeEnd: fc.oneof(fc.uint8Array({ maxLength: 150 }), fc.constant(Uint8Array.of(0))),
      limit: fc.oneof(fc.constant(0), fc.nat(200), fc.constantFrom(16_383, 16_384, -1)),
      serializable: fc.boolean(),
      revision: rarely(fc.nat(200), 0),
      sortOrder: rarely(fc.constantFrom(1, 2), 0),
      sortTarget: rarely(fc.constantFrom(1, 2), 0),
      keysOnly: rarely(fc.boolean(), false),
      countOnly: rarely(fc.boolean(), false),
      minModRevision: rarely(fc.nat(9), 0),
      maxCreateRevision: rarely(fc.nat(9), 0),
    },
    { noNullPrototype: true },
  );
  let known = 0;
  fc.assert(
    fc.property(request, fc.option(fc.tuple(fc.nat(400), fc.nat(255)), { nil: undefined }), (fields, damage) => {
      const message = { ...plain, ...fields };
      const bytes = Buffer.from(RangeRequest.encode(message).finish());
      if (damage !== undefined && bytes.length > 0) bytes[damage[0] % bytes.length] = damage[1];
      const found = decodeSpan(bytes);
      const { key, rangeEnd, limit, serializable } = fields;
      const asked = { ...plain, key, rangeEnd, limit, serializable };
      if (damage === undefined) {
        const isSpan = key.length > 0 && rangeEnd.length > 0 && limit >= 0 && limit < 16_384;
        const isPlain = Buffer.compare(RangeRequest.encode(asked).finish(), bytes) === 0;
        assert.equal(found !== undefined, isSpan && isPlain);
      }
      if (found === undefined) return;
      known++;
      const latin1 = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));
      const read = { ...plain, ...found, key: latin1(found.key), rangeEnd: latin1(found.rangeEnd) };
      const { key: generatedKey, rangeEnd: generatedEnd, ...others } = RangeRequest.decode(bytes);
      const generated = { ...others, key: new Uint8Array(generatedKey), rangeEnd: new Uint8Array(generatedEnd) };
      assert.deepEqual(read, generated);
    }),
    { numRuns: 4000 },
  );
  assert.ok(known > 300, `${known} ranges`);
});
