/**
 * What a copy of `db` lacks while changes go on: the second half of a defragmentation.
 *
 * The copy begins as that of a pinned read. The bucket `key` is a log of revisions, so nearly all that happens to it is a put behind its
 * end: that is not noted, but read from `db` when its turn comes. Everything else is noted, in order: deletions, and puts elsewhere.
 *
 *     db      ══════════════ end ──── read from db ────▶
 *     copy    ══════════════ end         + the notes, which speak of keys up to `end` and of other buckets
 *
 * Law: the copy with the notes repeated in it equals `db`, but for the keys of the bucket `key` behind `end`. So memory grows by what compactions
 * delete meanwhile, and not by what is put.
 */
import { compareBytes } from "../base/bytes.js";
import { bytesFromLatin1 } from "../base/text.js";
import type { BoltBucket, BoltWrite } from "./bolt-door.js";

/** A note; no value is a deletion, no key a new bucket. */
interface Change {
  readonly bucket: string;
  readonly key: Uint8Array | undefined;
  readonly value: Uint8Array | undefined;
}

/** Reading what `db` holds now, committed or not. */
export interface CurrentBuckets {
  forEach(
    bucket: string,
    from: Uint8Array | undefined,
    to: Uint8Array | undefined,
    visit: (key: Uint8Array, value: Uint8Array) => boolean | void,
  ): void;
}

export class MissedChanges {
  readonly #appended: string;
  readonly #fillPercent: number;
  /** The last key of the appended bucket that the copy has; undefined when it has none. */
  #end: Uint8Array | undefined;
  #notes: Change[] = [];
  /** Notes repeated so far, from the first on. */
  #repeated = 0;

  /**
   * @param appended the bucket whose new keys come behind all others
   * @param fillPercent how full its pages are left in the copy
   */
  constructor(appended: string, fillPercent: number) {
    this.#appended = appended;
    this.#fillPercent = fillPercent;
  }

  /** To be called in the turn of the pin. @param end the appended bucket's last key then */
  begin(end: Uint8Array | undefined): void {
    this.#end = end?.slice();
  }

  noteBucket(bucket: string): void {
    this.#notes.push({ bucket, key: undefined, value: undefined });
  }

  notePut(bucket: string, key: Uint8Array, value: Uint8Array): void {
    if (!this.#isAhead(bucket, key)) this.#notes.push({ bucket, key: key.slice(), value: value.slice() });
  }

  noteDelete(bucket: string, key: Uint8Array): void {
    if (!this.#isAhead(bucket, key)) this.#notes.push({ bucket, key: key.slice(), value: undefined });
  }

  /**
   * Repeats at most `changesMax` changes in the copy.
   *
   * @returns how many it repeated: fewer than `changesMax` when the copy lacks nothing any more
   */
  repeat(write: BoltWrite, current: CurrentBuckets, changesMax: number): number {
    let count = 0;
    for (; count < changesMax && this.#repeated < this.#notes.length; count++) {
      this.#repeatNote(write, this.#notes[this.#repeated++]!);
    }
    if (this.#repeated === this.#notes.length) {
      this.#notes = [];
      this.#repeated = 0;
    }
    return count === changesMax ? count : count + this.#append(write, current, changesMax - count);
  }

  #repeatNote(write: BoltWrite, { bucket, key, value }: Change): void {
    const target = this.#open(write, bucket);
    if (key === undefined) return;
    if (value === undefined) target.delete(key);
    else target.put(key, value);
  }

  #append(write: BoltWrite, current: CurrentBuckets, keysMax: number): number {
    const target = this.#open(write, this.#appended);
    let count = 0;
    let last: Uint8Array | undefined;
    current.forEach(
      this.#appended,
      this.#end === undefined ? undefined : successor(this.#end),
      undefined,
      (key, value) => {
        target.put(key, value);
        last = key;
        return ++count < keysMax;
      },
    );
    if (last !== undefined) this.#end = last.slice();
    return count;
  }

  #open(write: BoltWrite, bucket: string): BoltBucket {
    const target = write.createBucketIfNotExists(bytesFromLatin1(bucket));
    if (bucket === this.#appended) target.fillPercent = this.#fillPercent;
    return target;
  }

  /** Whether a key will be read from `db`. */
  #isAhead(bucket: string, key: Uint8Array): boolean {
    return bucket === this.#appended && (this.#end === undefined || compareBytes(key, this.#end) > 0);
  }
}

/** The least key above another one. */
function successor(key: Uint8Array): Uint8Array {
  const next = new Uint8Array(key.length + 1);
  next.set(key);
  return next;
}
