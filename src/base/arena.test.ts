import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Arena } from "./arena.js";

test("spans of an arena are their takers' own: what is written to one is in no other", () => {
  const size = fc.oneof(fc.nat(300), fc.constantFrom(0, 8192, 8193, 65_536, 100_000));
  fc.assert(
    fc.property(fc.array(size, { maxLength: 400 }), (sizes) => {
      const arena = new Arena();
      const spans = sizes.map((bytes, at) => {
        const span = arena.take(bytes);
        assert.equal(span.length, bytes);
        assert.ok(span.every((byte) => byte === 0));
        return span.fill((at % 255) + 1);
      });
      for (const [at, span] of spans.entries()) assert.ok(span.every((byte) => byte === (at % 255) + 1));
    }),
    { numRuns: 50 },
  );
});

test("a copy is of the bytes as they were", () => {
  const arena = new Arena();
  const bytes = Uint8Array.of(1, 2, 3, 4);
  const whole = arena.copy(bytes);
  const part = arena.copy(bytes, 1, 3);
  bytes.fill(9);
  assert.deepEqual([whole, part], [Uint8Array.of(1, 2, 3, 4), Uint8Array.of(2, 3)]);
});
