/**
 * Reads field blocks (RFC 7541, sections 3 and 6).
 *
 * gRPC clients send the same few bytes for each call of a method, once the first has filled the table. So a block that left the table
 * as it was is kept with its bytes, and when they come again before the table changes, the very same `FieldBlock` is given.
 *
 * Laws:
 * - Whatever comes, the table is what the client thinks it is, or `HpackError` is thrown and the connection must end.
 * - Lines beyond the limits are read (the table needs them) and not kept: the block says `overLimit`. Far beyond them nothing more is
 *   read: the block says `abandoned`, the table is not the client's any more, and the connection must end.
 * - Memory: the table's size, `CACHE_SLOTS` blocks of `CACHED_LIST_BYTES_MAX`, and the block under way.
 */
import { CodedError } from "../base/errors.js";
import { latin1FromBytes } from "../base/text.js";
import { FieldBlock } from "./fields.js";
import { DynamicTable, ENTRY_OVERHEAD_BYTES, STATIC_COUNT, STATIC_TABLE } from "./hpack-table.js";
import { huffmanTextMax, readHuffman } from "./huffman.js";

/** Bytes that are no field block, or not one of this connection. */
export class HpackError extends CodedError<"HTTP2_COMPRESSION"> {
  override readonly name = "HpackError";

  constructor(detail: string) {
    super("HTTP2_COMPRESSION", detail);
  }
}

export interface HpackDecoderLimits {
  /** What the table may hold: SETTINGS_HEADER_TABLE_SIZE of this side. */
  readonly tableBytesMax: number;
  /** What a list may be, each line counted with 32 bytes more. */
  readonly listBytesMax: number;
  readonly fieldsMax: number;
}

/** Times a limit, past which a block is abandoned: a bomb must not cost its reader more than a large list does. */
const ABANDON_FACTOR = 4;

/** Blocks kept: a client calls few methods, and each is one block. */
const CACHE_SLOTS = 32;
/** Largest block of bytes, and largest list, that is kept. */
const CACHED_BYTES_MAX = 512;
const CACHED_LIST_BYTES_MAX = 2_048;

interface Cached {
  readonly bytes: Uint8Array;
  readonly epoch: number;
  readonly block: FieldBlock;
}

/** Text decoded by Huffman's code is put here first: no text is longer than a block's, whose size its reader limits. */
let scratch = new Uint8Array(4096);

export class HpackDecoder {
  readonly #limits: HpackDecoderLimits;
  readonly #table: DynamicTable;
  readonly #cache: (Cached | undefined)[] = Array.from({ length: CACHE_SLOTS }, () => undefined);
  /** The block under way. */
  #bytes: Uint8Array = new Uint8Array(0);
  #at = 0;
  #end = 0;
  #names: string[] = [];
  #values: string[] = [];
  #listBytes = 0;
  #overLimit = false;
  #fields = 0;

  constructor(limits: HpackDecoderLimits) {
    this.#limits = limits;
    this.#table = new DynamicTable(limits.tableBytesMax);
  }

  /** Bytes in the dynamic table, for tests. */
  get tableBytes(): number {
    return this.#table.bytes;
  }

  /** Reads the block `[start, end)`. @throws HpackError */
  decode(bytes: Uint8Array, start: number, end: number): FieldBlock {
    const slot = hash(bytes, start, end) & (CACHE_SLOTS - 1);
    const cached = this.#cache[slot];
    if (cached !== undefined && cached.epoch === this.#table.epoch && equal(cached.bytes, bytes, start, end)) {
      return cached.block;
    }
    const epoch = this.#table.epoch;
    const block = this.#read(bytes, start, end);
    const keep = !block.abandoned && end - start <= CACHED_BYTES_MAX && block.listBytes <= CACHED_LIST_BYTES_MAX;
    if (keep && epoch === this.#table.epoch) this.#cache[slot] = { bytes: bytes.slice(start, end), epoch, block };
    return block;
  }

  #read(bytes: Uint8Array, start: number, end: number): FieldBlock {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    this.#names = [];
    this.#values = [];
    this.#listBytes = 0;
    this.#overLimit = false;
    this.#fields = 0;
    while (this.#at < end && !this.#isAbandoned) {
      const lead = bytes[this.#at]!;
      if (lead >= 0x80) this.#indexed();
      else if (lead >= 0x40) this.#literal(6, true);
      else if (lead >= 0x20) this.#resize();
      else this.#literal(4, false);
    }
    const block = new FieldBlock(this.#names, this.#values, this.#listBytes, this.#overLimit, this.#isAbandoned);
    this.#bytes = EMPTY;
    this.#names = [];
    this.#values = [];
    return block;
  }

  get #isAbandoned(): boolean {
    const { listBytesMax, fieldsMax } = this.#limits;
    return this.#listBytes > listBytesMax * ABANDON_FACTOR || this.#fields > fieldsMax * ABANDON_FACTOR;
  }

  #indexed(): void {
    const index = this.#integer(7);
    if (index === 0) throw new HpackError("index 0 stands for no field line");
    if (index <= STATIC_COUNT) {
      const [name, value] = STATIC_TABLE[index - 1]!;
      this.#keep(name, value);
      return;
    }
    const position = this.#position(index);
    this.#keep(this.#table.nameAt(position), this.#table.valueAt(position));
  }

