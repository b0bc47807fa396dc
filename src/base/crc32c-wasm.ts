/**
 * CRC-32C in WebAssembly, over bytes that lie in a memory of the module's own.
 *
 * For spans of some fifty bytes on, the size of most records, this is several times as fast as the tables in JavaScript
 * (docs/decisions/checksums.md has the figures). The module has no source language and no compiled file: its bytes are written
 * here, opcode by opcode, so that what runs is what can be read.
 *
 *     (func (param $crc i32) (param $at i32) (param $end i32) (result i32) ...)      the state of CRC-32C, not yet inverted
 *
 * Two steps. The long part of a span is folded: modulo the polynomial, x^290 equals x^136 + x^113 + x^107 + x^32 + 1, so a bit may be
 * taken out of the message when it is added to those 154, 177, 183, 258 and 290 places behind it. That is shifts and XORs alone, of
 * sixteen bytes at a time. The 16 to 52 bytes that are left, with all that was folded into them, are summed by slicing-by-16: sixteen tables
 * take sixteen bytes a step. They are laid out so that their end is the end of a step; zeros in front of a message do not matter
 * when the state is zero, and that was folded in, too.
 *
 * A memory: sixteen tables of 1 KiB (`tables` as `crc32c.ts` makes them), 16 zeros, 64 bytes for what is left, the bytes of its
 * owner, and 64 bytes that may be read past their end.
 */

/** What is used of the WebAssembly interface; the language's own library does not declare it. */
interface WebAssemblyInterface {
  readonly Module: new (bytes: Uint8Array) => object;
  /** Its size is in pages. */
  readonly Memory: new (size: { readonly initial: number }) => Memory;
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Readonly<Record<string, Memory>>>>,
  ) => { readonly exports: Readonly<Record<string, unknown>> };
}

interface Memory {
  readonly buffer: ArrayBuffer;
}

type Run = (state: number, at: number, end: number) => number;

/** Advances a checksum over all of `bytes`. Takes and answers it as a signed 32-bit integer. */
export type WasmCrc32c = (crc: number, bytes: Uint8Array) => number;

const PAGE_BYTES = 64 * 1024;
const TABLE_BYTES = 1024;
const TABLES = 16;
const VECTOR_BYTES = 16;
/** Vectors that hold what is left after folding. */
const REST_VECTORS = 4;
const REST_AT = TABLES * TABLE_BYTES + VECTOR_BYTES;
const REST_BYTES = REST_VECTORS * VECTOR_BYTES;
const BYTES_AT = REST_AT + REST_BYTES;
/** What a memory of one page has for its owner: spans to be summed are copied there in pieces of this size. */
export const SCRATCH_BYTES = PAGE_BYTES - BYTES_AT - REST_BYTES;

/** Compiled once; undefined where WebAssembly is missing or not allowed. */
let compiled: object | undefined;

/**
 * Bytes in a memory of WebAssembly, which are summed where they lie.
 *
 * It never grows: that would blind its views, and from the first blind view on the engine looks before each access to any array of the
 * process.
 */
export class WasmCrc32cMemory {
  /** All bytes of the owner. */
  readonly bytes: Uint8Array;
  readonly #run: Run;

  private constructor({ buffer }: Memory, run: Run) {
    this.bytes = new Uint8Array(buffer, BYTES_AT, buffer.byteLength - BYTES_AT - REST_BYTES);
    this.#run = run;
  }

  /**
   * Makes one of at least `capacity` bytes, or answers undefined where that cannot be.
   *
   * @param tables sixteen tables of 256 entries: table k holds the effect of a byte that k further bytes follow
   */
  static make(tables: Int32Array, capacity: number): WasmCrc32cMemory | undefined {
    const { WebAssembly } = globalThis as { WebAssembly?: WebAssemblyInterface };
    if (WebAssembly === undefined) return undefined;
    try {
      compiled ??= new WebAssembly.Module(moduleBytes());
      const memory = new WebAssembly.Memory({ initial: Math.ceil((BYTES_AT + capacity + REST_BYTES) / PAGE_BYTES) });
      new Int32Array(memory.buffer, 0, TABLES * 256).set(tables);
      const { exports } = new WebAssembly.Instance(compiled, { [IMPORT]: { memory } });
      return new WasmCrc32cMemory(memory, exports["crc"] as Run);
    } catch {
      return undefined; // code generation may be forbidden, memory short: the tables do the same work
    }
  }

