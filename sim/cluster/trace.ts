/**
 * A hash over all that happened in a run, in order: two runs of one seed must agree, or chance came in from outside.
 *
 * Two 32-bit lanes, mixed by multiplication: fast, and good enough to tell runs apart. It is no checksum of anything stored.
 */
import { crc32c } from "../../src/base/crc32c.js";
import { hexText } from "../../src/base/text.js";

const words = new Uint32Array(2);
const double = new Float64Array(words.buffer);

export class Trace {
  #a = 0x9e37_79b9;
  #b = 0x85eb_ca6b;

  /** A whole number or one with a fraction: a moment, a kind, a size. */
  number(value: number): void {
    double[0] = value;
    this.#mix(words[0]!);
    this.#mix(words[1]!);
  }

  bytes(bytes: Uint8Array): void {
    this.#mix(bytes.length);
    this.#mix(crc32c(0, bytes));
  }

  text(text: string): void {
    let hash = text.length;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x0100_0193);
    this.#mix(hash);
  }

  /** 16 hexadecimal digits. */
  get hash(): string {
    return hexText(this.#a >>> 0, 8) + hexText(this.#b >>> 0, 8);
  }

  #mix(word: number): void {
    const a = Math.imul(this.#a ^ word, 0xcc9e_2d51);
    this.#a = ((a << 15) | (a >>> 17)) + this.#b;
    this.#b = Math.imul(this.#b ^ this.#a, 0x1b87_3593) ^ (this.#b >>> 13);
  }
}
