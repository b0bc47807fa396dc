import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { compareBytes } from "./bytes.js";
import { RowOrder } from "./row-order.js";
import { bytesFromLatin1 } from "./text.js";

/** An order of rows whose keys and marks are in lists; rows are never used twice. */
class Items {
  readonly keys: Uint8Array[] = [];
  readonly marks: boolean[] = [];
  readonly rows = new Map<string, number>();
  readonly order = new RowOrder({
    compare: (row, bytes, start, end) => compareBytes(this.keys[row]!, bytes.subarray(start, end)),
    isMarked: (row) => this.marks[row]!,
  });

  add(key: string, marked: boolean): void {
    const row = this.keys.push(bytesFromLatin1(key)) - 1;
    this.marks.push(marked);
    this.rows.set(key, row);
    this.order.add(row, bytesFromLatin1(`<${key}>`), 1, 1 + key.length);
  }

  delete(key: string): boolean {
    const row = this.rows.get(key) ?? this.keys.length;
    this.rows.delete(key);
    return this.order.delete(row, bytesFromLatin1(key), 0, key.length);
  }

  turn(key: string): void {
    const row = this.rows.get(key)!;
    this.marks[row] = !this.marks[row];
    this.order.markChanged(bytesFromLatin1(key), 0, key.length, this.marks[row]);
  }

  /** The simple twin: all rows, sorted for each question. */
  range(low: string, high: string | undefined): number[] {
    const keys = [...this.rows.keys()].filter((key) => key >= low && (high === undefined || key < high));
    return keys.sort().map((key) => this.rows.get(key)!);
  }

  check(): void {
    this.order.check((row) => this.keys[row]!);
    assert.equal(this.order.size, this.rows.size);
  }

  walkInSlices(): number {
    let seen = 0;
    for (let low = ""; ;) {
      const slice = this.order.chunkFrom(bytesFromLatin1(low));
      if (slice.length === 0) return seen;
      seen += slice.length;
      low = `${String.fromCharCode(...this.keys[slice.at(-1)!]!)}\0`;
    }
  }
}

const key = fc.oneof(
  fc.string({ unit: fc.constantFrom("a", "b", "c", "\0", "\xff"), maxLength: 4 }),
  fc.nat(3000).map(String),
);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.tuple(fc.constant("add" as const), key) },
  { weight: 3, arbitrary: fc.tuple(fc.constant("delete" as const), key) },
  { weight: 3, arbitrary: fc.tuple(fc.constant("mark" as const), key) },
);

test("an order answers as a list does that is sorted for each question", () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 1000, size: "max" }),
      key,
      fc.option(key, { nil: undefined }),
      (steps, low, high) => {
        const items = new Items();
        for (const [kind, key] of steps) apply(items, kind, key);
        items.check();
        const expected = items.range(low, high);
        const visited: number[] = [];
        const [from, to] = [bytesFromLatin1(low), high === undefined ? undefined : bytesFromLatin1(high)];
        items.order.visit(from, to, (row) => visited.push(row) > 0);
        assert.deepEqual(visited, expected);
        assert.equal(items.order.countMarked(from, to), expected.filter((row) => items.marks[row]).length);
      },
    ),
    { numRuns: 200 },
  );
});

function apply(items: Items, kind: "add" | "delete" | "mark", key: string): void {
  const isThere = items.rows.has(key);
  if (kind === "add" && !isThere) items.add(key, key.length % 2 === 0);
  else if (kind === "delete") assert.equal(items.delete(key), isThere);
  else if (kind === "mark" && isThere) items.turn(key);
}

test("20,000 keys that come in any order and leave again keep the chunks sorted and joined", () => {
  const items = new Items();
  const keyOf = (i: number): string => `k${((i * 7919) % 20_000).toString().padStart(5, "0")}`;
  for (let i = 0; i < 20_000; i++) items.add(keyOf(i), i % 3 === 0);
  items.check();
  assert.equal(items.order.countMarked(new Uint8Array(0), undefined), items.order.marked);
  assert.equal(items.walkInSlices(), 20_000);
  for (let i = 0; i < 19_000; i++) assert.equal(items.delete(keyOf(i)), true);
  items.check();
  assert.equal(items.walkInSlices(), 1_000);
});

test("several rows of keys that come in order side by side, and their marks, are kept", () => {
  const items = new Items();
  for (let i = 0; i < 3_000; i++) for (const list of ["b", "a", "c"]) items.add(list + (10_000 + i), i % 2 === 0);
  items.check();
  assert.equal(items.order.countMarked(bytesFromLatin1("a"), bytesFromLatin1("b")), 1_500);
});

test("keys that come in order fill their chunks", () => {
  const items = new Items();
  for (let i = 0; i < 5_120; i++) items.add(String.fromCharCode(i >> 8, i & 255), true);
  items.check();
  assert.equal(items.order.chunkFrom(new Uint8Array(0)).length, 256);
});

test("an empty order has no rows in any range", () => {
  const items = new Items();
  assert.equal(items.order.chunkFrom(new Uint8Array(0)).length, 0);
  assert.equal(items.order.countMarked(new Uint8Array(0), undefined), 0);
  assert.equal(items.delete("a"), false);
});
