import assert from "node:assert/strict";
import test from "node:test";
import { BufferPool } from "./buffer-pool.js";

test("a buffer that comes back is given again where it is large enough", () => {
  const pool = new BufferPool(65_536);
  const first = pool.take(5_000);
  assert.equal(first.length, 8_192);
  pool.give(first.subarray(0, 100));
  const again = pool.take(8_192);
  assert.equal(again.buffer, first.buffer);
  assert.equal(again.length, 8_192);
  pool.give(again);
  assert.notEqual(pool.take(8_193).buffer, first.buffer);
});

test("neither large buffers nor many are kept", () => {
  const pool = new BufferPool(65_536);
  const large = pool.take(65_537);
  pool.give(large);
  assert.notEqual(pool.take(1).buffer, large.buffer);
  const many = Array.from({ length: 100 }, () => pool.take(1));
  for (const buffer of many) pool.give(buffer);
  const known = new Set(many.map(({ buffer }) => buffer));
  const kept = Array.from({ length: 100 }, () => pool.take(1)).filter(({ buffer }) => known.has(buffer));
  assert.equal(kept.length, 32);
});
