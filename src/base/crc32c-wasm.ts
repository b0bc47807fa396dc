/**
 * CRC-32C in WebAssembly: slicing-by-16 over a scratch area of the module's own memory, into which spans are copied.
 *
 * For spans of some fifty to a thousand bytes, the size of most records, this is twice as fast as the tables in JavaScript
 * (docs/decisions/checksums.md has the figures). The module has no source language and no compiled file: its bytes are written
 * here, opcode by opcode, so that what runs is what can be read.
 *
 * The module's memory: sixteen tables of 1 KiB (`tables` as `crc32c.ts` makes them), then the scratch area.
 *
 *     (func (param $crc i32) (param $at i32) (param $end i32) (result i32) ...)      the state of CRC-32C, not yet inverted
 */

/** What is used of the WebAssembly interface; the language's own library does not declare it. */
interface WebAssemblyInterface {
  readonly Module: new (bytes: Uint8Array) => object;
  readonly Instance: new (module: object) => { readonly exports: Readonly<Record<string, unknown>> };
}

/** Advances a checksum over all of `bytes`. Takes and answers it as a signed 32-bit integer. */
export type WasmCrc32c = (crc: number, bytes: Uint8Array) => number;

const PAGE_BYTES = 64 * 1024;
const TABLE_BYTES = 1024;
const TABLES = 16;
const SCRATCH_AT = TABLES * TABLE_BYTES;
const SCRATCH_BYTES = PAGE_BYTES - SCRATCH_AT;

/**
 * Makes the checksum function, or answers undefined where WebAssembly is missing or not allowed.
 *
 * @param tables sixteen tables of 256 entries: table k holds the effect of a byte that k further bytes follow
 */
export function makeWasmCrc32c(tables: Int32Array): WasmCrc32c | undefined {
  const { WebAssembly } = globalThis as { WebAssembly?: WebAssemblyInterface };
  if (WebAssembly === undefined) return undefined;
  let exports: Readonly<Record<string, unknown>>;
  try {
    exports = new WebAssembly.Instance(new WebAssembly.Module(moduleBytes())).exports;
  } catch {
    return undefined; // code generation may be forbidden, memory short: the tables do the same work
  }
  const run = exports["crc"] as (state: number, at: number, end: number) => number;
  const { buffer } = exports["memory"] as { readonly buffer: ArrayBuffer };
  new Int32Array(buffer, 0, TABLES * 256).set(tables);
  const scratch = new Uint8Array(buffer, SCRATCH_AT);
  return (crc, bytes) => {
    const { length } = bytes;
    if (length <= SCRATCH_BYTES) {
      scratch.set(bytes);
      return ~run(~crc, SCRATCH_AT, SCRATCH_AT + length);
    }
    let state = ~crc;
    for (let at = 0; at < length; at += SCRATCH_BYTES) {
      const piece = bytes.subarray(at, at + SCRATCH_BYTES);
      scratch.set(piece);
      state = run(state, SCRATCH_AT, SCRATCH_AT + piece.length);
    }
    return ~state;
  };
}

// ---- the module -----------------------------------------------------------------------------------------------------
// Instructions are lists of bytes in the order of the stack machine: operands first. Numbers are those of the WebAssembly
// core specification 1.0, chapter 5 ("Binary Format").

type Code = readonly number[];

/** "\0asm", version 1. */
const MAGIC_AND_VERSION = [0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00];
const I32 = 0x7f;
const EMPTY_BLOCK = 0x40;
const Section = { type: 1, function: 3, memory: 5, export: 7, code: 10 } as const;
const ExportKind = { function: 0, memory: 2 } as const;
const Op = {
  block: 0x02,
  loop: 0x03,
  end: 0x0b,
  branch: 0x0c,
  branchIf: 0x0d,
  localGet: 0x20,
  localSet: 0x21,
  i32Load: 0x28,
  i32LoadByte: 0x2d,
  i32Const: 0x41,
  i32GreaterUnsigned: 0x4b,
  i32GreaterOrEqualUnsigned: 0x4f,
  i32Add: 0x6a,
  i32And: 0x71,
  i32Xor: 0x73,
  i32ShiftLeft: 0x74,
  i32ShiftRightUnsigned: 0x76,
} as const;

