/**
 * Header compression of HTTP/2 (RFC 7541), as far as a client that sends the same few requests and reads any answer needs it.
 *
 * It is not the server's own code on purpose: a mistake there would be made on both sides and never be noticed.
 *
 * Laws: the reader keeps the dynamic table as the other side does, so it has to see every block, in order; a block that breaks
 * RFC 7541 throws. The writer makes what a usual client makes: the first request on a connection puts its fields into the table,
 * those after it name them by their index.
 */

export interface HeaderField {
  readonly name: string;
  readonly value: string;
}

/** What a dynamic table may hold before the other side says otherwise. */
export const TABLE_BYTES_DEFAULT = 4096;
/** What an entry costs besides its name and value (RFC 7541, 4.1). */
const ENTRY_OVERHEAD_BYTES = 32;

const HUFFMAN_FLAG = 0x80;
const INDEXED = 0x80;
const WITH_INDEXING = 0x40;
const TABLE_SIZE = 0x20;

const byteCount = ({ name, value }: HeaderField): number => name.length + value.length + ENTRY_OVERHEAD_BYTES;

/** Reads the header blocks of one connection. */
export class HeaderReader {
  /** The newest entry first, as they are counted. */
  readonly #table: HeaderField[] = [];
  readonly #tableBytesMost: number;
  #tableBytesMax: number;
  #tableBytes = 0;
  #generation = 0;
  #bytes: Uint8Array = new Uint8Array();
  #at = 0;
  #end = 0;

  /** @param tableBytesMost what this side allowed in its settings */
  constructor(tableBytesMost = TABLE_BYTES_DEFAULT) {
    this.#tableBytesMost = tableBytesMost;
    this.#tableBytesMax = tableBytesMost;
  }

  /** Grows when the table changes. Blocks of equal bytes say the same as long as it does not. */
  get generation(): number {
    return this.#generation;
  }

