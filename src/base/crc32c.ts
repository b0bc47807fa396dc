/**
 * CRC-32C (Castagnoli; reflected polynomial 0x82F63B78), chained as Go's `crc32.Update` chains it.
 *
 * Three implementations, each for the spans where it is the fastest (docs/decisions/checksums.md): tables in JavaScript for tiny
 * ones, WebAssembly for those of records, a native function that the platform may install for long ones. Where one is missing the
 * one before it does its work, too.
 */
import { makeWasmCrc32c, WasmCrc32cMemory, type WasmCrc32c } from "./crc32c-wasm.js";

type Crc32c = (crc: number, bytes: Uint8Array) => number;

/** From this size on the copy into the WebAssembly memory and the call are repaid. */
const WASM_BYTES_MIN = 48;
/** From this size on the native function is called, if there is one. */
const NATIVE_BYTES_MIN = 2000;

const POLYNOMIAL = 0x82f6_3b78;
/** Eight tables serve the JavaScript below, sixteen the WebAssembly: more of them pay only where loads are not checked. */
const TABLE_COUNT = 16;
const TABLES = makeTables();
const wasm: WasmCrc32c = provenWasm() ?? crc32cPortable;
let native: Crc32c | undefined;

/** Installs a faster implementation for long spans. It is checked against a known answer first. */
export function installNativeCrc32c(implementation: Crc32c): void {
  if (knowsTheAnswer(implementation)) native = implementation;
}

/**
 * The checksum of what came before (`crc`, 0 at the beginning) followed by `bytes`.
 *
 * @returns an unsigned 32-bit integer
 */
export function crc32c(crc: number, bytes: Uint8Array): number {
  return crc32cSigned(crc, bytes) >>> 0;
}

/** The same as a signed integer, for hot loops: one from 2^31 on would be a number on the heap. Takes either form. */
export function crc32cSigned(crc: number, bytes: Uint8Array): number {
  if (bytes.length < WASM_BYTES_MIN) return tableState(crc, bytes, 0, bytes.length);
  if (native !== undefined && bytes.length >= NATIVE_BYTES_MIN) return native(crc >>> 0, bytes) | 0;
  return wasm(crc, bytes) | 0;
}

/** `crc32cSigned` of `bytes[start, end)`; a short span costs no view. */
export function crc32cSpan(crc: number, bytes: Uint8Array, start: number, end: number): number {
  if (end - start < WASM_BYTES_MIN) return tableState(crc, bytes, start, end);
  return crc32cSigned(crc, bytes.subarray(start, end));
}

/**
 * A buffer whose bytes are summed where they lie: in a memory of WebAssembly where there is one, for a writer that lays out many
 * small spans and wants the checksum of each.
 */
export class Crc32cBuffer {
  /** All of it. `grow` puts a larger one in its place; views of the old one stay good, and are of no use to the new one. */
  bytes: Uint8Array;
  #memory: WasmCrc32cMemory | undefined;

  constructor(capacity: number) {
    this.#memory = makeMemory(capacity);
    this.bytes = this.#memory?.bytes ?? new Uint8Array(capacity);
  }

  /** Makes room for at least `capacity` bytes; those that are there stay. */
  grow(capacity: number): void {
    if (capacity <= this.bytes.length) return;
    const memory = makeMemory(capacity);
    const grown = memory?.bytes ?? new Uint8Array(capacity);
    grown.set(this.bytes);
    this.bytes = grown;
    this.#memory = memory;
  }

  /** `crc32cSigned` of `bytes[start, end)`. */
  crc32c(crc: number, start: number, end: number): number {
    const memory = this.#memory;
    return memory === undefined ? crc32cSpan(crc, this.bytes, start, end) : memory.crc32c(crc, start, end);
  }
}

/** The checksum by the tables alone, of `bytes[start, end)`. */
export function crc32cPortable(crc: number, bytes: Uint8Array, start = 0, end = bytes.length): number {
  return tableState(crc, bytes, start, end) >>> 0;
}

function tableState(crc: number, bytes: Uint8Array, start: number, end: number): number {
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
  return ~state;
}

function makeMemory(capacity: number): WasmCrc32cMemory | undefined {
  return wasm === crc32cPortable ? undefined : WasmCrc32cMemory.make(TABLES, capacity);
}

/** The WebAssembly function, unless it is missing or wrong. */
function provenWasm(): WasmCrc32c | undefined {
  const candidate = makeWasmCrc32c(TABLES);
  return candidate !== undefined && knowsTheAnswer((crc, bytes) => candidate(crc, bytes) >>> 0) ? candidate : undefined;
}

function knowsTheAnswer(implementation: Crc32c): boolean {
  const probe = Uint8Array.from({ length: 300 }, (_, i) => (i * 7) & 0xff);
  const chained = implementation(crc32cPortable(0, probe.subarray(0, 9)), probe.subarray(9));
  return chained === crc32cPortable(0, probe);
}

function makeTables(): Int32Array {
  const tables = new Int32Array(TABLE_COUNT * 256);
  for (let byte = 0; byte < 256; byte++) {
    let state = byte;
    for (let bit = 0; bit < 8; bit++) state = (state & 1) !== 0 ? (state >>> 1) ^ POLYNOMIAL : state >>> 1;
    tables[byte] = state;
  }
  for (let table = 1; table < TABLE_COUNT; table++) {
    for (let byte = 0; byte < 256; byte++) {
      const previous = tables[(table - 1) * 256 + byte]!;
      tables[table * 256 + byte] = (previous >>> 8) ^ tables[previous & 0xff]!;
    }
  }
  return tables;
}
