/**
 * Bytes and text without the platform's encoders, so that pure rooms can use them.
 *
 * Keys live in memory as latin1 strings: one byte a character, so that `<` compares as bytes do (design decision 7).
 */

/** A text put together from characters stays in pieces from 13 characters on: slow to hash, and 32 bytes a character. */
const PIECED_TEXT_MAX = 12;

/** Each byte as the character of the same number. */
export function latin1FromBytes(bytes: Uint8Array, start = 0, end = bytes.length): string {
  let text = "";
  if (end - start <= PIECED_TEXT_MAX) {
    for (let i = start; i < end; i++) text += String.fromCharCode(bytes[i]!);
    return text;
  }
  for (let at = start; at < end; at += 4096) {
    text += String.fromCharCode.apply(null, bytes.subarray(at, Math.min(end, at + 4096)) as unknown as number[]);
  }
  return text;
}

/** The bytes of a latin1 string; characters over 255 lose their high bits, so give it none. */
export function bytesFromLatin1(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  return bytes;
}

/** UTF-8 of a string; a lone surrogate becomes U+FFFD. */
export function utf8FromText(text: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of text) {
    let code = character.codePointAt(0)!;
    if (code >= 0xd800 && code <= 0xdfff) code = 0xfffd;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), 0x80 | (code & 0x3f));
    else if (code < 0x1_0000) bytes.push(0xe0 | (code >> 12), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    else {
      bytes.push(0xf0 | (code >> 18), 0x80 | ((code >> 12) & 0x3f), 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f));
    }
  }
  return Uint8Array.from(bytes);
}

/** Text of UTF-8; each malformed sequence (its longest valid beginning, as WHATWG's decoder counts) becomes U+FFFD. */
export function textFromUtf8(bytes: Uint8Array): string {
  let text = "";
  let at = 0;
  while (at < bytes.length) {
    const lead = bytes[at]!;
    const length = sequenceLength(lead);
    let code = length === 1 ? lead : lead & (0x7f >> length);
    let taken = 1;
    while (taken < length && continues(lead, taken, bytes[at + taken])) {
      code = (code << 6) | (bytes[at + taken]! & 0x3f);
      taken++;
    }
    text += taken === length ? String.fromCodePoint(code) : "\ufffd";
    at += taken;
  }
  return text;
}

/** Bytes of the sequence that starts with `lead`; 0 when none does. */
function sequenceLength(lead: number): number {
  if (lead < 0x80) return 1;
  if (lead < 0xc2 || lead > 0xf4) return 0;
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/** Whether `byte` may stand at `position`. The second byte also rules out overlong forms, surrogates and U+110000 on. */
function continues(lead: number, position: number, byte: number | undefined): boolean {
  if (byte === undefined) return false;
  const lowest = position > 1 ? 0x80 : lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80;
  const highest = position > 1 ? 0xbf : lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf;
  return byte >= lowest && byte <= highest;
}

/** Lower-case hexadecimal, zero-padded to `width` digits: `%0*x` in C's words. */
export function hexText(value: number | bigint, width = 0): string {
  return value.toString(16).padStart(width, "0");
}
