import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Crc32cBuffer, crc32c, crc32cPortable, crc32cSigned, crc32cSpan, installNativeCrc32c } from "./crc32c.js";
import { makeWasmCrc32c, SCRATCH_BYTES } from "./crc32c-wasm.js";

/** The definition, bit by bit: the simple twin of the clever ones. */
function bitwise(crc: number, bytes: Uint8Array): number {
  let state = ~crc;
  for (const byte of bytes) {
    state ^= byte;
    for (let bit = 0; bit < 8; bit++) state = (state & 1) !== 0 ? (state >>> 1) ^ 0x82f6_3b78 : state >>> 1;
  }
  return ~state >>> 0;
}

/** Sixteen tables by the definition: table k holds the effect of a byte that k further bytes follow. */
function tablesByDefinition(): Int32Array {
  const effect = (byte: number, following: number): number => {
    const bytes = new Uint8Array(following + 1);
    bytes[0] = byte;
    return ~bitwise(~0, bytes);
  };
  return Int32Array.from({ length: 16 * 256 }, (_, i) => effect(i & 0xff, i >>> 8));
}

const noise = Uint8Array.from({ length: 200_000 }, (_, i) => (i * 2_654_435_761) >>> 13);
const wasm = makeWasmCrc32c(tablesByDefinition());
assert.ok(wasm !== undefined, "Node has WebAssembly: without it the tests below would try nothing");

test("the check value of CRC-32C is 0xE3069283 (RFC 3720, B.4)", () => {
  const digits = new TextEncoder().encode("123456789");
  const zeros = new Uint8Array(32);
  for (const checksum of [
    bitwise,
    crc32c,
    crc32cPortable,
    (crc: number, bytes: Uint8Array) => wasm(crc, bytes) >>> 0,
  ]) {
    assert.equal(checksum(0, digits), 0xe306_9283);
    assert.equal(checksum(0, zeros), 0x8a91_36aa);
  }
});

test("a chain over parts equals the checksum of the whole", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 600 }), fc.nat(600), (bytes, cut) => {
      const at = Math.min(cut, bytes.length);
      assert.equal(crc32cPortable(crc32cPortable(0, bytes, 0, at), bytes, at), crc32cPortable(0, bytes));
      assert.equal(crc32c(crc32c(0, bytes.subarray(0, at)), bytes.subarray(at)), crc32cPortable(0, bytes));
      assert.equal(wasm(wasm(0, bytes.subarray(0, at)), bytes.subarray(at)) >>> 0, crc32cPortable(0, bytes));
    }),
  );
});

test("tables, WebAssembly and whatever is chosen by size answer as the definition does, at every length up to 1,100", () => {
  let crc = 0;
  for (let length = 0; length <= 1100; length++) {
    const start = (length * 7) % 64;
    const bytes = noise.subarray(start, start + length);
    const expected = bitwise(crc, bytes);
    assert.equal(crc32cPortable(crc, noise, start, start + length), expected, `tables, ${length} bytes`);
    assert.equal(wasm(crc, bytes) >>> 0, expected, `WebAssembly, ${length} bytes`);
    assert.equal(crc32c(crc, bytes), expected, `chosen, ${length} bytes`);
    assert.equal(crc32cSpan(crc, noise, start, start + length), expected | 0, `span, ${length} bytes`);
    crc = expected;
  }
});

test("a span longer than the scratch area of the WebAssembly memory is summed in pieces", () => {
  for (const length of [1, 2, 3].flatMap((pieces) => [-1, 0, 1].map((more) => pieces * SCRATCH_BYTES + more))) {
    const bytes = noise.subarray(5, 5 + length);
    assert.equal(wasm(0x89ab_cdef, bytes) >>> 0, crc32cPortable(0x89ab_cdef, bytes), `${length} bytes`);
  }
});

test("the folding rests on a multiple of the polynomial: x^290 = x^136 + x^113 + x^107 + x^32 + 1", () => {
  // x^n modulo the polynomial, as the bits of a checksum's state: the bit of x^0 is the highest one.
  const power = (n: number): number => {
    let state = 0x8000_0000;
    for (let i = 0; i < n; i++) state = (state & 1) !== 0 ? (state >>> 1) ^ 0x82f6_3b78 : state >>> 1;
    return state;
  };
  assert.equal(power(290) | 0, power(136) ^ power(113) ^ power(107) ^ power(32) ^ power(0));
  assert.deepEqual(
    [136, 113, 107, 32, 0].map((n) => 290 - n),
    [154, 177, 183, 258, 290],
  );
});