  /** Advances a checksum over `bytes[start, end)`. Takes and answers it as a signed 32-bit integer. */
  crc32c(crc: number, start: number, end: number): number {
    return ~this.#run(~crc, BYTES_AT + start, BYTES_AT + end);
  }
}

/** Makes the checksum function for bytes that lie elsewhere, or answers undefined where there is no WebAssembly. */
export function makeWasmCrc32c(tables: Int32Array): WasmCrc32c | undefined {
  const memory = WasmCrc32cMemory.make(tables, SCRATCH_BYTES);
  if (memory === undefined) return undefined;
  const scratch = memory.bytes;
  return (crc, bytes) => {
    const { length } = bytes;
    if (length <= SCRATCH_BYTES) {
      scratch.set(bytes);
      return memory.crc32c(crc, 0, length);
    }
    let chained = crc;
    for (let at = 0; at < length; at += SCRATCH_BYTES) {
      const piece = bytes.subarray(at, at + SCRATCH_BYTES);
      scratch.set(piece);
      chained = memory.crc32c(chained, 0, piece.length);
    }
    return chained;
  };
}

// ---- the module -----------------------------------------------------------------------------------------------------
// Instructions are lists of bytes in the order of the stack machine: operands first. Numbers are those of the WebAssembly
// core specification 1.0, chapter 5 ("Binary Format").

type Code = readonly number[];

/** "\0asm", version 1. */
const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const I32 = 0x7f;
const V128 = 0x7b;
const EMPTY_BLOCK = 0x40;
const Section = { type: 1, import: 2, function: 3, export: 7, code: 10 } as const;
const Kind = { function: 0, memory: 2 } as const;
const IMPORT = "walnut";
const Op = {
  loop: 0x03,
  if: 0x04,
  end: 0x0b,
  branch: 0x0c,
  localGet: 0x20,
  localSet: 0x21,
  i32Load: 0x28,
  i32LoadByte: 0x2d,
  i32Const: 0x41,
  i32LessOrEqualUnsigned: 0x4d,
  i32Add: 0x6a,
  i32Subtract: 0x6b,
  i32And: 0x71,
  i32Xor: 0x73,
  i32ShiftLeft: 0x74,
  i32ShiftRightUnsigned: 0x76,
} as const;
/** Those on vectors have a prefix (WebAssembly core specification 2.0). */
const Vector = {
  load: [0xfd, 0x00, 0],
  store: [0xfd, 0x0b, 0],
  constant: [0xfd, 0x0c],
  shuffle: [0xfd, 0x0d],
  replaceI32: [0xfd, 0x1c],
  xor: [0xfd, 0x51],
  shiftLeftI64: [0xfd, 0xcb, 0x01],
  shiftRightI64: [0xfd, 0xcd, 0x01],
} as const;

/** Parameters come first among a function's locals. */
const Local = { crc: 0, at: 1, end: 2, word: 3, vector: 7, even: 8, odd: 10 } as const;
const WORD_LOCALS = 4;
const VECTOR_LOCALS = 6;

function moduleBytes(): Uint8Array {
  return Uint8Array.from([
    ...MAGIC_AND_VERSION,
    ...section(Section.type, [1, 0x60, 3, I32, I32, I32, 1, I32]),
    ...section(Section.import, [1, ...name(IMPORT), ...name("memory"), Kind.memory, 0, 1]), // of at least one page
    ...section(Section.function, [1, 0]),
    ...section(Section.export, [1, ...name("crc"), Kind.function, 0]),
    ...section(Section.code, [1, ...sized([2, WORD_LOCALS, I32, VECTOR_LOCALS, V128, ...body(), Op.end])]),
  ]);
}

