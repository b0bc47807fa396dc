/**
 * Which revisions each key has: what a read asks before it goes to `db`, and what compaction asks before it deletes.
 *
 * A key's history is one ascending line of revisions. A deletion is a tombstone in that line; the puts between two
 * tombstones are a generation: its first put gives the create revision, and each put adds one to the version. Only the
 * newest generation's create revision and version are kept, because older ones are asked of the values in `db`.
 *
 *     put 5   put 7   delete 9   put 12           line: 5 7 9t 12     created 12, version 1
 *     compact at 8                                line: 7 9t 12       7 is what a read at 8 sees
 *     compact at 9                                line: 9t 12         the tombstone at the very revision stays, as in etcd
 *     compact at 10                               line: 12            3.5.16 and later
 *
 * A key is a row, a number. What is known of it lies in four structures that all grow in pieces and hold numbers and bytes only, so
 * that the collector has nothing to mark however many keys there are, and a put of a known key leaves nothing behind:
 *
 *     key-rows.ts            newest revision, create revision, version, the key's bytes (base/byte-heap.ts)
 *     revision-lines.ts      the earlier revisions
 *     base/row-table.ts      the row of a key
 *     base/row-order.ts      the rows in the order of their keys, and how many are live
 *
 * The sub of a tombstone is kept as its complement: `-1 - sub`, negative.
 *
 * Laws: revisions of a line ascend strictly; two tombstones never stand side by side, save where compaction cut; a line
 * that holds nothing is not in the index; the four structures hold the same rows.
 *
 * Memory, for a key of one revision: 40 bytes and the key with a header of 8; the table's share is about 14, the order's about 6. Each
 * earlier revision takes 16 to 32 more.
 */
import { invariant } from "../base/errors.js";
import { RowOrder } from "../base/row-order.js";
import { hashOf, NO_ROW, RowTable } from "../base/row-table.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { KeyRows } from "./key-rows.js";
import { NO_LINE, RevisionLines } from "./revision-lines.js";
import { describeRevision, type RevisionSet } from "./revision.js";

export { NO_ROW } from "../base/row-table.js";

/**
 * A span of keys as etcd's requests mean it: `end` undefined is the one key, an empty `end` is "from `key` on",
 * anything else is `[key, end)`, which is empty when `end <= key`.
 */
export interface KeySpan {
  /** One byte a character. */
  readonly key: string;
  readonly end: string | undefined;
}

/** Told of a key that is there at the revision asked for, and of the revision that a read sees. */
export type KeyVisitor<Answer> = (row: number, main: number, sub: number) => Answer;

export class KeyIndex {
  readonly #rows = new KeyRows();
  readonly #lines = new RevisionLines();
  readonly #table = new RowTable((row, bytes, start, end) => this.#rows.hasKey(row, bytes, start, end));
  readonly #order = new RowOrder(this.#rows);
  /** A key that was asked for as a text, for as long as it is looked for. */
  #text = new Uint8Array(256);

  /** Keys that are there at the newest revision. */
  get liveCount(): number {
    return this.#order.marked;
  }

  /** Keys of which anything is known, tombstones included. */
  get size(): number {
    return this.#rows.size;
  }

  /** Bytes of the blocks that hold keys and earlier revisions, the two that grow and shrink by themselves. */
  get blockBytes(): number {
    return this.#rows.keyBytes + this.#lines.slabBytes;
  }

  /** The row of the key `bytes[start, end)`, or `NO_ROW`. */
  find(bytes: Uint8Array, start = 0, end = bytes.length): number {
    return this.#table.find(hashOf(bytes, start, end), bytes, start, end);
  }

