/**
 * Strings inside a JSON text that is known to be JSON, as Go's protobuf reads them (`protojson`): stricter than JSON, for what is no UTF-8 and
 * halves of surrogate pairs are refused.
 */
import { JsonError, type Span } from "./json-reader.js";
import { quoteBytes } from "../base/go-quote.js";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const BACKSLASH = 0x5c;
const NAMED: Readonly<Record<string, string>> = { b: "\b", f: "\f", n: "\n", r: "\r", t: "\t" };

/** A half of a pair needs so many bytes behind it, which would be the other half. */
const ESCAPE_BYTES = 6;

/**
 * What a string says.
 *
 * @param textEnd where the whole JSON ends
 * @param refuse makes the error of a sentence about this string
 */
export function stringAt(
  text: Uint8Array,
  { start, end }: Span,
  textEnd: number,
  refuse: (why: string) => JsonError,
): string {
  let result = "";
  let at = start + 1;
  for (;;) {
    const backslash = text.subarray(0, end - 1).indexOf(BACKSLASH, at);
    const plainEnd = backslash < 0 ? end - 1 : backslash;
    result += decode(text.subarray(at, plainEnd), refuse);
    if (backslash < 0) return result;
    const letter = String.fromCharCode(text[backslash + 1]!);
    at = backslash + 2;
    if (letter !== "u") {
      result += NAMED[letter] ?? letter;
      continue;
    }
    const first = codeUnitAt(text, backslash);
    at = backslash + ESCAPE_BYTES;
    result += String.fromCharCode(first);
    if (!isSurrogate(first)) continue;
    if (textEnd - at < ESCAPE_BYTES) throw new JsonError("proto: unexpected EOF");
    const second = isEscape(text, at) ? codeUnitAt(text, at) : Number.NaN;
    if (!(first < 0xdc00 && second >= 0xdc00 && second < 0xe000)) {
      throw refuse(`invalid escape code ${quoteBytes(text.subarray(at, at + ESCAPE_BYTES))} in string`);
    }
    result += String.fromCharCode(second);
    at += ESCAPE_BYTES;
  }
}

const isSurrogate = (unit: number): boolean => unit >= 0xd800 && unit < 0xe000;
const isEscape = (text: Uint8Array, at: number): boolean => text[at] === BACKSLASH && text[at + 1] === 0x75;

/** Of `\uXXXX` at a place. */
function codeUnitAt(text: Uint8Array, at: number): number {
  return Number.parseInt(String.fromCharCode(...text.subarray(at + 2, at + ESCAPE_BYTES)), 16);
}

function decode(bytes: Uint8Array, refuse: (why: string) => JsonError): string {
  try {
    return utf8.decode(bytes);
  } catch {
    throw refuse("invalid UTF-8 in string");
  }
}
