/**
 * A segment's bytes from front to back, in chunks that are read ahead while the one before is looked at.
 *
 * Each chunk leaves room in front of it, into which the beginning of a frame that the last chunk cut off is copied. When
 * entries keep views of the chunks, every chunk is new (nearly all of it is the data of entries); otherwise two take turns.
 */
import { describeError, invariant } from "../base/errors.js";
import { mebibytes } from "../base/units.js";
import type { DiskFile } from "../platform/disk.js";
import { WalError } from "./errors.js";

export const CHUNK_BYTES = mebibytes(1);

/** Room for the frame that the last chunk cut off; a longer beginning is copied together with the chunk. */
const HEADROOM_BYTES = 16 * 1024;

export class SegmentStream {
  /** Bytes `[at, end)` are at hand; the reader moves `at`. */
  bytes: Uint8Array = new Uint8Array(0);
  at = 0;
  end = 0;
  readonly size: number;
  readonly #file: DiskFile;
  readonly #name: string;
  /** File offset of `bytes[0]`. */
  #base = 0;
  #keep: boolean;
  /** Views of this chunk are kept, whatever comes. */
  #pinned: Uint8Array | undefined;
  #spare: Uint8Array | undefined;
  /** File offset of the next chunk to ask the disk for. */
  #next = 0;
  #ahead: Promise<Ahead> | undefined;

  constructor(file: DiskFile, name: string, size: number, keep: boolean) {
    this.#file = file;
    this.#name = name;
    this.size = size;
    this.#keep = keep;
    this.#readAhead();
  }

  /** File offset of `bytes[at]`. */
  get offset(): number {
    return this.#base + this.at;
  }

  /** No view is kept of chunks that are yet to come. */
  keepNothing(): void {
    if (this.#keep) this.#pinned = this.bytes;
    this.#keep = false;
  }

  /** Gets more bytes behind those at hand; false at the end of the file. */
  async more(): Promise<boolean> {
    const ahead = this.#ahead;
    if (ahead === undefined) return false;
    const { chunk, count, error } = await ahead;
    if (error !== undefined) {
      throw new WalError(
        "WAL_READ_IO",
        `${this.#name}: reading ${count} bytes at byte ${this.#next - count} failed (${describeError(error)}); ` +
          "the disk is at fault: nothing was changed, see to the disk and start again",
        { segment: this.#name, offset: this.#next - count },
        { cause: error },
      );
    }
    const rest = this.end - this.at;
    const base = this.offset;
    const spent = this.bytes;
    if (rest <= HEADROOM_BYTES) {
      chunk.set(this.bytes.subarray(this.at, this.end), HEADROOM_BYTES - rest);
      this.bytes = chunk;
      this.at = HEADROOM_BYTES - rest;
      this.end = HEADROOM_BYTES + count;
    } else {
      // A frame longer than a chunk: doubling keeps the copying linear.
      const room = Math.max(rest + count, this.at === 0 ? Math.min(this.bytes.length * 2, this.size + rest) : 0);
      const fits = this.at === 0 && this.bytes.length >= rest + count;
      const grown = fits ? this.bytes : new Uint8Array(room);
      if (!fits) grown.set(this.bytes.subarray(this.at, this.end), 0);
      grown.set(chunk.subarray(HEADROOM_BYTES, HEADROOM_BYTES + count), rest);
      this.bytes = grown;
      this.at = 0;
      this.end = rest + count;
    }
    this.#base = base - this.at;
    const reusable = !this.#keep && spent !== this.#pinned && spent.length === HEADROOM_BYTES + CHUNK_BYTES;
    this.#spare = reusable ? spent : undefined;
    this.#ahead = undefined;
    this.#readAhead();
    return true;
  }

  /** Waits for a read that is under way, so that the file can be closed. */
  async finish(): Promise<void> {
    await this.#ahead;
    this.#ahead = undefined;
  }

  #readAhead(): void {
    const count = Math.min(CHUNK_BYTES, this.size - this.#next);
    if (count <= 0) return;
    const chunk = this.#spare ?? new Uint8Array(HEADROOM_BYTES + Math.max(count, this.#next > 0 ? CHUNK_BYTES : count));
    this.#spare = undefined;
    const offset = this.#next;
    this.#next += count;
    invariant(chunk.length >= HEADROOM_BYTES + count, "a chunk holds what is read into it");
    this.#ahead = this.#read(chunk, count, offset);
  }

  async #read(chunk: Uint8Array, count: number, offset: number): Promise<Ahead> {
    try {
      const read = await this.#file.read(chunk.subarray(HEADROOM_BYTES, HEADROOM_BYTES + count), offset);
      if (read === count) return { chunk, count, error: undefined };
      return { chunk, count, error: new Error(`${read} bytes came, the file shrank while it was read`) };
    } catch (error) {
      return { chunk, count, error };
    }
  }
}

interface Ahead {
  readonly chunk: Uint8Array;
  readonly count: number;
  readonly error: unknown;
}