test("a buffer sums its bytes where they lie, whatever lies around them, and keeps them when it grows", () => {
  const buffer = new Crc32cBuffer(1000);
  const first = buffer.bytes.length;
  assert.ok(first >= 1000);
  buffer.bytes.set(noise.subarray(0, first));
  const before = buffer.bytes;
  buffer.grow(first);
  assert.equal(buffer.bytes, before, "there was room");
  buffer.grow(first + 1);
  assert.equal(before.length, first, "a view that was handed out stays good");
  assert.ok(buffer.bytes.length > first);
  assert.deepEqual(Buffer.from(buffer.bytes.subarray(0, first)), Buffer.from(noise.subarray(0, first)));
  const { length } = buffer.bytes;
  buffer.bytes.set(noise.subarray(0, length));
  for (let size = 0; size <= 300; size++) {
    for (const start of [0, 1, 333 + size, length - size]) {
      const expected = bitwise(0x1234_5678, noise.subarray(start, start + size)) | 0;
      assert.equal(buffer.crc32c(0x1234_5678, start, start + size), expected, `${size} bytes at ${start}`);
    }
  }
  assert.deepEqual(Buffer.from(buffer.bytes), Buffer.from(noise.subarray(0, length)), "summing changes nothing");
});

test("a buffer outside of WebAssembly does the same, also one that finds no memory when it grows", (t) => {
  const there = Object.getOwnPropertyDescriptor(globalThis, "WebAssembly")!;
  t.after(() => Object.defineProperty(globalThis, "WebAssembly", there));
  const inside = new Crc32cBuffer(100);
  Object.defineProperty(globalThis, "WebAssembly", { ...there, value: undefined });
  for (const buffer of [inside, new Crc32cBuffer(100)]) {
    buffer.bytes.set(noise.subarray(0, 100));
    buffer.grow(100_000);
    assert.equal(buffer.bytes.length, 100_000);
    for (const end of [3, 20, 100]) {
      assert.equal(buffer.crc32c(7, 1, end), crc32cPortable(7, noise, 1, end) | 0, `${end - 1} bytes`);
    }
  }
});

test("signed and unsigned forms of the same checksum continue alike", () => {
  for (const length of [9, 100, 5000]) {
    const bytes = noise.subarray(0, length);
    assert.equal(crc32cSigned(0xfedc_ba98, bytes), crc32cSigned(0xfedc_ba98 | 0, bytes));
    assert.equal(crc32cSigned(0xfedc_ba98, bytes) >>> 0, crc32c(0xfedc_ba98, bytes));
  }
});

test("without WebAssembly, and where compiling it is forbidden, there is none and nobody fails", (t) => {
  const there = Object.getOwnPropertyDescriptor(globalThis, "WebAssembly")!;
  t.after(() => Object.defineProperty(globalThis, "WebAssembly", there));
  const forbidden = {
    Module: function Module() {
      throw new Error("code generation is disallowed by the embedder");
    },
  };
  for (const value of [undefined, forbidden]) {
    Object.defineProperty(globalThis, "WebAssembly", { ...there, value });
    assert.equal(makeWasmCrc32c(new Int32Array(16 * 256)), undefined);
  }
});

test("a native function that does not know the answer is not installed", () => {
  installNativeCrc32c(() => 1);
  const bytes = noise.subarray(0, 5000);
  assert.equal(crc32c(0, bytes), crc32cPortable(0, bytes));
});

test("a native function that does is called for long spans, with unsigned checksums", (t) => {
  const seen: { readonly crc: number; readonly length: number }[] = [];
  t.after(() => installNativeCrc32c((crc, bytes) => crc32cPortable(crc, bytes)));
  installNativeCrc32c((crc, bytes) => {
    seen.push({ crc, length: bytes.length });
    return crc32cPortable(crc, bytes);
  });
  seen.length = 0; // the trial
  crc32cSigned(-1, noise.subarray(0, 100));
  assert.deepEqual(seen, []);
  crc32cSigned(-1, noise.subarray(0, 5000));
  assert.deepEqual(seen, [{ crc: 0xffff_ffff, length: 5000 }]);
});
