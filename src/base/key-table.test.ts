import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyTable } from "./key-table.js";

/** Few keys, so that they come and go and stand in each other's way. */
const key = fc.oneof(fc.nat(3000).map(String), fc.string({ unit: fc.constantFrom("a", "\0", "\xff"), maxLength: 4 }));
const step = fc.tuple(fc.constantFrom("add", "add", "delete"), key);

test("a key table answers as a map does", () => {
  fc.assert(
    fc.property(fc.array(step, { minLength: 50, maxLength: 3000, size: "max" }), (steps) => {
      const table = new KeyTable<{ readonly key: string }>();
      const twin = new Map<string, { readonly key: string }>();
      for (const [kind, key] of steps) {
        if (kind === "add") {
          const entry = { key };
          const expected = twin.get(key) ?? entry;
          assert.equal(table.addOrGet(entry), expected);
          twin.set(key, expected);
        } else {
          assert.equal(table.delete(key), twin.get(key));
          twin.delete(key);
        }
        assert.equal(table.get(key), twin.get(key));
      }
      table.check();
      assert.equal(table.size, twin.size);
    }),
    { numRuns: 50 },
  );
});

test("100,000 keys are found, and none is left when all were taken out", () => {
  const table = new KeyTable<{ readonly key: string }>();
  const keys = Array.from({ length: 100_000 }, (_, i) => `/registry/pods/default/${i}`);
  for (const key of keys) table.addOrGet({ key });
  table.check();
  for (const key of keys) assert.equal(table.get(key)?.key, key);
  assert.equal(table.get("/registry/pods/default/100000"), undefined);
  for (const key of keys) assert.equal(table.delete(key)?.key, key);
  table.check();
  assert.equal(table.size, 0);
});
