import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { hashOf, NO_ROW, RowTable } from "./row-table.js";
import { bytesFromLatin1, latin1FromBytes } from "./text.js";

/** A table of rows whose keys are texts in a list. */
class Texts {
  readonly keys: string[] = [];
  readonly table = new RowTable((row, bytes, start, end) => this.keys[row] === latin1FromBytes(bytes, start, end));

  find(key: string): number {
    const bytes = bytesFromLatin1(key);
    return this.table.find(hashOf(bytes, 0, bytes.length), bytes, 0, bytes.length);
  }

  add(key: string): number {
    const row = this.keys.push(key) - 1;
    this.table.add(hashOf(bytesFromLatin1(key), 0, key.length), row);
    return row;
  }

  delete(key: string, row: number): boolean {
    return this.table.delete(hashOf(bytesFromLatin1(key), 0, key.length), row);
  }

  check(): void {
    this.table.check((row) => bytesFromLatin1(this.keys[row]!));
  }
}

/** Few keys, so that they come and go and stand in each other's way. */
const key = fc.oneof(fc.nat(3000).map(String), fc.string({ unit: fc.constantFrom("a", "\0", "\xff"), maxLength: 4 }));
const step = fc.tuple(fc.constantFrom("add", "add", "delete"), key);

test("a row table answers as a map does", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 3000, size: "max" }), (steps) => {
      const texts = new Texts();
      const twin = new Map<string, number>();
      for (const [kind, key] of steps) {
        const row = twin.get(key);
        assert.equal(texts.find(key), row ?? NO_ROW);
        if (kind === "add" && row === undefined) twin.set(key, texts.add(key));
        else if (kind === "delete") assert.equal(texts.delete(key, row ?? 0), twin.delete(key));
      }
      texts.check();
      assert.equal(texts.table.size, twin.size);
    }),
    { numRuns: 50 },
  );
});

test("100,000 keys are found, and none is left when all were taken out", () => {
  const texts = new Texts();
  const keys = Array.from({ length: 100_000 }, (_, i) => `/registry/pods/default/${i}`);
  for (const key of keys) texts.add(key);
  texts.check();
  keys.forEach((key, row) => assert.equal(texts.find(key), row));
  assert.equal(texts.find("/registry/pods/default/100000"), NO_ROW);
  keys.forEach((key, row) => assert.equal(texts.delete(key, row), true));
  texts.check();
  assert.equal(texts.table.size, 0);
});

test("a hash is of the bytes, wherever they lie, and hashes of keys alike spread evenly over shards and slots", () => {
  const shards = new Int32Array(256);
  const slots = new Int32Array(256);
  for (let i = 0; i < 65_536; i++) {
    const key = `/registry/pods/default/${i.toString().padStart(8, "0")}`;
    const hash = hashOf(bytesFromLatin1(key), 0, key.length);
    assert.equal(hashOf(bytesFromLatin1(`abc${key}d`), 3, 3 + key.length), hash);
    shards[hash >>> 24]!++;
    slots[hash & 255]!++;
  }
  // 256 are expected in each, with a deviation of 16.
  for (const counts of [shards, slots]) {
    assert.ok(Math.min(...counts) > 160, `${Math.min(...counts)}`);
    assert.ok(Math.max(...counts) < 352, `${Math.max(...counts)}`);
  }
});