  #literal(prefixBits: number, indexed: boolean): void {
    const index = this.#integer(prefixBits);
    const name = index === 0 ? this.#text() : this.#nameOf(index);
    const value = this.#text();
    if (indexed) this.#table.add(name, value);
    this.#keep(name, value);
  }

  #nameOf(index: number): string {
    if (index <= STATIC_COUNT) return STATIC_TABLE[index - 1]![0];
    return this.#table.nameAt(this.#position(index));
  }

  #position(index: number): number {
    const position = index - STATIC_COUNT - 1;
    if (position >= this.#table.count) {
      throw new HpackError(`index ${index} is beyond the table, which ends at ${STATIC_COUNT + this.#table.count}`);
    }
    return position;
  }

  /** Section 6.3: only before the first line of a block, and not over what this side has allowed. */
  #resize(): void {
    if (this.#names.length > 0 || this.#overLimit)
      throw new HpackError("a change of the table's size after a field line");
    const size = this.#integer(5);
    if (size > this.#limits.tableBytesMax) {
      throw new HpackError(`a table of ${size} bytes, where ${this.#limits.tableBytesMax} are allowed`);
    }
    this.#table.resize(size);
  }

  #keep(name: string, value: string): void {
    this.#listBytes += name.length + value.length + ENTRY_OVERHEAD_BYTES;
    this.#fields++;
    if (this.#overLimit) return;
    if (this.#listBytes > this.#limits.listBytesMax || this.#names.length >= this.#limits.fieldsMax) {
      this.#overLimit = true;
      this.#names = [];
      this.#values = [];
      return;
    }
    this.#names.push(name);
    this.#values.push(value);
  }

  /** Section 5.1. No number in a block of ours has more than 28 bits beyond its prefix. */
  #integer(prefixBits: number): number {
    const full = (1 << prefixBits) - 1;
    let value = this.#bytes[this.#at++]! & full;
    if (value < full) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      if (this.#at >= this.#end) throw new HpackError("the block ends in the midst of a number");
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw new HpackError("a number of more than 28 bits");
  }

  /** Section 5.2, as latin1. */
  #text(): string {
    if (this.#at >= this.#end) throw new HpackError("the block ends before a text");
    const coded = this.#bytes[this.#at]! >= 0x80;
    const length = this.#integer(7);
    const start = this.#at;
    if (length > this.#end - start) {
      throw new HpackError(`a text of ${length} bytes, where the block has ${this.#end - start} more`);
    }
    this.#at = start + length;
    if (!coded) return latin1FromBytes(this.#bytes, start, this.#at);
    const room = huffmanTextMax(length);
    if (room > scratch.length) scratch = new Uint8Array(room);
    const found = readHuffman(this.#bytes, start, this.#at, scratch);
    if (found === -1) throw new HpackError("a text that is not in Huffman's code");
    return latin1FromBytes(scratch, 0, found);
  }
}

const EMPTY = new Uint8Array(0);

/** FNV-1a. */
function hash(bytes: Uint8Array, start: number, end: number): number {
  let value = 0x811c_9dc5;
  for (let at = start; at < end; at++) value = Math.imul(value ^ bytes[at]!, 0x0100_0193);
  return value ^ (value >>> 15);
}

function equal(kept: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (kept.length !== end - start) return false;
  for (let i = 0; i < kept.length; i++) if (kept[i] !== bytes[start + i]) return false;
  return true;
}
