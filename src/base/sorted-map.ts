/**
 * A map from latin1 strings to entries that also knows their order, for millions of keys.
 *
 * Two structures hold the same entries. A table by hashes (`key-table.ts`) answers point lookups. Sorted chunks
 * of at most `CHUNK_MAX` entries answer ranges; a chunk also counts those of its entries that the owner marked, so
 * that a range is counted without walking over it.
 *
 * Laws: chunks are never empty; each chunk is sorted, and its last key is below the next chunk's first; a chunk's tally
 * is the number of its marked entries; what the table holds and what the chunks hold is the same.
 *
 * A walk with `visit` sees one state: the map must not change before it returns. A walk in slices asks `chunkFrom`
 * again with the next key, so that entries may come and go in between.
 */
import { invariant } from "./errors.js";
import { KeyTable, type Keyed } from "./key-table.js";

const CHUNK_MAX = 256;
/** Two neighbours are joined when both together hold no more than this, so that a split does not follow at once. */
const CHUNK_JOINED_MAX = CHUNK_MAX / 2;

interface Chunk<Entry> {
  readonly entries: Entry[];
  /** The first entry's key: the search for a chunk stays within few lines of memory. */
  first: string;
  /** How many of the entries are marked. */
  marked: number;
}

export class SortedMap<Entry extends Keyed> {
  readonly #table = new KeyTable<Entry>();
  readonly #chunks: Chunk<Entry>[] = [];
  readonly #isMarked: (entry: Entry) => boolean;
  #marked = 0;

  /** @param isMarked says which entries `countMarked` counts; call `markChanged` when its answer changes for an entry */
  constructor(isMarked: (entry: Entry) => boolean) {
    this.#isMarked = isMarked;
  }

  get size(): number {
    return this.#table.size;
  }

  /** How many entries are marked. */
  get marked(): number {
    return this.#marked;
  }

  get(key: string): Entry | undefined {
    return this.#table.get(key);
  }

  /** Adds an entry whose key must not be there. */
  add(entry: Entry): void {
    invariant(this.addOrGet(entry) === entry, "a key is added to a sorted map once");
  }

  /** Adds an entry unless its key is there; answers the entry that has the key then. */
  addOrGet(entry: Entry): Entry {
    const before = this.#table.size;
    const found = this.#table.addOrGet(entry);
    if (this.#table.size > before) this.#addToChunk(entry);
    return found;
  }

  #addToChunk(entry: Entry): void {
    const marks = this.#isMarked(entry) ? 1 : 0;
    this.#marked += marks;
    if (this.#chunks.length === 0) {
      this.#chunks.push({ entries: [entry], first: entry.key, marked: marks });
      return;
    }
    const at = this.#chunkFor(entry.key);
    const chunk = this.#chunks[at]!;
    const position = lowerBound(chunk.entries, entry.key);
    chunk.entries.splice(position, 0, entry);
    if (position === 0) chunk.first = entry.key;
    chunk.marked += marks;
    if (chunk.entries.length > CHUNK_MAX) this.#split(at);
  }

  /** Removes an entry; answers whether it was there. */
  delete(key: string): boolean {
    const entry = this.#table.delete(key);
    if (entry === undefined) return false;
    const marks = this.#isMarked(entry) ? 1 : 0;
    this.#marked -= marks;
    const at = this.#chunkFor(key);
    const chunk = this.#chunks[at]!;
    const position = lowerBound(chunk.entries, key);
    invariant(chunk.entries[position] === entry, "the table and the chunks of a sorted map hold the same entries");
    chunk.entries.splice(position, 1);
    chunk.marked -= marks;
    if (chunk.entries.length === 0) {
      this.#chunks.splice(at, 1);
    } else {
      if (position === 0) chunk.first = chunk.entries[0]!.key;
      this.#joinSmall(at);
    }
    return true;
  }

  /** To be called right after `isMarked` began to answer differently for an entry that is in the map. */
  markChanged(entry: Entry): void {
    const change = this.#isMarked(entry) ? 1 : -1;
    this.#chunks[this.#chunkFor(entry.key)]!.marked += change;
    this.#marked += change;
  }

