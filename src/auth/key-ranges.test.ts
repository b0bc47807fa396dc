import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesFromLatin1 } from "../base/text.js";
import { isValidRange, type KeyRange, KeyRanges } from "./key-ranges.js";

const range = (key: string, rangeEnd = ""): KeyRange => ({
  key: bytesFromLatin1(key),
  rangeEnd: bytesFromLatin1(rangeEnd),
});
const rangesOf = (...pairs: (readonly [string, string?])[]): KeyRanges =>
  new KeyRanges(pairs.map(([key, end]) => range(key, end)));

test("a key is in the range that holds it, its end excluded", () => {
  const ranges = rangesOf(["b", "d"], ["x"]);
  assert.deepEqual(
    ["a", "b", "b\0", "c\xff", "d", "x", "x\0", "y"].map((key) => ranges.hasKey(key)),
    [false, true, true, true, false, true, false, false],
  );
});

test("ranges that touch or overlap cover what none of them covers alone", () => {
  const ranges = rangesOf(["a", "c"], ["c", "e"], ["d", "g"], ["h", "i"]);
  assert.equal(ranges.covers("a", "g"), true);
  assert.equal(ranges.covers("a", "h"), false);
  assert.equal(ranges.covers("a", "i"), false, "there is a gap from g to h");
});

test("only an open range covers a span that is open", () => {
  assert.equal(rangesOf(["a", "\0"]).covers("b", "\0"), true);
  assert.equal(rangesOf(["a", "\0"]).covers("b", "z"), true);
  assert.equal(rangesOf(["a", "\xff\xff"]).covers("b", "\0"), false);
  assert.equal(rangesOf(["a"]).covers("a", "\0"), false, "the right to one key is none to all after it");
  assert.equal(rangesOf(["\0", "\0"]).covers("\0", "\0"), true);
});

test("a span that ends before it begins is judged as etcd's tree judges it", () => {
  const ranges = rangesOf(["b", "d"]);
  assert.equal(ranges.covers("c", "a"), true);
  assert.equal(ranges.covers("d", "a"), false);
  assert.equal(ranges.covers("c", "c"), true);
  // Of three in order the middle one is the root. It lies before the span's first key and begins behind its end: etcd looks no further.
  const three = rangesOf(["b"], ["c"], ["e", "g"]);
  assert.equal(three.covers("f", "d"), true);
  assert.equal(three.covers("f", "b"), false);
  assert.equal(three.hasKey("f"), true);
});

test("a permission without a key, or that ends before it begins, holds nothing", () => {
  for (const nothing of [range(""), range("", "b"), range("", "\0"), range("b", "a"), range("b", "b")]) {
    assert.equal(isValidRange(nothing), false);
    const ranges = new KeyRanges([nothing]);
    for (const key of ["\0", "a", "b", "c"]) assert.equal(ranges.hasKey(key), false);
  }
  for (const valid of [range("a"), range("a", "b"), range("a", "\0")]) assert.equal(isValidRange(valid), true);
});

/** The simple twin: every key of at most three letters of a small alphabet, looked at one by one. */
const LETTERS = ["\0", "a", "b", "\xff"];
const KEYS = LETTERS.flatMap((a) => [a, ...LETTERS.flatMap((b) => [a + b, ...LETTERS.map((c) => a + b + c)])]).sort();

const isIn = (key: string, begin: string, end: string): boolean =>
  end === "" ? key === begin : key >= begin && (end === "\0" || key < end);

test("look-ups agree with a search through all ranges", () => {
  const word = fc.constantFrom(...KEYS);
  const end = fc.oneof(fc.constantFrom("", "\0"), word);
  const check = fc.property(fc.array(fc.tuple(word, end), { maxLength: 8 }), word, end, (pairs, key, rangeEnd) => {
    const ranges = rangesOf(...pairs);
    const holds = (one: string): boolean => pairs.some(([begin, end]) => isIn(one, begin, end));
    assert.equal(ranges.hasKey(key), holds(key));
    const bytes = Buffer.from(`<${key}>`, "latin1");
    assert.equal(ranges.hasKeyIn(bytes, 1, 1 + key.length), holds(key));
    // A covered span holds only permitted keys. (The reverse is not so: between two keys of the alphabet are more.)
    if (!ranges.covers(key, rangeEnd)) return;
    assert.ok(holds(key));
    for (const one of KEYS)
      if (isIn(one, key, rangeEnd)) assert.ok(holds(one), JSON.stringify({ pairs, key, rangeEnd, one }));
  });
  fc.assert(check, { numRuns: 2_000 });
});
