/**
 * HPACK's Huffman code (RFC 7541, section 5.2 and appendix B).
 *
 * The code is canonical: symbols of one length have consecutive codes in the order of their values, and lengths follow one another.
 * So the lengths are all that has to be written down.
 *
 * Reading goes four bits at a time through a table of the tree's 256 inner nodes: no code is shorter than five bits, so four bits end
 * at most one symbol.
 *
 * Laws of what is read: padding is shorter than a byte and all ones; the symbol EOS is never in it (both COMPRESSION_ERROR).
 */

/** Bits of each byte's code. EOS, the 257th symbol, has 30. */
// prettier-ignore
const CODE_BITS: readonly number[] = [
  13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
  6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
  13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
  15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
  20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
  22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
  26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
  20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];
const EOS = 256;
const EOS_BITS = 30;

const CODES = makeCodes();

function makeCodes(): Uint32Array {
  const order = CODE_BITS.map((_, symbol) => symbol).sort((a, b) => CODE_BITS[a]! - CODE_BITS[b]! || a - b);
  const codes = new Uint32Array(256);
  let code = 0;
  let bits = 0;
  for (const symbol of order) {
    code <<= CODE_BITS[symbol]! - bits;
    bits = CODE_BITS[symbol]!;
    codes[symbol] = code++;
  }
  return codes;
}

/** A step of the reader: bits 0-7 the next node, 8-15 the symbol that ended, 16 whether one did, 17 whether there is no such code. */
const STEP_SYMBOL = 1 << 16;
const STEP_FAILS = 1 << 17;
const STEPS = new Int32Array(256 * 16);
/** Nodes at which the bits may end: the root, and up to seven ones from it. */
const MAY_END = new Uint8Array(256);
makeSteps();

function makeSteps(): void {
  // An inner node's two branches: another node, or ~symbol.
  const branches: [number | undefined, number | undefined][] = [[undefined, undefined]];
  const add = (symbol: number, code: number, bits: number): void => {
    let node = 0;
    for (let i = bits - 1; i > 0; i--) {
      const bit = (code >>> i) & 1;
      let next = branches[node]![bit];
      if (next === undefined) {
        next = branches.length;
        branches.push([undefined, undefined]);
        branches[node]![bit] = next;
      }
      node = next;
    }
    branches[node]![code & 1] = ~symbol;
  };
  for (let symbol = 0; symbol < 256; symbol++) add(symbol, CODES[symbol]!, CODE_BITS[symbol]!);
  add(EOS, 0x3fff_ffff, EOS_BITS);
  for (let node = 0; node < branches.length; node++) {
    for (let nibble = 0; nibble < 16; nibble++) STEPS[node * 16 + nibble] = step(branches, node, nibble);
  }
  for (let ones = 0, node = 0; ones < 8; ones++) {
    MAY_END[node] = 1;
    node = branches[node]![1]!;
  }
}

function step(branches: readonly [number | undefined, number | undefined][], from: number, nibble: number): number {
  let node = from;
  let ended = 0;
  for (let i = 3; i >= 0; i--) {
    const next = branches[node]![(nibble >>> i) & 1]!;
    if (next >= 0) {
      node = next;
      continue;
    }
    if (~next === EOS) return STEP_FAILS;
    ended = STEP_SYMBOL | (~next << 8);
    node = 0;
  }
  return ended | node;
}

/** Bytes that a text of bytes takes when it is coded. */
export function huffmanLength(text: string): number {
  let bits = 0;
  for (let i = 0; i < text.length; i++) bits += CODE_BITS[text.charCodeAt(i) & 0xff]!;
  return (bits + 7) >>> 3;
}

/** Writes a text of bytes; returns where it ends. */
export function writeHuffman(buffer: Uint8Array, at: number, text: string): number {
  let end = at;
  // Up to seven bits wait here; a code of 30 goes in two halves, so that all fits into 32.
  let waiting = 0;
  let bits = 0;
  const put = (code: number, count: number): void => {
    waiting = (waiting << count) | code;
    bits += count;
    while (bits >= 8) {
      bits -= 8;
      buffer[end++] = waiting >>> bits;
    }
    waiting &= 0xff;
  };
  for (let i = 0; i < text.length; i++) {
    const symbol = text.charCodeAt(i) & 0xff;
    const code = CODES[symbol]!;
    const count = CODE_BITS[symbol]!;
    if (count > 15) {
      put(code >>> 15, count - 15);
      put(code & 0x7fff, 15);
    } else put(code, count);
  }
  if (bits > 0) put(0xff >>> bits, 8 - bits);
  return end;
}

/** Reads `[start, end)` into `target`, which holds the longest that they can be: 8/5 of it. Returns the length, or -1 for no such code. */
export function readHuffman(bytes: Uint8Array, start: number, end: number, target: Uint8Array): number {
  let node = 0;
  let length = 0;
  for (let at = start; at < end; at++) {
    const byte = bytes[at]!;
    let found = STEPS[node * 16 + (byte >>> 4)]!;
    if (found >= STEP_SYMBOL) {
      if (found >= STEP_FAILS) return -1;
      target[length++] = found >>> 8;
    }
    found = STEPS[(found & 0xff) * 16 + (byte & 0xf)]!;
    if (found >= STEP_SYMBOL) {
      if (found >= STEP_FAILS) return -1;
      target[length++] = found >>> 8;
    }
    node = found & 0xff;
  }
  return MAY_END[node] === 1 ? length : -1;
}

/** Room that `readHuffman` may need. */
export const huffmanTextMax = (codedBytes: number): number => Math.ceil((codedBytes * 8) / 5);