  /** The same for a key of one byte a character. */
  findText(key: string): number {
    const size = key.length;
    if (size > this.#text.length) this.#text = new Uint8Array(size * 2);
    for (let i = 0; i < size; i++) this.#text[i] = key.charCodeAt(i);
    return this.find(this.#text, 0, size);
  }

  /** Whether the key is there at the newest revision. */
  isLive(row: number): boolean {
    return this.#rows.isMarked(row);
  }

  /** The newest revision's main. */
  mainOf(row: number): number {
    return this.#rows.mainOf(row);
  }

  /** The newest revision's sub; its complement when that is a tombstone. */
  subOf(row: number): number {
    return this.#rows.subOf(row);
  }

  /** Main revision of the put that began the newest generation. Means nothing after a tombstone. */
  createdOf(row: number): number {
    return this.#rows.createdOf(row);
  }

  /** Puts in the newest generation so far. Means nothing after a tombstone. */
  versionOf(row: number): number {
    return this.#rows.versionOf(row);
  }

  /** A copy of the key. */
  keyOf(row: number): Uint8Array {
    return this.#rows.keyOf(row);
  }

  keyLength(row: number): number {
    return this.#rows.keyLength(row);
  }

  /** Whether the row's key is `bytes[start, end)`. */
  hasKey(row: number, bytes: Uint8Array, start: number, end: number): boolean {
    return this.#rows.hasKey(row, bytes, start, end);
  }

  /** Notes a put of the key `bytes[start, end)`; the row has the new create revision and version. */
  put(bytes: Uint8Array, start: number, end: number, main: number, sub: number): number {
    const hash = hashOf(bytes, start, end);
    const row = this.#table.find(hash, bytes, start, end);
    if (row === NO_ROW) return this.#add(hash, bytes, start, end, main, sub, main, 1);
    const wasLive = this.isLive(row);
    this.#append(row, main, sub);
    if (wasLive) {
      this.#rows.setGeneration(row, this.createdOf(row), this.versionOf(row) + 1);
    } else {
      this.#rows.setGeneration(row, main, 1);
      this.#order.markChanged(bytes, start, end, true);
    }
    return row;
  }

  /** Notes a deletion of a key that is there. */
  tombstone(row: number, main: number, sub: number): void {
    invariant(this.isLive(row), "a key that is deleted is there");
    this.#append(row, main, -1 - sub);
    const key = this.keyOf(row);
    this.#order.markChanged(key, 0, key.length, false);
  }

  /** Notes a put that was found in `db`; its value knows create revision and version. */
  restorePut(
    bytes: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    created: number,
    version: number,
  ): void {
    const hash = hashOf(bytes, start, end);
    const row = this.#table.find(hash, bytes, start, end);
    if (row === NO_ROW) {
      this.#add(hash, bytes, start, end, main, sub, created, version);
      return;
    }
    const wasLive = this.isLive(row);
    this.#append(row, main, sub);
    this.#rows.setGeneration(row, created, version);
    if (!wasLive) this.#order.markChanged(bytes, start, end, true);
  }

  /** Notes a deletion that was found in `db`. The put before it may have been compacted away. */
  restoreTombstone(bytes: Uint8Array, start: number, end: number, main: number, sub: number): void {
    const hash = hashOf(bytes, start, end);
    const row = this.#table.find(hash, bytes, start, end);
    if (row === NO_ROW) this.#add(hash, bytes, start, end, main, -1 - sub, 0, 0);
    else if (this.isLive(row)) this.tombstone(row, main, sub);
  }

  /** Calls for each key of the span that is there at `at`, in order, until the callback answers false. */
  visitAt(span: KeySpan, at: number, callback: KeyVisitor<boolean>): void {
    if (span.end === undefined) {
      const row = this.findText(span.key);
      if (row !== NO_ROW) this.#visitRow(row, at, callback);
      return;
    }
    this.#order.visit(bytesFromLatin1(span.key), highOf(span), (row) => this.#visitRow(row, at, callback));
  }

  /**
   * The same for at most `keysMax` keys of which anything is known, from `low` on. Between two slices keys may come and go;
   * what is seen is the state at `at` all the same, unless the index is compacted beyond it.
   *
   * @returns where the next slice begins; undefined after the last
   */
  visitSliceAt(
    low: string,
    span: KeySpan,
    at: number,
    keysMax: number,
    callback: KeyVisitor<void>,
  ): string | undefined {
    let visited = 0;
    let next: string | undefined;
    const visit: KeyVisitor<boolean> = (row, main, sub) => {
      callback(row, main, sub);
      return true;
    };
    this.#order.visit(bytesFromLatin1(low), highOf(span), (row) => {
      if (visited++ < keysMax) return this.#visitRow(row, at, visit);
      next = latin1FromBytes(this.keyOf(row));
      return false;
    });
    return next;
  }

  /** How many keys of the span are there at `at`. Costs two chunks when `newest` says that `at` is the newest revision. */
  countAt(span: KeySpan, at: number, newest: boolean): number {
    if (newest && span.end !== undefined) return this.#order.countMarked(bytesFromLatin1(span.key), highOf(span));
    let count = 0;
    this.visitAt(span, at, () => ++count > 0);
    return count;
  }

