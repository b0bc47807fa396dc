import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { WireError } from "../base/bytes.js";
import { BinaryReader, BinaryWriter } from "./binary.js";
import {
  base64FromBytes,
  bytesFromBase64,
  Compare,
  decodeKeyValue,
  decodeRaftRequest,
  decodeV2Request,
  encodeKeyValue,
  encodeV2Request,
  InternalRaftRequest,
  KeyValue,
  makeV2Request,
  PutRequest,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  WatchCreateRequest,
} from "./index.js";
import { ETCD_ENTRIES } from "./testing/etcd-entries.js";

const bytesOf = (hex: string): Uint8Array => new Uint8Array(Buffer.from(hex, "hex"));
const bytes = fc.uint8Array({ maxLength: 300 });
const revision = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc.constantFrom(127, 128, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1),
);
const lease = fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }));
const keyValue = fc.record(
  { key: bytes, createRevision: revision, modRevision: revision, version: revision, value: bytes, lease },
  { noNullPrototype: true },
);

test("every entry of a real etcd's log decodes, and encodes to the same bytes", () => {
  const kinds = new Set<string>();
  for (const hex of ETCD_ENTRIES) {
    const { kind, request } = decodeRaftRequest(bytesOf(hex));
    const again = kind === "v2" ? encodeV2Request(request) : InternalRaftRequest.encode(request).finish();
    assert.equal(Buffer.from(again).toString("hex"), hex);
    for (const [name, value] of Object.entries(request)) if (value !== undefined) kinds.add(name);
  }
  for (const name of ["put", "txn", "deleteRange", "compaction", "leaseGrant", "authUserAdd", "method"]) {
    assert.ok(kinds.has(name), `${name} is among the entries`);
  }
});

test("a bare v2 request is never taken for an InternalRaftRequest, whatever its method", () => {
  for (const method of ["PUT", "POST", "DELETE", "GET", "QGET", "SYNC", "HEAD"]) {
    for (const path of ["", "/0/version", "\n\u0001a"]) {
      const request = makeV2Request({ id: 7n, method, path, time: 1_700_000_000_000_000_000n });
      assert.deepEqual(decodeRaftRequest(encodeV2Request(request)), { kind: "v2", id: 0n, request });
    }
  }
});

test("a v2 request inside an InternalRaftRequest keeps the outer ID", () => {
  const request = makeV2Request({ id: 9n, method: "PUT", path: "/0/version", val: "3.5.0", prevExist: false });
  const outer = InternalRaftRequest.create({ ID: 5n, v2: encodeV2Request(request) });
  assert.deepEqual(decodeRaftRequest(InternalRaftRequest.encode(outer).finish()), { kind: "v2", id: 5n, request });
});

test("bytes that are no request are refused with both reasons", () => {
  assert.throws(
    () => decodeRaftRequest(Uint8Array.of(0xff, 0xff)),
    (error) => {
      assert.ok(error instanceof WireError);
      assert.equal(error.code, "WIRE_MALFORMED");
      assert.equal((error.cause as AggregateError).errors.length, 2);
      return true;
    },
  );
});

test("v2 requests come back as they went", () => {
  const integer = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
  const time = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  const text = fc.string({ unit: "grapheme" });
  const flag = fc.boolean();
  const maybe = fc.option(flag, { nil: undefined });
  const request = fc.record(
    {
      id: integer,
      method: text,
      path: text,
      val: text,
      dir: flag,
      prevValue: text,
      prevIndex: integer,
      prevExist: maybe,
      expiration: time,
      wait: flag,
      since: integer,
      recursive: flag,
      sorted: flag,
      quorum: flag,
      time,
      stream: flag,
      refresh: maybe,
    },
    { noNullPrototype: true },
  );
  fc.assert(fc.property(request, (request) => assert.deepEqual(decodeV2Request(encodeV2Request(request)), request)));
});

test("the fast codec of key-value pairs and the generated one agree, both ways", () => {
  fc.assert(
    fc.property(keyValue, (kv) => {
      const encoded = encodeKeyValue(kv);
      assert.deepEqual(encoded, KeyValue.encode(kv).finish());
      assert.deepEqual(decodeKeyValue(encoded), kv);
      assert.deepEqual(KeyValue.decode(encoded), kv);
    }),
  );
});

test("on any bytes both codecs of key-value pairs refuse, or give the same", () => {
  const valid = keyValue.map((kv) => encodeKeyValue(kv));
  const damaged = fc
    .tuple(valid, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(6))
    .map(([encoded, place, change, cut]) => {
      const copy = encoded.slice(0, Math.max(0, encoded.length - cut));
      if (copy.length > 0) copy[place % copy.length]! ^= change;
      return copy;
    });
  fc.assert(
    fc.property(fc.oneof(damaged, fc.uint8Array({ maxLength: 40 })), (input) => {
      const fast = outcome(() => decodeKeyValue(input));
      const generated = outcome(() => KeyValue.decode(input));
      // The generated one bends integers over 2^53-1, the fast one refuses them.
      if (fast === "WIRE_OUT_OF_RANGE") return;
      // A tag may be padded or over 32 bits: the fast one takes it for an unknown field, as far as it is well-formed.
      if (typeof fast !== typeof generated) return;
      if (typeof fast === "object") assert.deepEqual(fast, generated);
    }),
    { numRuns: 2000 },
  );
});

