/**
 * Buffers that were written to a socket and wait for the next output, of whichever connection: those at rest hold none.
 *
 * Law: no more than `BUFFERS_MAX` are kept, none of them larger than `bytesMax`.
 */

/** As many connections as write in one turn of the loop, about. */
const BUFFERS_MAX = 32;

/** Whole buffers have sizes of this times a power of two, so that one fits another's purpose. */
const UNIT_BYTES = 4_096;

export class BufferPool {
  readonly #bytesMax: number;
  readonly #buffers: Uint8Array[] = [];

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** A buffer of so many bytes or more. */
  take(bytesMin: number): Uint8Array {
    const kept = this.#buffers.pop();
    if (kept !== undefined && kept.length >= bytesMin) return kept;
    let size = UNIT_BYTES;
    while (size < bytesMin) size *= 2;
    return new Uint8Array(size);
  }

  /** Takes a buffer back, of which this is a view from its beginning. */
  give(view: Uint8Array): void {
    const { buffer } = view;
    if (this.#buffers.length >= BUFFERS_MAX || buffer.byteLength > this.#bytesMax) return;
    this.#buffers.push(new Uint8Array(buffer));
  }
}
