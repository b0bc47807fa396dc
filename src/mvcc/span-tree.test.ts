import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { SpanTree } from "./span-tree.js";

test("spans are found by the keys in them, and by no others", () => {
  const tree = new SpanTree<string>();
  tree.add("b", "d", "b-d");
  tree.add("b", "", "b-");
  tree.add("a", "c", "a-c");
  const at = (key: string): string[] => {
    const found: string[] = [];
    tree.visit(key, (value) => found.push(value));
    return found;
  };
  assert.deepEqual(at("a"), ["a-c"]);
  assert.deepEqual(at("b"), ["a-c", "b-d", "b-"]);
  assert.deepEqual(at("c"), ["b-d", "b-"]);
  assert.deepEqual(at("\xff"), ["b-"]);
  assert.deepEqual(at(""), []);
  assert.equal(tree.get("b", ""), "b-");
  assert.equal(tree.get("b", "c"), undefined);
  tree.delete("b", "");
  assert.deepEqual(at("\xff"), []);
  assert.equal(tree.size, 2);
});

test("a span that holds nothing, one that is there already, and one that is not there are bugs", () => {
  const tree = new SpanTree<number>();
  assert.throws(() => tree.add("b", "b", 1), /at least its own key/);
  tree.add("a", "b", 1);
  assert.throws(() => tree.add("a", "b", 2), /added once/);
  assert.throws(() => tree.delete("a", ""), /is there/);
});

const key = fc.string({ unit: fc.constantFrom("a", "b", "c", "\xff"), minLength: 1, maxLength: 3 });
const span = fc
  .tuple(key, fc.oneof(key, fc.constant("")))
  .map(([low, high]): [string, string] =>
    high === "" || low < high ? [low, high] : high < low ? [high, low] : [low, ""],
  );
const step = fc.record({ span, remove: fc.boolean() });

test("whatever was added and removed, what is found is what a list of all spans finds", () => {
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.array(key, { maxLength: 20 }), (steps, keys) => {
      const tree = new SpanTree<string>();
      const twin = new Map<string, [string, string]>();
      for (const { span, remove } of steps) {
        const name = span.join("-");
        assert.equal(tree.get(...span), twin.has(name) ? name : undefined);
        if (twin.has(name) && remove) {
          tree.delete(...span);
          twin.delete(name);
        } else if (!twin.has(name)) {
          tree.add(...span, name);
          twin.set(name, span);
        }
      }
      tree.check();
      assert.deepEqual([...tree.values()].sort(), [...twin.keys()].sort());
      for (const key of keys) {
        const found: string[] = [];
        tree.visit(key, (value) => found.push(value));
        const expected = [...twin].filter(([, [low, high]]) => low <= key && (high === "" || key < high));
        assert.deepEqual(found.sort(), expected.map(([name]) => name).sort());
      }
    }),
  );
});

test("spans that come in their order do not make a list of the tree", () => {
  const tree = new SpanTree<number>();
  const name = (i: number): string => String(i).padStart(6, "0");
  for (let i = 0; i < 20_000; i++) tree.add(name(i), name(i + 2), i); // a list would be deeper than the stack
  tree.check();
  const found: number[] = [];
  tree.visit(name(10_000), (value) => found.push(value));
  assert.deepEqual(found, [9_999, 10_000]);
});
