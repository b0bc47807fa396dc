/**
 * Bytes as a quoted string of Go's (`%q`, `strconv.Quote`), which is how entries appear in raft's texts, and keys and values in etcdctl's.
 *
 * Printable characters stand for themselves; quotes, backslashes and the usual control characters are escaped by name, other
 * ones as `\x01`, `\u00ad` or `\U000e0001`; a byte that is not part of valid UTF-8 is `\xff`.
 */

/** Characters that have an escape of one letter, with that escape. */
export const GO_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['"', '\\"'],
  ["\\", "\\\\"],
  ["\u0007", "\\a"],
  ["\b", "\\b"],
  ["\f", "\\f"],
  ["\n", "\\n"],
  ["\r", "\\r"],
  ["\t", "\\t"],
  ["\v", "\\v"],
]);

/** Letters, marks, numbers, punctuation, symbols, and the one space that is no other: what Go calls printable. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u;

/** The bytes in double quotes. */
export function quoteBytes(bytes: Uint8Array): string {
  let text = '"';
  for (let at = 0; at < bytes.length;) {
    const code = codePointAt(bytes, at);
    if (code === undefined) {
      text += `\\x${hex(bytes[at]!, 2)}`;
      at++;
    } else {
      text += quoteCodePoint(code);
      at += lengthOf(code);
    }
  }
  return `${text}"`;
}

function quoteCodePoint(code: number): string {
  const character = String.fromCodePoint(code);
  const named = GO_ESCAPES.get(character);
  if (named !== undefined) return named;
  if (PRINTABLE.test(character)) return character;
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`;
  return code < 0x1_0000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`;
}

function hex(value: number, width: number): string {
  return value.toString(16).padStart(width, "0");
}

function lengthOf(code: number): number {
  if (code < 0x80) return 1;
  if (code < 0x800) return 2;
  return code < 0x1_0000 ? 3 : 4;
}

/** The character that starts at `at`; undefined when the bytes there are not valid UTF-8. */
function codePointAt(bytes: Uint8Array, at: number): number | undefined {
  const lead = bytes[at]!;
  if (lead < 0x80) return lead;
  if (lead < 0xc2 || lead > 0xf4) return undefined;
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
  let code = lead & (0x7f >> length);
  for (let k = 1; k < length; k++) {
    const byte = bytes[at + k];
    if (byte === undefined || (byte & 0xc0) !== 0x80) return undefined;
    code = code * 64 + (byte & 0x3f);
  }
  const overlong = lengthOf(code) !== length;
  const surrogate = code >= 0xd800 && code < 0xe000;
  return overlong || surrogate || code > 0x10_ffff ? undefined : code;
}
