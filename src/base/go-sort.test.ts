import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { crc32cPortable } from "./crc32c.js";
import { goSort } from "./go-sort.js";

interface Item {
  readonly key: number;
  readonly place: number;
}

/**
 * For each number of elements the CRC-32C of where each element came from, over all shapes below in both directions. Made by
 * a Go 1.19 program that sorts the same inputs with `sort.Sort` and `sort.Reverse`, with the shift register of Go 1.24.
 */
const BY_GO: readonly (readonly [count: number, crc: number])[] = [
  [5, 0x9f4ba0b8],
  [12, 0x2b50293d],
  [13, 0x7f8dbb10],
  [30, 0x8cd2957f],
  [49, 0x692319e7],
  [50, 0x3b5e05b1],
  [51, 0x9da478b4],
  [100, 0x75eece1e],
  [257, 0xf2e6e5a2],
  [1000, 0x4adf4b72],
  [5000, 0x1f481afc],
];

test("equal elements end up where Go's sort leaves them", () => {
  assert.equal(BY_GO.length, 11);
  let state = 1;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state >>> 8;
  };
  for (const [count, expected] of BY_GO) {
    let crc = 0;
    for (const distinct of [1, 2, 3, 10, 100, 1_000_000]) {
      for (const keyOf of shapes(count, distinct, next)) {
        for (const descending of [false, true]) {
          const items = Array.from({ length: count }, (_, place) => ({ key: keyOf(place), place }));
          goSort(items, descending ? (a, b) => b.key < a.key : (a, b) => a.key < b.key);
          crc = crc32cPortable(crc, new Uint8Array(Uint32Array.from(items, ({ place }) => place).buffer));
        }
      }
    }
    assert.equal(crc, expected, `${count} elements`);
  }
});

/** Chance, a saw, steps down, order with a few strays, and a roof. */
function shapes(count: number, distinct: number, next: () => number): ((place: number) => number)[] {
  const half = Math.floor(count / 2);
  return [
    () => next() % distinct,
    (place) => place % distinct,
    (place) => Math.floor((count - place) / (1 + Math.floor(count / distinct))),
    (place) => (next() % 20 === 0 ? next() % count : place),
    (place) => (place < half ? place : count - place) % distinct,
  ];
}

test("any input comes out in order, with nothing lost", () => {
  fc.assert(
    fc.property(fc.array(fc.nat(20), { maxLength: 300 }), (keys) => {
      const items: Item[] = goSort(
        keys.map((key, place) => ({ key, place })),
        (a, b) => a.key < b.key,
      );
      assert.deepEqual(
        items.map(({ key }) => key),
        keys.toSorted((a, b) => a - b),
      );
      assert.equal(new Set(items.map(({ place }) => place)).size, keys.length);
    }),
    { numRuns: 300 },
  );
});
