import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WireError } from "../../base/bytes.js";
import { PutRequest } from "../generated/etcdserverpb/kv.js";
import { InternalRaftRequest } from "../generated/etcdserverpb/raft_internal.js";
import { bigintOf, requestIdOf } from "../request-id.js";
import { isPlainName } from "./entry-header.js";
import { decodePut, decodePutEntry, encodePutEntry } from "./put.js";

const bytes = fc.oneof(
  fc.uint8Array({ maxLength: 20 }),
  fc.constantFrom(127, 128, 129, 16_383, 16_384).map((size) => new Uint8Array(size).fill(7)),
);
const put = fc.record(
  {
    key: bytes,
    value: bytes,
    lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
    prevKv: fc.boolean(),
    ignoreValue: fc.boolean(),
    ignoreLease: fc.boolean(),
  },
  { noNullPrototype: true },
);
const edges = Array.from({ length: 64 }, (_, bits) => [2n ** BigInt(bits) - 1n, 2n ** BigInt(bits)]).flat();
const id = fc.oneof(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), fc.constantFrom(...edges));

function generatedEntry(requestId: bigint, request: PutRequest): Uint8Array {
  const header = { ID: requestId, username: "", authRevision: 0 };
  return InternalRaftRequest.encode(InternalRaftRequest.fromPartial({ header, put: request })).finish();
}

function generatedOrRefusal<Value>(decode: () => Value): Value | undefined {
  try {
    return decode();
  } catch (error) {
    assert.ok(error instanceof WireError, String(error));
    return undefined;
  }
}

test("an ID in halves is the same ID", () => {
  fc.assert(fc.property(id, (requestId) => assert.equal(bigintOf(requestIdOf(requestId)), requestId)));
});

test("a put's entry is the bytes that the generated codec writes, and comes back", () => {
  fc.assert(
    fc.property(id, put, (requestId, request) => {
      const data = encodePutEntry(requestIdOf(requestId), request);
      assert.deepEqual(new Uint8Array(data), new Uint8Array(generatedEntry(requestId, request)));
      const short = [request.key, request.value].every(({ length }) => length <= 16_000);
      const decoded = decodePutEntry(data);
      if (short && requestId > 0n) assert.deepEqual(decoded, { id: requestIdOf(requestId), put: request });
      else if (decoded !== undefined) assert.deepEqual(decoded, { id: requestIdOf(requestId), put: request });
    }),
    { numRuns: 1000 },
  );
});

test("a put as clients send it decodes as the generated codec decodes it", () => {
  fc.assert(
    fc.property(put, (request) => {
      const encoded = PutRequest.encode(request).finish();
      const decoded = decodePut(encoded);
      if (encoded.length <= 16_383) assert.deepEqual(decoded, request);
      else if (decoded !== undefined) assert.deepEqual(decoded, request);
    }),
  );
});

test("what the fast codec reads, cut and bent, the generated one reads alike", () => {
  const damage = fc.record({
    at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    byte: fc.nat(255),
    cut: fc.boolean(),
  });
  let read = 0;
  fc.assert(
    fc.property(id, put, fc.array(damage, { maxLength: 3 }), (requestId, request, damages) => {
      let data = generatedEntry(requestId, request).slice();
      for (const { at, byte, cut } of damages) {
        const position = Math.floor(at * Math.min(data.length, 60));
        if (cut) data = data.slice(0, position);
        else data[position] = byte;
      }
      const fast = decodePutEntry(data);
      if (fast !== undefined) {
        read++;
        const { put: generated, header, ...others } = InternalRaftRequest.decode(data);
        assert.deepEqual({ id: requestIdOf(header!.ID), put: generated }, { id: fast.id, put: fast.put });
        assert.equal(header?.username, fast.caller?.username ?? "");
        assert.equal(header?.authRevision, fast.caller?.revision ?? 0);
        const nothing = InternalRaftRequest.fromPartial({});
        assert.deepEqual({ ...nothing, ...others, put: undefined, header: undefined }, nothing);
      }
      const body = data.subarray(2);
      const fastPut = decodePut(body);
      if (fastPut !== undefined)
        assert.deepEqual(
          generatedOrRefusal(() => PutRequest.decode(body)),
          fastPut,
        );
    }),
    { numRuns: 5000 },
  );
  assert.ok(read > 100, `${read} of the bent entries were read at all`);
});

test("an entry of another kind is left to the generated codec", () => {
  const range = InternalRaftRequest.encode(
    InternalRaftRequest.fromPartial({ header: { ID: 5n }, compaction: { revision: 3 } }),
  );
  assert.equal(decodePutEntry(range.finish()), undefined);
  assert.equal(decodePutEntry(new Uint8Array()), undefined);
  const signed = { header: { ID: 5n, username: "alice", authRevision: 2 }, put: { key: Uint8Array.of(1) } };
  const data = InternalRaftRequest.encode(InternalRaftRequest.fromPartial(signed)).finish();
  assert.deepEqual(decodePutEntry(data)?.caller, { username: "alice", revision: 2 });
  const named = (username: string): Uint8Array =>
    InternalRaftRequest.encode(
      InternalRaftRequest.fromPartial({ ...signed, header: { ...signed.header, username } }),
    ).finish();
  for (const username of ["é", "x".repeat(65)]) assert.equal(decodePutEntry(named(username)), undefined);
});

test("a signed put's entry is the bytes that the generated codec writes, and comes back", () => {
  const caller = fc.record(
    {
      username: fc.string({ unit: "grapheme-ascii", minLength: 1, maxLength: 64 }),
      revision: fc.oneof(fc.nat(300), fc.maxSafeNat()),
    },
    { noNullPrototype: true },
  );
  fc.assert(
    fc.property(id, put, caller, (requestId, request, { username, revision }) => {
      assert.ok(isPlainName(username));
      const data = encodePutEntry(requestIdOf(requestId), request, { username, revision });
      const header = { ID: requestId, username, authRevision: revision };
      const generated = InternalRaftRequest.encode(InternalRaftRequest.fromPartial({ header, put: request })).finish();
      assert.deepEqual(new Uint8Array(data), new Uint8Array(generated));
      const decoded = decodePutEntry(data);
      const expected = { id: requestIdOf(requestId), caller: { username, revision }, put: request };
      const short = [request.key, request.value].every(({ length }) => length <= 16_000);
      if (short && requestId > 0n) assert.deepEqual(decoded, expected);
      else if (decoded !== undefined) assert.deepEqual(decoded, expected);
    }),
    { numRuns: 1000 },
  );
});

test("a name that is empty, long or not ASCII is left to the generated codec", () => {
  assert.deepEqual(["", "x".repeat(65), "é"].map(isPlainName), [false, false, false]);
  assert.equal(isPlainName("x".repeat(64)), true);
});
