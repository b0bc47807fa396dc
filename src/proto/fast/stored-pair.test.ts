import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { latin1FromBytes } from "../../base/text.js";
import { decodeKeyValue, encodeKeyValue } from "./key-value.js";
import { StoredPair } from "./stored-pair.js";

type Fields = { readonly key: string } & Pick<StoredPair, "createRevision" | "modRevision" | "version" | "lease">;

/** What a reader reads, or the name of what it throws. */
function outcome(read: () => Fields): Fields | string {
  try {
    const { key, createRevision, modRevision, version, lease } = read();
    return { key, createRevision, modRevision, version, lease };
  } catch (error) {
    return String(error);
  }
}

const pair = new StoredPair();

function inPlace(bytes: Uint8Array): Fields | string {
  return outcome(() => {
    // As in a page: with the bytes of neighbours on both sides, which must make no difference.
    pair.read(Uint8Array.from([0x0a, ...bytes, 0x01, 0x01, 0x01]), 1, 1 + bytes.length);
    const { createRevision, modRevision, version, lease } = pair;
    const key = latin1FromBytes(pair.bytes, pair.keyStart, pair.keyEnd);
    return { key, createRevision, modRevision, version, lease };
  });
}

function decoded(bytes: Uint8Array): Fields | string {
  return outcome(() => {
    const { key, ...fields } = decodeKeyValue(bytes);
    return { ...fields, key: latin1FromBytes(key) };
  });
}

const integer = fc.oneof(fc.nat(300), fc.maxSafeNat());
const pairs = fc.record({
  key: fc.uint8Array({ maxLength: 200 }),
  createRevision: integer,
  modRevision: integer,
  version: integer,
  value: fc.uint8Array({ maxLength: 300 }),
  lease: fc.oneof(fc.constant(0n), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
});

test("every pair reads in place as it decodes, one after the other into the same object", () => {
  fc.assert(fc.property(pairs, (kv) => assert.deepEqual(inPlace(encodeKeyValue(kv)), decoded(encodeKeyValue(kv)))));
});

test("cut, changed and lengthened bytes read as they decode, or are refused alike", () => {
  const change = fc.record({
    at: fc.nat(600),
    byte: fc.nat(255),
    cutTo: fc.nat(600),
    behind: fc.uint8Array({ maxLength: 4 }),
  });
  fc.assert(
    fc.property(pairs, change, (kv, { at, byte, cutTo, behind }) => {
      const whole = encodeKeyValue(kv);
      const changed = whole.slice();
      if (changed.length > 0) changed[at % changed.length] = byte;
      for (const bytes of [
        changed,
        whole.subarray(0, cutTo % (whole.length + 1)),
        Uint8Array.from([...whole, ...behind]),
      ])
        assert.deepEqual(inPlace(bytes), decoded(bytes));
    }),
    { numRuns: 1_000 },
  );
});

test("integers that a number does not hold are refused by name", () => {
  const fields = (version: number[]): Uint8Array =>
    Uint8Array.from([0x0a, 1, 0x61, 0x10, 2, 0x18, 2, 0x20, ...version]);
  for (const version of [
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x0f],
    [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10],
    [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
    [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00],
    [0x80],
  ]) {
    assert.deepEqual(inPlace(fields(version)), decoded(fields(version)), String(version));
  }
  assert.match(inPlace(fields([0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10])) as string, /2\^53/);
});
