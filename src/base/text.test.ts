import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesFromLatin1, latin1FromBytes, textFromUtf8, utf8FromText } from "./text.js";

test("latin1 keeps every byte and its order", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 9000 }), (bytes) => {
      assert.deepEqual(bytesFromLatin1(latin1FromBytes(bytes)), bytes);
    }),
    { numRuns: 50 },
  );
});

test("UTF-8 is what the platform's encoders say, malformed input included", () => {
  fc.assert(
    fc.property(fc.string({ unit: "grapheme" }), fc.uint8Array({ maxLength: 12 }), (text, bytes) => {
      assert.deepEqual(utf8FromText(text), new TextEncoder().encode(text));
      assert.equal(textFromUtf8(bytes), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
    }),
    { numRuns: 2000 },
  );
});
