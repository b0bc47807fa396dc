/**
 * CRC-32C (Castagnoli; reflected polynomial 0x82F63B78), chained as Go's `crc32.Update` chains it.
 *
 * Two implementations: slicing-by-8 here, and a native one that the platform may install. A native call costs about 110 ns
 * and then runs five times as fast, so short spans stay here (design decision 4).
 */

type Crc32c = (crc: number, bytes: Uint8Array) => number;

/** From this size on the native function is called, if there is one. */
const NATIVE_BYTES_MIN = 200;

const POLYNOMIAL = 0x82f6_3b78;
const TABLES = makeTables();
let native: Crc32c | undefined;

/** Installs a faster implementation for long spans. It is checked against a known answer first. */
export function installNativeCrc32c(implementation: Crc32c): void {
  const probe = Uint8Array.from({ length: 300 }, (_, i) => (i * 7) & 0xff);
  const chained = implementation(crc32cPortable(0, probe.subarray(0, 9)), probe.subarray(9));
  if (chained === crc32cPortable(0, probe)) native = implementation;
}

/**
 * The checksum of what came before (`crc`, 0 at the beginning) followed by `bytes`.
 *
 * @returns an unsigned 32-bit integer
 */
export function crc32c(crc: number, bytes: Uint8Array): number {
  if (native !== undefined && bytes.length >= NATIVE_BYTES_MIN) return native(crc, bytes);
  return crc32cPortable(crc, bytes);
}

export function crc32cPortable(crc: number, bytes: Uint8Array, start = 0, end = bytes.length): number {
  const tables = TABLES;
  let state = ~crc;
  let at = start;
  // Eight bytes a step: table k holds the effect of a byte that k further bytes follow.
  for (; at + 8 <= end; at += 8) {
    state ^= bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    state =
      tables[0x700 + (state & 0xff)]! ^
      tables[0x600 + ((state >>> 8) & 0xff)]! ^
      tables[0x500 + ((state >>> 16) & 0xff)]! ^
      tables[0x400 + (state >>> 24)]! ^
      tables[0x300 + bytes[at + 4]!]! ^
      tables[0x200 + bytes[at + 5]!]! ^
      tables[0x100 + bytes[at + 6]!]! ^
      tables[bytes[at + 7]!]!;
  }
  for (; at < end; at++) state = tables[(state ^ bytes[at]!) & 0xff]! ^ (state >>> 8);
  return ~state >>> 0;
}

function makeTables(): Int32Array {
  const tables = new Int32Array(8 * 256);
  for (let byte = 0; byte < 256; byte++) {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) state = (state & 1) !== 0 ? (state >>> 1) ^ POLYNOMIAL : state >>> 1;
    tables[byte] = state;
  }
  for (let table = 1; table < 8; table++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = tables[(table - 1) * 256 + byte]!;
      tables[table * 256 + byte] = (previous >>> 8) ^ tables[previous & 0xff]!;
    }
  }
  return tables;
}
