import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvariantError } from "./errors.js";
import { NumberTable } from "./number-table.js";

interface Named {
  readonly name: string;
}

const key = fc.oneof(
  fc.integer({ min: 0, max: 60 }),
  fc.integer({ min: -0x8000_0000, max: -0x7fff_fff0 }),
  fc.integer(),
);

test("a table of numbers does what a map does, through growth, gaps and shrinking", () => {
  const step = fc.record({ key, add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 400 }), (steps) => {
      const table = new NumberTable<Named>();
      const twin = new Map<number, Named>();
      for (const one of steps) {
        const value = { name: `v${one.key}` };
        if (!one.add) {
          assert.equal(table.delete(one.key), twin.get(one.key));
          twin.delete(one.key);
        } else if (!twin.has(one.key)) {
          table.add(one.key, value);
          twin.set(one.key, value);
        }
        assert.equal(table.get(one.key), twin.get(one.key));
        assert.equal(table.size, twin.size);
      }
      table.check();
      assert.deepEqual(
        table.values(),
        [...twin].sort(([a], [b]) => a - b).map(([, value]) => value),
      );
      for (const there of twin.keys()) assert.equal(table.delete(there), twin.get(there));
      table.check();
      assert.equal(table.size, 0);
    }),
  );
});

test("numbers that follow one another at any distance come and go by the hundred thousand", () => {
  for (const distance of [1, 2, 3, 16, 65_536]) {
    const table = new NumberTable<Named>();
    const inFlight = 1_000;
    const keyOf = (i: number): number => (i * distance) | 0;
    for (let i = 0; i < 100_000; i++) {
      table.add(keyOf(i), { name: `${i}` });
      if (i >= inFlight) assert.equal(table.delete(keyOf(i - inFlight))?.name, `${i - inFlight}`);
    }
    assert.equal(table.size, inFlight);
    table.check();
  }
});

test("a key that is there, or is no whole number of 32 bits, is refused", () => {
  const table = new NumberTable<Named>();
  table.add(7, { name: "seven" });
  for (const wrong of [7, 2 ** 31, -(2 ** 31) - 1, 0.5, Number.NaN]) {
    assert.throws(() => table.add(wrong, { name: "again" }), InvariantError);
  }
  assert.deepEqual(table.values(), [{ name: "seven" }]);
});
