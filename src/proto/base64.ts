/**
 * Base64 as protobuf's JSON has it: written in the standard alphabet with padding; read in the standard and the URL-safe one,
 * with padding or without.
 */
import { WireError } from "../base/bytes.js";

const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const VALUES = makeValues();

export function base64FromBytes(bytes: Uint8Array): string {
  let text = "";
  let at = 0;
  for (; at + 3 <= bytes.length; at += 3) {
    const group = (bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!;
    text +=
      ALPHABET[group >>> 18]! + ALPHABET[(group >>> 12) & 63]! + ALPHABET[(group >>> 6) & 63]! + ALPHABET[group & 63]!;
  }
  const left = bytes.length - at;
  if (left === 1) {
    const group = bytes[at]!;
    text += `${ALPHABET[group >>> 2]!}${ALPHABET[(group & 3) << 4]!}==`;
  } else if (left === 2) {
    const group = (bytes[at]! << 8) | bytes[at + 1]!;
    text += `${ALPHABET[group >>> 10]!}${ALPHABET[(group >>> 4) & 63]!}${ALPHABET[(group & 15) << 2]!}=`;
  }
  return text;
}

/** @throws WireError `WIRE_MALFORMED` for what no base64 writer makes */
export function bytesFromBase64(text: string): Uint8Array {
  const end = text.endsWith("==") ? text.length - 2 : text.endsWith("=") ? text.length - 1 : text.length;
  if (end % 4 === 1) throw new WireError("WIRE_MALFORMED", `base64 of ${end} characters`);
  const bytes = new Uint8Array(Math.floor((end * 3) / 4));
  let filled = 0;
  let bits = 0;
  let group = 0;
  for (let at = 0; at < end; at++) {
    const value = VALUES.get(text.charCodeAt(at));
    if (value === undefined) throw new WireError("WIRE_MALFORMED", `not base64 at character ${at}`);
    group = ((group << 6) | value) & 0xffff;
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      bytes[filled++] = group >>> bits;
    }
  }
  return bytes;
}

function makeValues(): ReadonlyMap<number, number> {
  const values = new Map<number, number>();
  for (let value = 0; value < 64; value++) values.set(ALPHABET.charCodeAt(value), value);
  values.set("-".charCodeAt(0), 62).set("_".charCodeAt(0), 63);
  return values;
}
