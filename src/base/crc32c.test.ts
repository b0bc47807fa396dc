import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32c, crc32cPortable } from "./crc32c.js";

test("the check value of CRC-32C is 0xE3069283 (RFC 3720, B.4)", () => {
  assert.equal(crc32c(0, new TextEncoder().encode("123456789")), 0xe306_9283);
  assert.equal(crc32c(0, new Uint8Array(32)), 0x8a91_36aa);
});

test("a chain over parts equals the checksum of the whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      assert.equal(crc32cPortable(crc32cPortable(0, bytes, 0, at), bytes, at), crc32cPortable(0, bytes));
    }),
  );
});