function outcome<T>(run: () => T): T | string {
  try {
    return run();
  } catch (error) {
    assert.ok(error instanceof WireError, `a named error, not ${String(error)}`);
    return error.code;
  }
}

test("an integer over 2^53-1 in a request becomes the nearest that there is, so that it stays beyond everything", () => {
  const request = (value: bigint): number =>
    RangeRequest.decode(new BinaryWriter().uint32(32).int64(value).finish()).revision;
  assert.equal(request(2n ** 63n - 1n), Number.MAX_SAFE_INTEGER);
  assert.equal(request(-(2n ** 63n)), -Number.MAX_SAFE_INTEGER);
  assert.equal(request(-1n), -1);
  assert.equal(request(2n ** 53n - 1n), 2 ** 53 - 1);
  assert.equal(request(2n ** 32n), 2 ** 32);
});

test("integers of every size come back as they went", () => {
  const signed = fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
  fc.assert(
    fc.property(signed, revision, fc.boolean(), (big, small, negative) => {
      const number = negative ? -small : small;
      const writer = new BinaryWriter()
        .int64(big)
        .int64Number(number)
        .uint64(BigInt.asUintN(64, big))
        .int32(number | 0);
      const reader = new BinaryReader(writer.finish());
      assert.equal(reader.int64(), big);
      assert.equal(reader.int64Number(), number === 0 ? 0 : number);
      assert.equal(reader.uint64(), BigInt.asUintN(64, big));
      assert.equal(reader.int32(), number | 0);
    }),
  );
});

test("messages inside messages get the right length, however long", () => {
  for (const size of [0, 1, 120, 127, 128, 129, 16_383, 16_384, 70_000, 2_097_152]) {
    const value = new Uint8Array(size).fill(7);
    const kvs = [KeyValue.create({ value }), KeyValue.create({ key: Uint8Array.of(1) })];
    const response = RangeResponse.create({ kvs, count: 2 });
    assert.deepEqual(RangeResponse.decode(RangeResponse.encode(response).finish()), response);
  }
});

test("decoded bytes are plain views, even of a Buffer", () => {
  const input = Buffer.from(PutRequest.encode(PutRequest.create({ key: Uint8Array.of(1, 2) })).finish());
  const { key } = PutRequest.decode(input);
  assert.equal(Object.getPrototypeOf(key), Uint8Array.prototype);
  assert.equal(key.buffer, input.buffer);
});

test("what Go refuses is refused by name", () => {
  const refused: [string, string][] = [
    ["08", "a varint cut off"],
    ["0a05aabb", "a field that ends too early"],
    ["0801", "a known field of another wire type"],
    ["0b", "a group"],
    ["0c", "the end of a group"],
    ["00", "field number 0"],
    ["ffffffffffffffffffff01", "a varint over 10 bytes"],
  ];
  for (const [hex, why] of refused) {
    assert.throws(() => PutRequest.decode(bytesOf(hex)), WireError, why);
  }
  assert.throws(() => TxnRequest.decode(bytesOf("0a021a0548656c6c6f")), WireError, "a field over its message's end");
});

test("transactions nested too deep are refused before the stack ends", () => {
  let nested = TxnRequest.encode(TxnRequest.create()).finish();
  for (let depth = 0; depth < 2000; depth++) {
    const inner = new BinaryWriter().uint32(18).fork().uint32(34).bytes(nested).join();
    nested = inner.finish();
  }
  assert.throws(() => TxnRequest.decode(nested), { code: "WIRE_MALFORMED" });
});

test("repeated enums are read packed and one by one; unknown enum values survive", () => {
  assert.deepEqual(WatchCreateRequest.decode(bytesOf("2a020001")).filters, [0, 1]);
  assert.deepEqual(WatchCreateRequest.decode(bytesOf("28002801")).filters, [0, 1]);
  assert.deepEqual(Compare.decode(bytesOf("0863")), { ...Compare.create(), result: 99 });
});

test("base64 is Node's, and reads the URL-safe alphabet and missing padding", () => {
  fc.assert(
    fc.property(bytes, (value) => {
      const text = base64FromBytes(value);
      assert.equal(text, Buffer.from(value).toString("base64"));
      assert.deepEqual(bytesFromBase64(text), value);
      assert.deepEqual(bytesFromBase64(Buffer.from(value).toString("base64url")), value);
    }),
  );
  assert.throws(() => bytesFromBase64("a"), { code: "WIRE_MALFORMED" });
  assert.throws(() => bytesFromBase64("a*=="), { code: "WIRE_MALFORMED" });
});

test("the generated code is what the definitions give", () => {
  const root = join(import.meta.dirname, "..", "..", "..");
  const scratch = mkdtempSync(join(tmpdir(), "walnut-proto-test-"));
  try {
    execFileSync(process.execPath, [join(root, "scripts", "generate-proto.mjs"), scratch]);
    const committed = join(root, "src", "proto", "generated");
    const list = (folder: string): string[] =>
      readdirSync(folder, { recursive: true })
        .map(String)
        .filter((name) => name.endsWith(".ts"))
        .sort();
    assert.deepEqual(list(scratch), list(committed));
    for (const name of list(committed)) {
      assert.equal(readFileSync(join(scratch, name), "utf8"), readFileSync(join(committed, name), "utf8"), name);
    }
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
});
