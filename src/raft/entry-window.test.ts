import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { InvariantError } from "../base/errors.js";
import { entrySize, type Entry } from "../proto/raft.js";
import { encodedBytes, EntryWindow, payloadBytes } from "./entry-window.js";
import { entriesOf, entry, termsOf } from "./testing/messages.js";

test("a window behaves as an array that knows the index of its first entry", () => {
  const step = fc.oneof(
    fc.record({ kind: fc.constant("push" as const), count: fc.integer({ min: 0, max: 200 }) }),
    fc.record({ kind: fc.constant("truncate" as const), at: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.record({ kind: fc.constant("forget" as const), at: fc.double({ min: 0, max: 1, noNaN: true }) }),
    fc.record({ kind: fc.constant("restart" as const), first: fc.integer({ min: 1, max: 1_000 }) }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const window = new EntryWindow(1);
      let twin: Entry[] = [];
      let first = 1;
      let term = 0;
      for (const one of steps) {
        const index = first + Math.round("at" in one ? one.at * twin.length : 0);
        if (one.kind === "push") {
          const added = entriesOf(
            Array.from({ length: one.count }, () => ++term),
            first + twin.length,
          );
          window.push(added);
          twin = [...twin, ...added];
        } else if (one.kind === "truncate") {
          window.truncate(index);
          twin = twin.slice(0, index - first);
        } else if (one.kind === "forget") {
          window.forgetBefore(index);
          twin = twin.slice(index - first);
          first = index;
        } else {
          window.restart(one.first);
          twin = [];
          ({ first } = one);
        }
        assert.equal(window.first, first);
        assert.equal(window.end, first + twin.length);
        assert.equal(window.length, twin.length);
        assert.deepEqual(window.slice(first, window.end), twin);
      }
    }),
  );
});

test("a slice stops before the entry that passes the limit, and never before the first", () => {
  const window = new EntryWindow(5);
  const entries = [entry(1, 5, "aa"), entry(1, 6, "bbbb"), entry(1, 7, "c")];
  window.push(entries);
  const sizes = entries.map(entrySize);
  assert.equal(window.slice(5, 8, 0).length, 1);
  assert.equal(window.slice(5, 8, sizes[0]! + sizes[1]! - 1).length, 1);
  assert.equal(window.slice(5, 8, sizes[0]! + sizes[1]!).length, 2);
  assert.equal(window.slice(5, 8, encodedBytes(entries)).length, 3);
  assert.deepEqual(window.slice(6, 6, 0), []);
});

test("a slice stays as it was when the window moves on", () => {
  const window = new EntryWindow(1);
  window.push(entriesOf([1, 1, 1]));
  const slice = window.slice(1, 4);
  window.truncate(2);
  window.push(entriesOf([2, 2], 2));
  assert.deepEqual(termsOf(slice), [1, 1, 1]);
});

test("holes and reads outside are bugs", () => {
  const window = new EntryWindow(3);
  window.push(entriesOf([1, 1], 3));
  assert.throws(() => window.push(entriesOf([1], 6)), InvariantError);
  assert.throws(() => window.term(2), InvariantError);
  assert.throws(() => window.term(5), InvariantError);
  assert.throws(() => window.slice(2, 4), InvariantError);
  assert.throws(() => window.slice(3, 6), InvariantError);
  assert.throws(() => window.slice(4, 3), InvariantError);
  assert.throws(() => window.forgetBefore(6), InvariantError);
  assert.throws(() => window.truncate(2), InvariantError);
});

test("payload counts data alone", () => {
  assert.equal(payloadBytes([entry(1, 1, "abc"), entry(1, 2), entry(1, 3, "de")]), 5);
});
