/**
 * Room for many small spans of bytes in few large buffers. A buffer of its own costs some 500 ns to make, and the collector once
 * more; a span of a shared one costs a fifth of that, copy included.
 *
 * Law: a span is given out once, and is the taker's own. A large buffer lives as long as any of its spans, so an arena is for
 * spans that die together: the entries of a log, the changes of a transaction, the answers of a turn.
 */

const CHUNK_BYTES = 65_536;
/** Larger spans get a buffer of their own: they would waste the end of a chunk. */
const SHARED_BYTES_MAX = 8192;

export class Arena {
  #chunk: Uint8Array | undefined;
  #at = 0;

  /** Zeros to be written to. */
  take(size: number): Uint8Array {
    if (size > SHARED_BYTES_MAX) return new Uint8Array(size);
    const start = this.#reserve(size);
    return this.#chunk!.subarray(start, start + size);
  }

  /** A copy of `bytes[start, end)`. */
  copy(bytes: Uint8Array, start = 0, end = bytes.length): Uint8Array {
    const span = this.take(end - start);
    if (start === 0 && end === bytes.length) span.set(bytes);
    else span.set(bytes.subarray(start, end));
    return span;
  }

  #reserve(size: number): number {
    let start = this.#at;
    if (this.#chunk === undefined || start + size > CHUNK_BYTES) {
      this.#chunk = new Uint8Array(CHUNK_BYTES);
      start = 0;
    }
    this.#at = start + size;
    return start;
  }
}
