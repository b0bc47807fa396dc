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
 * Laws: revisions of a line ascend strictly; two tombstones never stand side by side, save where compaction cut; a line
 * that holds nothing is not in the index.
 *
 * Memory, for a million keys of one revision: 6 fields and a header make 72 bytes, the table's share is about 22, the
 * sorted chunk's about 10.
 */
import { invariant } from "../base/errors.js";
import type { Keyed } from "../base/key-table.js";
import { SortedMap } from "../base/sorted-map.js";
import { describeRevision, type Revision, type RevisionSet } from "./revision.js";

/** Up to this many numbers a line is copied when it grows: `push` would reserve 16 more, and most keys have few revisions. */
const SHORT_LINE = 12;

/** One key's line of revisions. It is its own newest `Revision` while the key is there. */
export class KeyHistory implements Keyed, Revision {
  /** One byte a character. */
  readonly key: string;
  /** The newest revision. */
  main: number;
  /** The newest revision's sub, or its complement (`~sub`, negative) when the newest revision is a tombstone. */
  sub: number;
  /** Main revision of the put that began the newest generation. Means nothing after a tombstone. */
  created: number;
  /** Puts in the newest generation so far. Means nothing after a tombstone. */
  version: number;
  /** Earlier revisions, ascending, as pairs of main and sub (the complement for a tombstone). */
  older: number[] | undefined;

  constructor(key: string, main: number, sub: number, created: number, version: number) {
    this.key = key;
    this.main = main;
    this.sub = sub;
    this.created = created;
    this.version = version;
    this.older = undefined;
  }

  /** Whether the key is there at the newest revision. */
  get live(): boolean {
    return this.sub >= 0;
  }

  /** The revision that a read at main revision `at` sees; undefined where the key is not there. */
  at(at: number): Revision | undefined {
    if (this.main <= at) return this.sub >= 0 ? this : undefined;
    const position = this.#positionAt(at);
    if (position < 0) return undefined;
    const sub = this.older![position + 1]!;
    return sub >= 0 ? { main: this.older![position]!, sub } : undefined;
  }

  /** Appends a revision; `sub` as in the field. */
  append(main: number, sub: number): void {
    const plain = sub < 0 ? ~sub : sub;
    const newest = this.sub < 0 ? ~this.sub : this.sub;
    invariant(
      main > this.main || (main === this.main && plain > newest),
      () => `revision ${describeRevision(main, plain)} after ${describeRevision(this.main, newest)}`,
    );
    const older = this.older;
    if (older === undefined) this.older = [this.main, this.sub];
    else if (older.length < SHORT_LINE) this.older = [...older, this.main, this.sub];
    else older.push(this.main, this.sub);
    this.main = main;
    this.sub = sub;
  }

  /**
   * Forgets what no read at `at` or later can see, and adds to `keep` the revision up to `at` that stays.
   *
   * @returns whether the line still holds something
   */
  compact(at: number, keep: RevisionSet): boolean {
    if (this.main <= at) {
      this.older = undefined;
      if (this.sub < 0 && this.main < at) return false;
      keep.add(this.main, this.sub < 0 ? ~this.sub : this.sub);
      return true;
    }
    const position = this.#positionAt(at);
    if (position < 0) return true;
    const older = this.older!;
    const sub = older[position + 1]!;
    const stays = sub >= 0 || older[position] === at;
    if (stays) keep.add(older[position]!, sub < 0 ? ~sub : sub);
    const from = stays ? position : position + 2;
    if (from > 0) this.older = from === older.length ? undefined : older.slice(from);
    return true;
  }

  /** Calls for each revision of the line, in order; `sub` as in the field. */
  forEach(visit: (main: number, sub: number) => void): void {
    const older = this.older;
    if (older !== undefined) for (let i = 0; i < older.length; i += 2) visit(older[i]!, older[i + 1]!);
    visit(this.main, this.sub);
  }

  /** Position in `older` of the last revision with a main up to `at`; -1 when there is none. */
  #positionAt(at: number): number {
    const older = this.older;
    if (older === undefined) return -1;
    let low = 0;
    let high = older.length / 2;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (older[middle * 2]! <= at) low = middle + 1;
      else high = middle;
    }
    return low * 2 - 2;
  }
}

/**
 * A span of keys as etcd's requests mean it: `end` undefined is the one key, an empty `end` is "from `key` on",
 * anything else is `[key, end)`, which is empty when `end <= key`.
 */
export interface KeySpan {
  readonly key: string;
  readonly end: string | undefined;
}

export class KeyIndex {
  readonly #map = new SortedMap<KeyHistory>((history) => history.live);

  /** Keys that are there at the newest revision. */
  get liveCount(): number {
    return this.#map.marked;
  }

  /** Keys of which anything is known, tombstones included. */
  get size(): number {
    return this.#map.size;
  }

  get(key: string): KeyHistory | undefined {
    return this.#map.get(key);
  }