  /**
   * Calls for each entry with a key in `[low, high)` in ascending order until the callback answers false.
   *
   * @param high undefined means no upper end. The map must not change before the call returns.
   */
  visit(low: string, high: string | undefined, callback: (entry: Entry) => boolean): void {
    if (this.#chunks.length === 0) return;
    let at = this.#chunkFor(low);
    let position = lowerBound(this.#chunks[at]!.entries, low);
    for (; at < this.#chunks.length; at++, position = 0) {
      const { entries } = this.#chunks[at]!;
      for (; position < entries.length; position++) {
        const entry = entries[position]!;
        if (high !== undefined && entry.key >= high) return;
        if (!callback(entry)) return;
      }
    }
  }

  /**
   * The entries from `low` on that stand together, `CHUNK_MAX` at most; an empty array past the end. A walk in slices asks
   * again with the last key that it saw plus a zero byte: entries may come and go between two calls.
   */
  chunkFrom(low: string): Entry[] {
    if (this.#chunks.length === 0) return [];
    let at = this.#chunkFor(low);
    let position = lowerBound(this.#chunks[at]!.entries, low);
    if (position === this.#chunks[at]!.entries.length) {
      at++;
      position = 0;
    }
    return at < this.#chunks.length ? this.#chunks[at]!.entries.slice(position) : [];
  }

  /** How many marked entries have a key in `[low, high)`; looks into two chunks and adds up the others. */
  countMarked(low: string, high: string | undefined): number {
    if (this.#chunks.length === 0) return 0;
    if (high !== undefined && high <= low) return 0;
    const first = this.#chunkFor(low);
    const last = high === undefined ? this.#chunks.length - 1 : this.#chunkFor(high);
    let count = 0;
    for (let at = first; at <= last; at++) {
      const chunk = this.#chunks[at]!;
      const from = at === first ? lowerBound(chunk.entries, low) : 0;
      const to = at === last && high !== undefined ? lowerBound(chunk.entries, high) : chunk.entries.length;
      count += from === 0 && to === chunk.entries.length ? chunk.marked : this.#countIn(chunk, from, to);
    }
    return count;
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    let size = 0;
    let marked = 0;
    let previous: string | undefined;
    for (const chunk of this.#chunks) {
      invariant(chunk.entries.length > 0, "a chunk is never empty");
      invariant(chunk.entries.length <= CHUNK_MAX, "a chunk is never too long");
      invariant(chunk.first === chunk.entries[0]!.key, "a chunk knows its first key");
      for (const { key } of chunk.entries) {
        invariant(previous === undefined || previous < key, "keys ascend");
        invariant(this.get(key)?.key === key, "what is in a chunk is in the table");
        previous = key;
      }
      invariant(this.#countIn(chunk, 0, chunk.entries.length) === chunk.marked, "a chunk's tally is right");
      size += chunk.entries.length;
      marked += chunk.marked;
    }
    invariant(size === this.#table.size, "the table holds no more than the chunks");
    invariant(marked === this.#marked, "the tally is right");
    this.#table.check();
  }

  #countIn(chunk: Chunk<Entry>, from: number, to: number): number {
    let count = 0;
    for (let i = from; i < to; i++) if (this.#isMarked(chunk.entries[i]!)) count++;
    return count;
  }

  /** The chunk that holds `key`, or would: the last one whose first key is not above it, or else the first. */
  #chunkFor(key: string): number {
    const chunks = this.#chunks;
    let low = 0;
    let high = chunks.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (chunks[middle]!.first <= key) low = middle + 1;
      else high = middle;
    }
    return Math.max(0, low - 1);
  }

  #split(at: number): void {
    const chunk = this.#chunks[at]!;
    // Keys that arrive in order would leave half-empty chunks behind: at the end only the newest moves on.
    const cut = at === this.#chunks.length - 1 ? CHUNK_MAX : CHUNK_MAX / 2;
    const entries = chunk.entries.splice(cut);
    const upper: Chunk<Entry> = { entries, first: entries[0]!.key, marked: 0 };
    upper.marked = this.#countIn(upper, 0, entries.length);
    chunk.marked -= upper.marked;
    this.#chunks.splice(at + 1, 0, upper);
  }

  #joinSmall(at: number): void {
    const left = at > 0 ? at - 1 : at;
    const chunk = this.#chunks[left]!;
    const next = this.#chunks[left + 1];
    if (next === undefined || chunk.entries.length + next.entries.length > CHUNK_JOINED_MAX) return;
    for (const entry of next.entries) chunk.entries.push(entry);
    chunk.marked += next.marked;
    this.#chunks.splice(left + 1, 1);
  }
}

/** Position of the first entry whose key is not below `key`. */
function lowerBound(entries: readonly Keyed[], key: string): number {
  let low = 0;
  let high = entries.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (entries[middle]!.key < key) low = middle + 1;
    else high = middle;
  }
  return low;
}
