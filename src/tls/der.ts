/**
 * DER, as far as certificates and lists of revoked ones need it: fields of a tag, a length and a value, each value bytes or fields again.
 *
 * Laws: what is written is in its one form; what is read has definite lengths that end where the field around them ends.
 */
import { concatBytes } from "../base/bytes.js";
import { invalid } from "./errors.js";

export const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  utcTime: 0x17,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
  context: (number: number): number => 0x80 + number,
  explicit: (number: number): number => 0xa0 + number,
} as const;

// ---- writing ------------------------------------------------------------------------------------------------------

/** Tag, length, value. */
export function tlv(tag: number, value: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.of(tag, ...lengthBytes(value.length)), value]);
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  if (length < 0x100) return [0x81, length];
  return [0x82, length >> 8, length & 0xff];
}

export function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(Tag.sequence, concatBytes(parts));
}

export function set(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(Tag.set, concatBytes(parts));
}

export function integer(bytes: Uint8Array): Uint8Array {
  return tlv(Tag.integer, bytes);
}

export function bitString(bytes: Uint8Array): Uint8Array {
  return tlv(Tag.bits, concatBytes([Uint8Array.of(0), bytes]));
}

/** The first two numbers share a byte, the others are written in groups of 7 bits. */
export function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const groups = rest.flatMap((number) => {
    const bytes = [number & 0x7f];
    for (let left = number >> 7; left > 0; left >>= 7) bytes.unshift(0x80 | (left & 0x7f));
    return bytes;
  });
  return tlv(Tag.oid, Uint8Array.of(first * 40 + second, ...groups));
}

/** Before 2050 a certificate has two digits for the year, from then on four. */
export function time(milliseconds: number): Uint8Array {
  const digits = new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+/g, "");
  const long = Number(digits.slice(0, 4)) >= 2050;
  return tlv(long ? Tag.time : Tag.utcTime, Buffer.from(long ? digits : digits.slice(2)));
}

/** Bytes as PEM has them. */
export function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}

// ---- reading ------------------------------------------------------------------------------------------------------

export interface DerField {
  readonly tag: number;
  readonly value: Uint8Array;
}

/** The fields that lie one behind the other in these bytes. @throws TlsError `TLS_INVALID` when they do not end with the bytes */
export function fieldsOf(bytes: Uint8Array): DerField[] {
  const fields: DerField[] = [];
  for (let at = 0; at < bytes.length;) {
    const tag = bytes[at]!;
    const { length, start } = lengthAt(bytes, at + 1);
    const end = start + length;
    if (end > bytes.length) throw invalid(`no DER: a field of ${length} bytes at ${at} has ${bytes.length - start}`);
    fields.push({ tag, value: bytes.subarray(start, end) });
    at = end;
  }
  return fields;
}

function lengthAt(bytes: Uint8Array, at: number): { readonly length: number; readonly start: number } {
  const first = bytes[at] ?? 0x80;
  if (first < 0x80) return { length: first, start: at + 1 };
  const count = first & 0x7f;
  // Four bytes hold more than any file here has.
  if (count === 0 || count > 4) throw invalid(`no DER: a length of ${count} bytes at ${at}`);
  let length = 0;
  for (let i = 1; i <= count; i++) length = length * 256 + (bytes[at + i] ?? 0);
  return { length, start: at + 1 + count };
}
