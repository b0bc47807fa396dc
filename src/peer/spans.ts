/**
 * Bytes as they come from a connection, given out in spans of the size that is asked for.
 *
 * Law: a span that lies in one chunk is a view of it; one that lies in several is copied once. Nothing is set aside for bytes
 * that have not come: a length that a stranger names costs nothing until it is followed by as many bytes.
 */
import { concatBytes } from "../base/bytes.js";

export class Spans {
  /** What has come and was not taken; the first chunk from `#start` on. */
  #chunks: Uint8Array[] = [];
  #start = 0;
  #size = 0;

  /** Bytes that have come and were not taken. */
  get size(): number {
    return this.#size;
  }

  push(chunk: Uint8Array): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#size += chunk.length;
  }

  /** The next `count` bytes; undefined while fewer have come. */
  take(count: number): Uint8Array | undefined {
    if (count > this.#size) return undefined;
    if (count === 0) return new Uint8Array(0);
    const first = this.#chunks[0]!;
    if (first.length - this.#start < count) return this.#join(count);
    const span = first.subarray(this.#start, this.#start + count);
    this.#start += count;
    this.#size -= count;
    if (this.#start === first.length) this.#drop(1, 0);
    return span;
  }

  /** All that is left. */
  takeRest(): Uint8Array {
    return this.take(this.#size)!;
  }

  #join(count: number): Uint8Array {
    const parts: Uint8Array[] = [];
    let missing = count;
    let taken = 0;
    let start = this.#start;
    while (missing > 0) {
      const chunk = this.#chunks[taken]!;
      const end = Math.min(chunk.length, start + missing);
      parts.push(chunk.subarray(start, end));
      missing -= end - start;
      start = end;
      if (end === chunk.length) {
        taken++;
        start = 0;
      }
    }
    this.#size -= count;
    this.#drop(taken, start);
    return concatBytes(parts);
  }

  #drop(count: number, start: number): void {
    if (count === this.#chunks.length) this.#chunks = [];
    else if (count > 0) this.#chunks.splice(0, count);
    this.#start = start;
  }
}
