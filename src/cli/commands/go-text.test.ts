import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { latin1FromBytes } from "../../base/text.js";
import { quoteBytes } from "../../base/go-quote.js";
import { formatGoDuration, goJson, goUnquote, hexEscaped, humanBytes, parseGoDuration } from "./go-text.js";

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

test("strings are quoted as Go quotes them", () => {
  const quoted: [string, string][] = [
    ["", '""'],
    ['a"b\\', '"a\\"b\\\\"'],
    ["\u0007\b\f\n\r\t\v\0\u001f\u007f", '"\\a\\b\\f\\n\\r\\t\\v\\x00\\x1f\\x7f"'],
    ["é☃😀", '"é☃😀"'],
    ["\u00a0\u200b\ufeff\u{e0001}", '"\\u00a0\\u200b\\ufeff\\U000e0001"'],
  ];
  for (const [text, expected] of quoted) assert.equal(quoteBytes(utf8(text)), expected);
  assert.equal(quoteBytes(Uint8Array.of(0x61, 0xff, 0xc3, 0x28, 0xe2, 0x98)), '"a\\xff\\xc3(\\xe2\\x98"');
});

test("what is quoted is read back, byte for byte", () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 30 }), (bytes) => {
      // Quoted text is UTF-8; lines come as latin1.
      const line = latin1FromBytes(utf8(quoteBytes(bytes)));
      assert.equal(goUnquote(line), latin1FromBytes(bytes));
    }),
  );
  assert.equal(goUnquote("`a\\n`"), "a\\n");
  assert.equal(goUnquote('"\\101\\x41\\u00e9"'), "AA\u00c3\u00a9");
  assert.equal(goUnquote('"\\q"'), undefined);
});

test("durations are read and written as Go does", () => {
  assert.deepEqual(
    ["5s", "300ms", "1m30s", "1.5h", "0", "-2us"].map(parseGoDuration),
    [5000, 300, 90_000, 5_400_000, 0, -0.002],
  );
  assert.deepEqual(["", "5", "s", "5 s", "1x"].map(parseGoDuration), Array(5).fill(undefined));
  const written: [number, string][] = [
    [0, "0s"],
    [0.000_001, "1ns"],
    [0.0015, "1.5µs"],
    [2.345_678, "2.345678ms"],
    [1000, "1s"],
    [61_500, "1m1.5s"],
    [3_600_000, "1h0m0s"],
  ];
  for (const [milliseconds, expected] of written) {
    assert.equal(formatGoDuration(milliseconds), expected);
    assert.equal(parseGoDuration(expected), milliseconds);
  }
});

test("sizes are shown in powers of 1000", () => {
  const shown = [0, 9, 10, 999, 1000, 20_480, 21_480, 999_499, 2_100_000_000].map(humanBytes);
  assert.deepEqual(shown, ["0 B", "9 B", "10 B", "999 B", "1.0 kB", "20 kB", "22 kB", "1000 kB", "2.1 GB"]);
});

test("JSON leaves zero fields out, keeps 64-bit integers whole and escapes what Go escapes", () => {
  const value = {
    fields: [
      ["id", 2n ** 64n - 1n],
      ["zero", 0],
      ["kept", 0, "always"],
      ["none", []],
      ["bytes", Uint8Array.of(255, 254)],
      ["text", '<a&"b">'],
      ["list", [1, true]],
    ],
  } as const;
  assert.equal(
    goJson(value),
    '{"id":18446744073709551615,"kept":0,"bytes":"//4=","text":"\\u003ca\\u0026\\"b\\"\\u003e","list":[1,true]}',
  );
  assert.equal(hexEscaped(Uint8Array.of(0, 255)), "\\x00\\xff");
});