  /** Notes a put, and answers the history with the new create revision and version. */
  put(key: string, main: number, sub: number): KeyHistory {
    const history = this.#map.get(key);
    if (history === undefined) {
      const added = new KeyHistory(key, main, sub, main, 1);
      this.#map.add(added);
      return added;
    }
    const wasLive = history.live;
    history.append(main, sub);
    if (wasLive) {
      history.version++;
    } else {
      history.created = main;
      history.version = 1;
      this.#map.markChanged(history);
    }
    return history;
  }

  /** Notes a deletion of a key that is there. */
  tombstone(history: KeyHistory, main: number, sub: number): void {
    invariant(history.live, "a key that is deleted is there");
    history.append(main, ~sub);
    this.#map.markChanged(history);
  }

  /** Notes a put that was found in `db`; its value knows create revision and version. */
  restorePut(key: string, main: number, sub: number, created: number, version: number): void {
    const fresh = version === 1 ? new KeyHistory(key, main, sub, created, version) : undefined;
    // Most keys are new that have their first version: one look-up finds out and adds them.
    const history = fresh === undefined ? this.#map.get(key) : this.#map.addOrGet(fresh);
    if (history === undefined) {
      this.#map.add(new KeyHistory(key, main, sub, created, version));
      return;
    }
    if (history === fresh) return;
    const wasLive = history.live;
    history.append(main, sub);
    history.created = created;
    history.version = version;
    if (!wasLive) this.#map.markChanged(history);
  }

  /** Notes a deletion that was found in `db`. The put before it may have been compacted away. */
  restoreTombstone(key: string, main: number, sub: number): void {
    const history = this.#map.get(key);
    if (history === undefined) this.#map.add(new KeyHistory(key, main, ~sub, 0, 0));
    else if (history.live) this.tombstone(history, main, sub);
  }

  /** Calls for each key of the span that is there at `at`, in order, until the callback answers false. */
  visitAt(span: KeySpan, at: number, callback: (history: KeyHistory, revision: Revision) => boolean): void {
    if (span.end === undefined) {
      const history = this.#map.get(span.key);
      const revision = history?.at(at);
      if (revision !== undefined) callback(history!, revision);
      return;
    }
    this.#map.visit(span.key, highOf(span), (history) => {
      const revision = history.at(at);
      return revision === undefined || callback(history, revision);
    });
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
    callback: (history: KeyHistory, revision: Revision) => void,
  ): string | undefined {
    let visited = 0;
    let next: string | undefined;
    this.#map.visit(low, highOf(span), (history) => {
      if (visited++ === keysMax) {
        next = history.key;
        return false;
      }
      const revision = history.at(at);
      if (revision !== undefined) callback(history, revision);
      return true;
    });
    return next;
  }

  /** How many keys of the span are there at `at`. Costs two chunks when `newest` says that `at` is the newest revision. */
  countAt(span: KeySpan, at: number, newest: boolean): number {
    if (newest && span.end !== undefined) return this.#map.countMarked(span.key, highOf(span));
    let count = 0;
    this.visitAt(span, at, () => ++count > 0);
    return count;
  }

  /**
   * All revisions of the span's keys with a main of at least `from`, ascending; of several with one main and one key
   * only the last, for nobody may see the others.
   */
  since(span: KeySpan, from: number): Revision[] {
    const found: Revision[] = [];
    const collect = (history: KeyHistory): boolean => {
      collectSince(history, from, found);
      return true;
    };
    if (span.end === undefined) {
      const history = this.#map.get(span.key);
      if (history !== undefined) collect(history);
      return found;
    }
    this.#map.visit(span.key, highOf(span), collect);
    return found.sort((a, b) => a.main - b.main || a.sub - b.sub);
  }

  /**
   * Compacts a slice of the keys from `low` on and removes those of which nothing is left.
   *
   * @param keep gets the revisions up to `at` that stay in `db`
   * @returns where the next slice begins; undefined after the last
   */
  compactSlice(low: string, at: number, keep: RevisionSet): string | undefined {
    const slice = this.#map.chunkFrom(low);
    for (const history of slice) if (!history.compact(at, keep)) this.#map.delete(history.key);
    return nextLow(slice);
  }

  /** Adds to `keep` the revisions that reads at `at` see, for a slice of the keys; answers where the next slice begins. */
  keepSlice(low: string, at: number, keep: RevisionSet): string | undefined {
    const slice = this.#map.chunkFrom(low);
    for (const history of slice) {
      const revision = history.at(at);
      if (revision !== undefined) keep.add(revision.main, revision.sub);
    }
    return nextLow(slice);
  }

  /** Proves the laws of the containers; for tests. */
  check(): void {
    this.#map.check();
  }
}

function highOf(span: KeySpan): string | undefined {
  return span.end === "" ? undefined : span.end;
}

function nextLow(slice: readonly KeyHistory[]): string | undefined {
  return slice.length === 0 ? undefined : `${slice[slice.length - 1]!.key}\0`;
}

function collectSince(history: KeyHistory, from: number, found: Revision[]): void {
  const begin = found.length;
  history.forEach((main, sub) => {
    if (main < from) return;
    const revision = { main, sub: sub < 0 ? ~sub : sub };
    if (found.length > begin && found[found.length - 1]!.main === main) found[found.length - 1] = revision;
    else found.push(revision);
  });
}