function body(): Code {
  const byte = xor(get(Local.crc), [...get(Local.at), Op.i32LoadByte, 0, 0]);
  const oneByte = [
    ...set(Local.crc, xor(lookUp(0, byte, 0), shiftRight(get(Local.crc), 8))),
    ...set(Local.at, add(get(Local.at), constant(1))),
  ];
  const atLeast = (count: number): Code => [
    ...add(get(Local.at), constant(count)),
    ...get(Local.end),
    Op.i32LessOrEqualUnsigned,
  ];
  return [
    ...when(atLeast(VECTOR_BYTES), [
      ...set(Local.even, [...zeroVector(), ...get(Local.crc), ...Vector.replaceI32, 0]),
      ...loopWhile(atLeast(VECTOR_BYTES + FOLD_BYTES), fold()),
      ...layOutTheRest(),
      ...loopWhile(atLeast(1), sixteenBytes()),
    ]),
    ...loopWhile(atLeast(1), oneByte),
    ...get(Local.crc),
  ];
}

// What is folded into bytes that are yet to come is kept in vectors: `even[i]` is added to the vector that lies i vectors ahead,
// `odd[i]` begins eight bytes behind that place; `odd[0]` is the one of which only the second half is left.
// A place 128 + s or 256 + s behind a bit: a shift to the left by s within the words of the vector one or two ahead, and what that
// shifts out of a word goes into the next one.

/** Distances beyond 128 and beyond 256 bits. */
const ONE_AHEAD = [154 - 128, 177 - 128, 183 - 128];
const TWO_AHEAD = [258 - 256, 290 - 256];
/** So many bytes must be left behind a vector that is folded. */
const FOLD_BYTES = Math.ceil(290 / 8);
const [EVEN_0, EVEN_1] = [Local.even, Local.even + 1];
const [ODD_0, ODD_1, ODD_2] = [Local.odd, Local.odd + 1, Local.odd + 2];

function fold(): Code {
  const vector = get(Local.vector);
  const left = (bits: number): Code => [...vector, ...constant(bits), ...Vector.shiftLeftI64];
  const right = (bits: number): Code => [...vector, ...constant(64 - bits), ...Vector.shiftRightI64];
  return [
    ...set(Local.vector, xorVectors(loadVector(0), get(EVEN_0), between(get(ODD_0), get(ODD_1)))),
    ...set(EVEN_0, xorVectors(get(EVEN_1), ...ONE_AHEAD.map(left))),
    ...set(EVEN_1, xorVectors(...TWO_AHEAD.map(left))),
    ...set(ODD_0, get(ODD_1)),
    ...set(ODD_1, xorVectors(get(ODD_2), ...ONE_AHEAD.map(right))),
    ...set(ODD_2, xorVectors(...TWO_AHEAD.map(right))),
    ...set(Local.at, add(get(Local.at), constant(VECTOR_BYTES))),
  ];
}

/** Adds what was folded to the bytes that are left, in a place of their own, and moves `at` and `end` there. */
function layOutTheRest(): Code {
  const rest = [
    xorVectors(loadVector(0), get(EVEN_0), between(get(ODD_0), get(ODD_1))),
    xorVectors(loadVector(1), get(EVEN_1), between(get(ODD_1), get(ODD_2))),
    xorVectors(loadVector(2), between(get(ODD_2), zeroVector())),
    loadVector(3),
  ];
  const length = subtract(get(Local.end), get(Local.at));
  return [
    ...rest.flatMap((vector, i) => [
      ...constant(REST_AT + i * VECTOR_BYTES),
      ...vector,
      ...Vector.store,
      ...unsigned(0),
    ]),
    ...set(Local.end, add(length, constant(REST_AT))),
    // From zeros in front of the rest on, so that the length is a multiple of sixteen.
    ...set(Local.at, subtract(constant(REST_AT), and(subtract(constant(REST_AT), get(Local.end)), constant(15)))),
    ...set(Local.crc, constant(0)),
  ];
}