/** Parameters come first among a function's locals. */
const Local = { crc: 0, at: 1, end: 2, word: 3 } as const;
const WORD_LOCALS = 4;

function moduleBytes(): Uint8Array {
  return Uint8Array.from([
    ...MAGIC_AND_VERSION,
    ...section(Section.type, [1, 0x60, 3, I32, I32, I32, 1, I32]),
    ...section(Section.function, [1, 0]),
    ...section(Section.memory, [1, 0, 1]), // one memory of at least one page
    ...section(Section.export, [2, ...name("crc"), ExportKind.function, 0, ...name("memory"), ExportKind.memory, 0]),
    ...section(Section.code, [1, ...sized([1, WORD_LOCALS, I32, ...body(), Op.end])]),
  ]);
}

function body(): Code {
  const words = [0, 1, 2, 3].map((i) => Local.word + i);
  const sixteenBytes = [
    // The four words, the checksum folded into the first; then what each of their bytes does to the checksum.
    ...set(words[0]!, xor(get(Local.crc), load(get(Local.at), 0))),
    ...words.slice(1).flatMap((word, i) => set(word, load(get(Local.at), 4 * (i + 1)))),
    ...set(
      Local.crc,
      words.map((word, i) => effectOfWord(word, 12 - 4 * i)).reduce((left, right) => xor(left, right)),
    ),
    ...set(Local.at, add(get(Local.at), constant(16))),
  ];
  const lowByte = and(xor(get(Local.crc), [...get(Local.at), Op.i32LoadByte, 0, 0]), constant(0xff));
  const oneByte = [
    ...set(Local.crc, xor(lookUp(0, lowByte), shiftRight(get(Local.crc), 8))),
    ...set(Local.at, add(get(Local.at), constant(1))),
  ];
  const lessThan16Left = [...add(get(Local.at), constant(16)), ...get(Local.end), Op.i32GreaterUnsigned];
  const noneLeft = [...get(Local.at), ...get(Local.end), Op.i32GreaterOrEqualUnsigned];
  return [...until(lessThan16Left, sixteenBytes), ...until(noneLeft, oneByte), ...get(Local.crc)];
}

/** What the four bytes of a word do to the checksum when `following` bytes come behind the word. */
function effectOfWord(word: number, following: number): Code {
  const byte = (i: number): Code =>
    i === 3 ? shiftRight(get(word), 24) : and(i === 0 ? get(word) : shiftRight(get(word), 8 * i), constant(0xff));
  return [0, 1, 2, 3].map((i) => lookUp(following + 3 - i, byte(i))).reduce((left, right) => xor(left, right));
}

const lookUp = (table: number, byte: Code): Code =>
  load([...byte, ...constant(2), Op.i32ShiftLeft], table * TABLE_BYTES);
/** Alignment is told as 1 byte: spans begin anywhere. */
const load = (address: Code, offset: number): Code => [...address, Op.i32Load, 0, ...unsigned(offset)];
const get = (local: number): Code => [Op.localGet, local];
const set = (local: number, value: Code): Code => [...value, Op.localSet, local];
const constant = (value: number): Code => [Op.i32Const, ...signed(value)];
const xor = (left: Code, right: Code): Code => [...left, ...right, Op.i32Xor];
const and = (left: Code, right: Code): Code => [...left, ...right, Op.i32And];
const add = (left: Code, right: Code): Code => [...left, ...right, Op.i32Add];
const shiftRight = (value: Code, bits: number): Code => [...value, ...constant(bits), Op.i32ShiftRightUnsigned];

/** Repeats `steps` until `condition` holds, which is looked at before each round. */
function until(condition: Code, steps: Code): Code {
  const [out, again] = [1, 0]; // branches count blocks from the inside: the loop is 0, the block around it 1
  const round = [...condition, Op.branchIf, out, ...steps, Op.branch, again];
  return [Op.block, EMPTY_BLOCK, Op.loop, EMPTY_BLOCK, ...round, Op.end, Op.end];
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
