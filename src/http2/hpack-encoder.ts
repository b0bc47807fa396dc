/**
 * Writes field blocks (RFC 7541, section 6).
 *
 * Only lines that come again go into the client's table, and each once: an answer's fields are few and most are the same for every
 * call. So after the first answers the table rests, and the bytes of a constant list of fields are kept until it changes.
 *
 * Law: the table here is what the client's decoder has after each block that was written, so blocks must leave in the order in which
 * they were written.
 */
import type { OutgoingField, OutgoingFields } from "./fields.js";
import { DynamicTable, STATIC_COUNT, STATIC_TABLE } from "./hpack-table.js";
import { huffmanLength, writeHuffman } from "./huffman.js";

/** What this side keeps in the client's table, at most; a client that offers more room is not taken at its word. */
const TABLE_BYTES_MAX = 4_096;

const STATIC_BY_LINE = new Map<string, number>();
const STATIC_BY_NAME = new Map<string, number>();
for (const [i, [name, value]] of STATIC_TABLE.entries()) {
  STATIC_BY_LINE.set(`${name}\0${value}`, i + 1);
  if (!STATIC_BY_NAME.has(name)) STATIC_BY_NAME.set(name, i + 1);
}

/** Room that a list of fields may take, whatever its bytes are. */
export function fieldsRoom({ fields }: OutgoingFields): number {
  // A change of size, and for each line an index and two lengths; Huffman's code is used where it is shorter.
  return fields.reduce((sum, { name, value }) => sum + name.length + value.length + 15, 12);
}

export class HpackEncoder {
  readonly #table = new DynamicTable(TABLE_BYTES_MAX);
  /** Bytes of constant lists by their slot, and the table's state that they hold for. */
  readonly #kept: (Uint8Array | undefined)[] = [];
  readonly #keptAt: number[] = [];
  /** Sizes that the client is to be told with the next block: the smallest since the last one, and the present one. */
  #smallest: number | undefined;
  #present: number | undefined;

  /** The client's SETTINGS_HEADER_TABLE_SIZE. */
  limitTable(bytesMax: number): void {
    const size = Math.min(bytesMax, TABLE_BYTES_MAX);
    if (size === this.#table.bytesMax && this.#present === undefined) return;
    this.#table.resize(size);
    this.#smallest = Math.min(this.#smallest ?? size, size);
    this.#present = size;
  }

  /** Bytes of a constant list that may be copied as they are; undefined when it must be written. */
  keptBytes(fields: OutgoingFields): Uint8Array | undefined {
    const { slot } = fields;
    if (slot === -1 || this.#keptAt[slot] !== this.#table.epoch || this.#present !== undefined) return undefined;
    return this.#kept[slot];
  }

  /** Writes a block at `at`, where `fieldsRoom` bytes are free; returns where it ends. */
  write(buffer: Uint8Array, at: number, fields: OutgoingFields): number {
    const epoch = this.#table.epoch;
    let end = this.#writeSizes(buffer, at);
    for (const field of fields.fields) end = this.#writeField(buffer, end, field);
    const { slot } = fields;
    if (slot !== -1 && epoch === this.#table.epoch) {
      this.#kept[slot] = buffer.slice(at, end);
      this.#keptAt[slot] = epoch;
    }
    return end;
  }

  /** Section 4.2: a change of size stands before the first line that comes after it; if it went down and up again, both are told. */
  #writeSizes(buffer: Uint8Array, at: number): number {
    if (this.#present === undefined) return at;
    let end = at;
    if (this.#smallest! < this.#present) end = writeInteger(buffer, end, 0x20, 5, this.#smallest!);
    end = writeInteger(buffer, end, 0x20, 5, this.#present);
    this.#smallest = undefined;
    this.#present = undefined;
    // What is kept must not begin with a size: the bytes of this block hold for it alone.
    this.#table.resize(this.#table.bytesMax);
    return end;
  }

  #writeField(buffer: Uint8Array, at: number, { name, value, reused = false }: OutgoingField): number {
    const whole = STATIC_BY_LINE.get(`${name}\0${value}`) ?? this.#find(name, value);
    if (whole !== undefined) return writeInteger(buffer, at, 0x80, 7, whole);
    const nameIndex = STATIC_BY_NAME.get(name) ?? this.#findName(name) ?? 0;
    // Section 7.1.3 asks for "never indexed" where a value is a secret; no answer of ours holds one.
    let end = reused ? writeInteger(buffer, at, 0x40, 6, nameIndex) : writeInteger(buffer, at, 0x00, 4, nameIndex);
    if (nameIndex === 0) end = writeText(buffer, end, name);
    end = writeText(buffer, end, value);
    if (reused) this.#table.add(name, value);
    return end;
  }

  #find(name: string, value: string): number | undefined {
    for (let i = 0; i < this.#table.count; i++) {
      if (this.#table.valueAt(i) === value && this.#table.nameAt(i) === name) return STATIC_COUNT + 1 + i;
    }
    return undefined;
  }

  #findName(name: string): number | undefined {
    for (let i = 0; i < this.#table.count; i++) if (this.#table.nameAt(i) === name) return STATIC_COUNT + 1 + i;
    return undefined;
  }
}

function writeInteger(buffer: Uint8Array, at: number, lead: number, prefixBits: number, value: number): number {
  const full = (1 << prefixBits) - 1;
  if (value < full) {
    buffer[at] = lead | value;
    return at + 1;
  }
  buffer[at] = lead | full;
  let end = at + 1;
  let rest = value - full;
  while (rest >= 0x80) {
    buffer[end++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  buffer[end++] = rest;
  return end;
}

function writeText(buffer: Uint8Array, at: number, text: string): number {
  const coded = huffmanLength(text);
  if (coded < text.length) return writeHuffman(buffer, writeInteger(buffer, at, 0x80, 7, coded), text);
  let end = writeInteger(buffer, at, 0, 7, text.length);
  for (let i = 0; i < text.length; i++) buffer[end++] = text.charCodeAt(i);
  return end;
}
