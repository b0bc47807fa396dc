import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SortedMap } from "./sorted-map.js";

interface Item {
  readonly key: string;
  marked: boolean;
}

/** The simple twin: a plain map whose keys are sorted for each question. */
function twinRange(twin: Map<string, Item>, low: string, high: string | undefined): Item[] {
  return [...twin.values()]
    .filter(({ key }) => key >= low && (high === undefined || key < high))
    .sort((a, b) => (a.key < b.key ? -1 : 1));
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

test("a sorted map answers as a plain map does that is sorted for each question", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), key, fc.option(key, { nil: undefined }), (steps, low, high) => {
      const map = new SortedMap<Item>((item) => item.marked);
      const twin = new Map<string, Item>();
      for (const [kind, key] of steps) apply(map, twin, kind, key);
      map.check();
      const expected = twinRange(twin, low, high);
      const visited: Item[] = [];
      map.visit(low, high, (item) => visited.push(item) > 0);
      assert.deepEqual(visited, expected);
      assert.equal(map.countMarked(low, high), expected.filter((item) => item.marked).length);
      assert.equal(map.get(low), twin.get(low));
    }),
    { numRuns: 200 },
  );
});

function apply(map: SortedMap<Item>, twin: Map<string, Item>, kind: "add" | "delete" | "mark", key: string): void {
  const item = twin.get(key);
  if (kind === "add" && item === undefined) {
    const added = { key, marked: key.length % 2 === 0 };
    map.add(added);
    twin.set(key, added);
  } else if (kind === "delete") {
    assert.equal(map.delete(key), twin.delete(key));
  } else if (kind === "mark" && item !== undefined) {
    item.marked = !item.marked;
    map.markChanged(item);
  }
}

test("20,000 keys that come in any order and leave again keep the chunks sorted and joined", () => {
  const map = new SortedMap<Item>((item) => item.marked);
  const keyOf = (i: number): string => `k${((i * 7919) % 20_000).toString().padStart(5, "0")}`;
  for (let i = 0; i < 20_000; i++) map.add({ key: keyOf(i), marked: i % 3 === 0 });
  map.check();
  assert.equal(map.countMarked("", undefined), map.marked);
  assert.equal(walkInSlices(map), 20_000);
  for (let i = 0; i < 19_000; i++) assert.equal(map.delete(keyOf(i)), true);
  map.check();
  assert.equal(walkInSlices(map), 1_000);
});

test("keys that come in order fill their chunks", () => {
  const map = new SortedMap<Item>(() => true);
  for (let i = 0; i < 5_120; i++) map.add({ key: String.fromCharCode(i >> 8, i & 255), marked: true });
  map.check();
  assert.equal(map.chunkFrom("").length, 256);
});

test("an empty map has no entries in any range", () => {
  const map = new SortedMap<Item>(() => true);
  assert.deepEqual(map.chunkFrom(""), []);
  assert.equal(map.countMarked("", undefined), 0);
  assert.equal(map.delete("a"), false);
});

function walkInSlices(map: SortedMap<Item>): number {
  let seen = 0;
  let low = "";
  for (;;) {
    const slice = map.chunkFrom(low);
    if (slice.length === 0) return seen;
    seen += slice.length;
    low = `${slice.at(-1)!.key}\0`;
  }
}