  /** The fields of the block in `[start, end)`. Names and values are latin1. @throws where it is none */
  read(bytes: Uint8Array, start = 0, end = bytes.length): HeaderField[] {
    this.#bytes = bytes;
    this.#at = start;
    this.#end = end;
    const fields: HeaderField[] = [];
    while (this.#at < end) {
      const first = bytes[this.#at]!;
      if ((first & INDEXED) !== 0) {
        fields.push(this.#entry(this.#integer(7)));
      } else if ((first & WITH_INDEXING) !== 0) {
        const field = this.#literal(6);
        fields.push(field);
        this.#insert(field);
      } else if ((first & TABLE_SIZE) !== 0) {
        this.#resize(this.#integer(5));
      } else {
        fields.push(this.#literal(4)); // without indexing, or never to be indexed
      }
    }
    return fields;
  }

  #literal(prefixBits: number): HeaderField {
    const index = this.#integer(prefixBits);
    const name = index === 0 ? this.#text() : this.#entry(index).name;
    return { name, value: this.#text() };
  }

  #entry(index: number): HeaderField {
    const field = index <= STATIC_TABLE.length ? STATIC_TABLE[index - 1] : this.#table[index - STATIC_TABLE.length - 1];
    if (field === undefined) throw new Error(`a header block names entry ${index} of a table that ends before it`);
    return field;
  }

  #insert(field: HeaderField): void {
    this.#generation++;
    this.#table.unshift(field);
    this.#tableBytes += byteCount(field);
    this.#evict();
  }

  #resize(bytesMax: number): void {
    if (bytesMax > this.#tableBytesMost)
      throw new Error(`a header block sets its table to ${bytesMax} bytes, more than ${this.#tableBytesMost}`);
    this.#generation++;
    this.#tableBytesMax = bytesMax;
    this.#evict();
  }

  #evict(): void {
    while (this.#tableBytes > this.#tableBytesMax) this.#tableBytes -= byteCount(this.#table.pop()!);
  }

  #integer(prefixBits: number): number {
    const mask = 2 ** prefixBits - 1;
    let value = this.#byte() & mask;
    if (value < mask) return value;
    for (let scale = 1; scale <= 2 ** 28; scale *= 128) {
      const byte = this.#byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Error("a header block holds a number of more than five bytes");
  }

  #text(): string {
    const huffman = this.#at < this.#end && (this.#bytes[this.#at]! & HUFFMAN_FLAG) !== 0;
    const length = this.#integer(7);
    const start = this.#at;
    if (start + length > this.#end) throw new Error("a header block ends within a text");
    this.#at += length;
    if (huffman) return readHuffman(this.#bytes, start, this.#at);
    return Buffer.from(this.#bytes.subarray(start, this.#at)).toString("latin1");
  }

  #byte(): number {
    if (this.#at >= this.#end) throw new Error("a header block ends within a field");
    return this.#bytes[this.#at++]!;
  }
}

/** Writes the header blocks of requests that differ in their path only, on one connection. */
export class RequestHeaderWriter {
  readonly #common: readonly HeaderField[];
  readonly #indexing: boolean;
  /** The texts in the other side's table, the newest first. */
  readonly #table: HeaderField[] = [];
  readonly #blocks = new Map<string, Uint8Array>();

  /**
   * @param common every field but `:path`
   * @param tableBytesMax what the server allows. A table that could not hold all is left alone: then each field is written out
   */
  constructor(common: readonly HeaderField[], paths: readonly string[], tableBytesMax = TABLE_BYTES_DEFAULT) {
    this.#common = common;
    const all = [...common, ...paths.map((value) => ({ name: ":path", value }))];
    this.#indexing = all.reduce((sum, field) => sum + byteCount(field), 0) <= tableBytesMax;
  }

  /** The block of the next request. It must be sent, and before the next one is asked for. */
  next(path: string): Uint8Array {
    const known = this.#blocks.get(path);
    if (known !== undefined) return known;
    const before = this.#table.length;
    // Pseudo-headers come before all others (RFC 9113, 8.3).
    const fields = [...this.#common, { name: ":path", value: path }].sort(pseudoFirst);
    const block = Uint8Array.from(fields.flatMap((field) => this.#write(field)));
    if (this.#table.length === before) this.#blocks.set(path, block);
    else this.#blocks.clear(); // every index has moved
    return block;
  }

  #write(field: HeaderField): number[] {
    const known = STATIC_TABLE.findIndex(({ name, value }) => name === field.name && value === field.value);
    if (known >= 0) return writeInteger(INDEXED, 7, known + 1);
    const inserted = this.#table.findIndex(({ name, value }) => name === field.name && value === field.value);
    if (inserted >= 0) return writeInteger(INDEXED, 7, STATIC_TABLE.length + inserted + 1);
    const named = STATIC_TABLE.findIndex(({ name }) => name === field.name) + 1;
    const head = this.#indexing ? writeInteger(WITH_INDEXING, 6, named) : writeInteger(0, 4, named);
    if (this.#indexing) this.#table.unshift(field);
    return [...head, ...(named === 0 ? writeText(field.name) : []), ...writeText(field.value)];
  }
}

/** A field that leaves the tables alone: what a sender without a memory writes. */
export function writeLiteral({ name, value }: HeaderField): number[] {
  const known = STATIC_TABLE.findIndex((entry) => entry.name === name && entry.value === value);
  if (known >= 0) return writeInteger(INDEXED, 7, known + 1);
  return [0, ...writeText(name), ...writeText(value)];
}

const pseudoFirst = (a: HeaderField, b: HeaderField): number =>
  Number(b.name.startsWith(":")) - Number(a.name.startsWith(":"));

function writeInteger(flags: number, prefixBits: number, value: number): number[] {
  const mask = 2 ** prefixBits - 1;
  if (value < mask) return [flags | value];
  const bytes = [flags | mask];
  let rest = value - mask;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  return [...bytes, rest];
}

const writeText = (text: string): number[] => [...writeInteger(0, 7, text.length), ...Buffer.from(text, "latin1")];

/** The text that the Huffman code in `[start, end)` stands for. */
function readHuffman(bytes: Uint8Array, start: number, end: number): string {
  let text = "";
  let code = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    for (let bit = 7; bit >= 0; bit--) {
      code = code * 2 + ((bytes[at]! >>> bit) & 1);
      length++;
      const symbol = HUFFMAN_SYMBOLS.get(huffmanKey(code, length));
      if (symbol !== undefined) {
        text += String.fromCharCode(symbol);
        code = 0;
        length = 0;
      } else if (length === HUFFMAN_BITS_MAX) {
        throw new Error("a header block holds a Huffman code that stands for nothing");
      }
    }
  }
  // What is left fills the last byte: fewer than eight bits, all of them ones (RFC 7541, 5.2).
  if (length > 7 || code !== 2 ** length - 1) throw new Error("a header block ends within a Huffman code");
  return text;
}

const HUFFMAN_BITS_MAX = 30;

/** A code and its length as one number. */
const huffmanKey = (code: number, length: number): number => code * 32 + length;

/**
 * Bits of the code of each byte (RFC 7541, appendix B). The codes themselves follow from the lengths: shorter ones come first, and
 * among equals the order is that of the bytes.
 */
// prettier-ignore
const HUFFMAN_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

const HUFFMAN_SYMBOLS: ReadonlyMap<number, number> = (() => {
  const symbols = new Map<number, number>();
  let code = 0;
  for (let length = 1; length <= HUFFMAN_BITS_MAX; length++) {
    for (const [symbol, bits] of HUFFMAN_BITS.entries()) {
      if (bits === length) symbols.set(huffmanKey(code++, length), symbol);
    }
    code *= 2;
  }
  return symbols;
})();

/** RFC 7541, appendix A: entries 1 to 16, and those from 17 on, which have no value. */
const STATIC_WITH_VALUES: readonly (readonly [name: string, value: string])[] = [
  [":authority", ""],
  [":method", "GET"],
  [":method", "POST"],
  [":path", "/"],
  [":path", "/index.html"],
  [":scheme", "http"],
  [":scheme", "https"],
  [":status", "200"],
  [":status", "204"],
  [":status", "206"],
  [":status", "304"],
  [":status", "400"],
  [":status", "404"],
  [":status", "500"],
  ["accept-charset", ""],
  ["accept-encoding", "gzip, deflate"],
];
// prettier-ignore
const STATIC_NAMES: readonly string[] = [
  "accept-language", "accept-ranges", "accept", "access-control-allow-origin", "age", "allow", "authorization", "cache-control",
  "content-disposition", "content-encoding", "content-language", "content-length", "content-location", "content-range", "content-type",
  "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match", "if-modified-since", "if-none-match", "if-range",
  "if-unmodified-since", "last-modified", "link", "location", "max-forwards", "proxy-authenticate", "proxy-authorization", "range",
  "referer", "refresh", "retry-after", "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary",
  "via", "www-authenticate",
];
const STATIC_TABLE: readonly HeaderField[] = [
  ...STATIC_WITH_VALUES.map(([name, value]) => ({ name, value })),
  ...STATIC_NAMES.map((name) => ({ name, value: "" })),
];
