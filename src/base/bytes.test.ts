import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import {
  compareBytes,
  readUint64BE,
  readUint64LE,
  WireError,
  WireReader,
  WireWriter,
  writeUint64BE,
  writeUint64LE,
} from "./bytes.js";

const safeInteger = fc.oneof(
  fc.maxSafeNat(),
  fc.nat(300),
  fc.constantFrom(127, 128, 2 ** 32 - 1, 2 ** 32, Number.MAX_SAFE_INTEGER),
);

test("a varint reads back as it was written, up to 2^53-1", () => {
  fc.assert(
    fc.property(safeInteger, (value) => {
      const bytes = new WireWriter(1).varint(value).finish();
      const big = new WireWriter(1).varint64(BigInt(value)).finish();
      assert.deepEqual(bytes, big);
      assert.equal(new WireReader(bytes).varint(), value);
    }),
  );
});

test("64-bit varints keep all their bits", () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }), (value) => {
      assert.equal(new WireReader(new WireWriter(1).varint64(value).finish()).varint64(), value);
    }),
  );
  assert.equal(new WireReader(new WireWriter().varint64(-1n).finish()).varint64(), 2n ** 64n - 1n);
});

test("an integer over 2^53-1 is refused where a number is wanted", () => {
  const bytes = new WireWriter().varint64(2n ** 53n).finish();
  assert.throws(() => new WireReader(bytes).varint(), { code: "WIRE_OUT_OF_RANGE" });
});

test("no cut of a message is read past its end", () => {
  const bytes = new WireWriter()
    .uintField(1, 300)
    .bytesField(2, Uint8Array.of(1, 2, 3))
    .finish();
  for (let size = 1; size < bytes.length; size++) {
    const reader = new WireReader(bytes.subarray(0, size));
    assert.throws(() => {
      for (let field = 0; field < 2; field++) reader.skip(reader.tag());
    }, WireError);
  }
});

test("fixed integers read back in both byte orders", () => {
  const bytes = new Uint8Array(8);
  fc.assert(
    fc.property(safeInteger, (value) => {
      writeUint64BE(bytes, 0, value);
      assert.equal(readUint64BE(bytes, 0), value);
      writeUint64LE(bytes, 0, value);
      assert.equal(readUint64LE(bytes, 0), value);
    }),
  );
});

test("bytes compare as Buffer compares them", () => {
  const short = fc.uint8Array({ maxLength: 4, max: 3 });
  fc.assert(fc.property(short, short, (a, b) => assert.equal(Math.sign(compareBytes(a, b)), Buffer.compare(a, b))));
});