  /**
   * Compacts a slice of the keys from `low` on and removes those of which nothing is left.
   *
   * @param keep gets the revisions up to `at` that stay in `db`
   * @returns where the next slice begins; undefined after the last
   */
  compactSlice(low: string, at: number, keep: RevisionSet): string | undefined {
    const slice = this.#order.chunkFrom(bytesFromLatin1(low));
    const next = this.#nextLow(slice);
    for (const row of slice) if (!this.#compact(row, at, keep)) this.#remove(row);
    return next;
  }

  /** Adds to `keep` the revisions that reads at `at` see, for a slice of the keys; answers where the next slice begins. */
  keepSlice(low: string, at: number, keep: RevisionSet): string | undefined {
    const slice = this.#order.chunkFrom(bytesFromLatin1(low));
    const visit: KeyVisitor<boolean> = (_, main, sub) => {
      keep.add(main, sub);
      return true;
    };
    for (const row of slice) this.#visitRow(row, at, visit);
    return this.#nextLow(slice);
  }

  /** Proves the laws of this module and of the structures; for tests. */
  check(): void {
    const keyOf = (row: number): Uint8Array => this.keyOf(row);
    this.#rows.check();
    this.#table.check(keyOf);
    this.#order.check(keyOf);
    invariant(this.#table.size === this.#rows.size, "the table holds all rows");
    invariant(this.#order.size === this.#rows.size, "the order holds all rows");
    const rows = [...this.#rows.all()];
    this.#lines.check(rows.map((row) => this.#rows.lineOf(row)));
    for (const row of rows) {
      const key = this.keyOf(row);
      invariant(this.find(key) === row, "a row is found by its key");
      invariant(this.#lines.lastUpTo(this.#rows.lineOf(row), -1) === NO_LINE, "revisions are not negative");
    }
  }

  #add(
    hash: number,
    bytes: Uint8Array,
    start: number,
    end: number,
    main: number,
    sub: number,
    created: number,
    version: number,
  ): number {
    const row = this.#rows.add(bytes, start, end, main, sub, created, version);
    this.#table.add(hash, row);
    this.#order.add(row, bytes, start, end);
    return row;
  }

  #remove(row: number): void {
    const key = this.keyOf(row);
    const inOrder = this.#order.delete(row, key, 0, key.length);
    const inTable = this.#table.delete(hashOf(key, 0, key.length), row);
    invariant(inOrder && inTable, "the structures of the key index hold the same rows");
    this.#lines.free(this.#rows.lineOf(row));
    this.#rows.remove(row);
  }

  /** Appends a revision to a row's line; `sub` as it is kept. */
  #append(row: number, main: number, sub: number): void {
    const before = this.mainOf(row);
    const newest = this.subOf(row);
    invariant(
      main > before || (main === before && plainSub(sub) > plainSub(newest)),
      () => `revision ${describeRevision(main, plainSub(sub))} after ${describeRevision(before, plainSub(newest))}`,
    );
    this.#rows.setLine(row, this.#lines.append(this.#rows.lineOf(row), before, newest));
    this.#rows.setRevision(row, main, sub);
  }

  /** Calls for a row whose key is there at `at`; answers what the callback does, and true for one that is not. */
  #visitRow(row: number, at: number, callback: KeyVisitor<boolean>): boolean {
    const main = this.mainOf(row);
    if (main <= at) {
      const sub = this.subOf(row);
      return sub < 0 || callback(row, main, sub);
    }
    const place = this.#lines.lastUpTo(this.#rows.lineOf(row), at);
    if (place === NO_LINE) return true;
    const sub = this.#lines.subAt(place);
    return sub < 0 || callback(row, this.#lines.mainAt(place), sub);
  }

  /**
   * Forgets what no read at `at` or later can see, and adds to `keep` the revision up to `at` that stays.
   *
   * @returns whether the line still holds something
   */
  #compact(row: number, at: number, keep: RevisionSet): boolean {
    const main = this.mainOf(row);
    const line = this.#rows.lineOf(row);
    if (main <= at) {
      const sub = this.subOf(row);
      if (line !== NO_LINE) {
        this.#lines.free(line);
        this.#rows.setLine(row, NO_LINE);
      }
      if (sub < 0 && main < at) return false;
      keep.add(main, plainSub(sub));
      return true;
    }
    const place = this.#lines.lastUpTo(line, at);
    if (place === NO_LINE) return true;
    const sub = this.#lines.subAt(place);
    const stays = sub >= 0 || this.#lines.mainAt(place) === at;
    if (stays) keep.add(this.#lines.mainAt(place), plainSub(sub));
    this.#rows.setLine(row, this.#lines.forgetBefore(line, place, !stays));
    return true;
  }

  #nextLow(slice: Int32Array): string | undefined {
    return slice.length === 0 ? undefined : `${latin1FromBytes(this.keyOf(slice[slice.length - 1]!))}\0`;
  }
}

/** The sub of a revision, whether it is a tombstone or not. */
function plainSub(sub: number): number {
  return sub < 0 ? -1 - sub : sub;
}

function highOf(span: KeySpan): Uint8Array | undefined {
  return span.end === "" || span.end === undefined ? undefined : bytesFromLatin1(span.end);
}