/** Slicing-by-16: the four words, the checksum folded into the first; then what each of their bytes does to the checksum. */
function sixteenBytes(): Code {
  const words = [0, 1, 2, 3].map((i) => Local.word + i);
  return [
    ...set(words[0]!, xor(get(Local.crc), load(get(Local.at), 0))),
    ...words.slice(1).flatMap((word, i) => set(word, load(get(Local.at), 4 * (i + 1)))),
    ...set(
      Local.crc,
      words.map((word, i) => effectOfWord(word, 12 - 4 * i)).reduce((left, right) => xor(left, right)),
    ),
    ...set(Local.at, add(get(Local.at), constant(16))),
  ];
}

/** What the four bytes of a word do to the checksum when `following` bytes come behind the word. */
function effectOfWord(word: number, following: number): Code {
  return [0, 1, 2, 3].map((i) => lookUp(following + 3 - i, get(word), i)).reduce((left, right) => xor(left, right));
}

/** The entry of a table for byte `i` of a word: the byte comes out of the word as the offset that it is, already times four. */
function lookUp(table: number, word: Code, i: number): Code {
  const moved = i === 0 ? shiftLeft(word, 2) : shiftRight(word, 8 * i - 2);
  return load(and(moved, constant(0x3fc)), table * TABLE_BYTES);
}

/** Alignment is told as 1 byte: spans begin anywhere. */
const load = (address: Code, offset: number): Code => [...address, Op.i32Load, 0, ...unsigned(offset)];
const get = (local: number): Code => [Op.localGet, local];
const set = (local: number, value: Code): Code => [...value, Op.localSet, local];
const constant = (value: number): Code => [Op.i32Const, ...signed(value)];
const xor = (left: Code, right: Code): Code => [...left, ...right, Op.i32Xor];
const and = (left: Code, right: Code): Code => [...left, ...right, Op.i32And];
const add = (left: Code, right: Code): Code => [...left, ...right, Op.i32Add];
const subtract = (left: Code, right: Code): Code => [...left, ...right, Op.i32Subtract];
const shiftLeft = (value: Code, bits: number): Code => [...value, ...constant(bits), Op.i32ShiftLeft];
const shiftRight = (value: Code, bits: number): Code => [...value, ...constant(bits), Op.i32ShiftRightUnsigned];

const loadVector = (ahead: number): Code => [...get(Local.at), ...Vector.load, ...unsigned(ahead * VECTOR_BYTES)];
const zeroVector = (): Code => [...Vector.constant, ...Array.from({ length: VECTOR_BYTES }, () => 0)];
/** The second half of a vector and the first half of the next one. */
const between = (low: Code, high: Code): Code => [
  ...low,
  ...high,
  ...Vector.shuffle,
  ...Array.from({ length: VECTOR_BYTES }, (_, i) => VECTOR_BYTES / 2 + i),
];
/** The sum of vectors, of at least one. */
const xorVectors = (...vectors: readonly Code[]): Code =>
  vectors.reduce((left, right) => [...left, ...right, ...Vector.xor]);

const when = (condition: Code, steps: Code): Code => [...condition, Op.if, EMPTY_BLOCK, ...steps, Op.end];

/** Repeats `steps` while `condition` holds, which is looked at before each round. */
function loopWhile(condition: Code, steps: Code): Code {
  const again = 1; // branches count blocks from the inside: the `if` is 0, the loop around it 1
  return [Op.loop, EMPTY_BLOCK, ...condition, Op.if, EMPTY_BLOCK, ...steps, Op.branch, again, Op.end, Op.end];
}

const sized = (content: Code): Code => [...unsigned(content.length), ...content];
const section = (id: number, content: Code): Code => [id, ...sized(content)];
const name = (text: string): Code => sized(Array.from(text, (character) => character.charCodeAt(0)));

/** LEB128: seven bits a byte, lowest first. */
function unsigned(value: number): Code {
  return value < 0x80 ? [value] : [(value & 0x7f) | 0x80, ...unsigned(value >>> 7)];
}

/** The signed form for values that are not negative: bit 6 of the last byte is the sign, and stays clear. */
function signed(value: number): Code {
  return value < 0x40 ? [value] : [(value & 0x7f) | 0x80, ...signed(value >>> 7)];
}
