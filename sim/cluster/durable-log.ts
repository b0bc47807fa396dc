/**
 * What a member's log holds on the platter, read from the platter: the entries and the state that no power loss takes away.
 *
 * It follows the syncs of the disk and reads only what each made durable, so that it can stay on in every run. It shares no code
 * with the log's writer but the form of a frame: what a member says is checked against what its disk has.
 *
 * A segment counts from the moment its name is durable, too; what is in a file of another name (the next segment) does not.
 */
import { crc32c, crc32cSpan } from "../../src/base/crc32c.js";
import { parentPath } from "../../src/platform/index.js";
import { decodeEntry, decodeHardState, EMPTY_HARD_STATE, EntryType, type HardState } from "../../src/proto/raft.js";
import { decodeWalSnapshot } from "../../src/proto/wal.js";
import { FrameParser } from "../../src/wal/frames.js";
import { segmentsAmong } from "../../src/wal/names.js";
import type { SimDisk } from "../disk.js";
import type { DiskOperation, Inode } from "../platter.js";
import { ROOT } from "../platter.js";

/** An entry as far as it is compared: two of the same index and term must be the same. */
export interface EntryMark {
  readonly term: number;
  /** Checksum of type and data. */
  readonly hash: number;
  readonly type: EntryType;
  readonly data: Uint8Array;
}

export type LogRecord =
  | { readonly kind: "entry"; readonly index: number; readonly mark: EntryMark; readonly changesMembers: boolean }
  | { readonly kind: "state"; readonly state: HardState }
  | { readonly kind: "snapshot"; readonly index: number; readonly term: number };

export interface SnapshotMark {
  readonly index: number;
  readonly term: number;
}

export type ReplacedBy = "entry" | "snapshot";

/** A segment, read as far as its frames are good. */
interface SegmentRead {
  offset: number;
  crc: number;
  readonly records: LogRecord[];
}

const RECORD_ENTRY = 2;
const RECORD_STATE = 3;
const RECORD_CRC = 4;
const RECORD_SNAPSHOT = 5;

export class DurableLog {
  readonly #walPath: readonly string[];
  readonly #folders: readonly string[];
  readonly #onReplaced: (by: ReplacedBy) => void;
  readonly #parser = new FrameParser();
  #segments = new Map<Inode, SegmentRead>();
  /** The segment that is written: the last one with a durable name. */
  #tail: Inode | undefined;
  #entries = new Map<number, EntryMark>();
  #lastIndex = 0;
  #lastTerm = 0;
  #snapshotIndex = 0;
  #snapshots: SnapshotMark[] = [];
  #changeIndex = 0;
  #state: HardState = EMPTY_HARD_STATE;

  /**
   * @param walDir the folder of the segments
   * @param onReplaced told when a record is followed that takes the place of entries of another term
   */
  constructor(walDir: string, onReplaced: (by: ReplacedBy) => void = () => undefined) {
    this.#onReplaced = onReplaced;
    this.#folders = [walDir, parentPath(walDir)];
    this.#walPath = walDir.split("/").filter((part) => part !== "");
  }

  /** Index of the last durable entry or snapshot; 0 when there is none. */
  get lastIndex(): number {
    return this.#lastIndex;
  }

  /** Its term; 0 when there is none. */
  get lastTerm(): number {
    return this.#lastTerm;
  }

  /** Index of the newest snapshot that the log names. */
  get snapshotIndex(): number {
    return this.#snapshotIndex;
  }

  /** The newest snapshot that counts: the log names it, and its commit covers it. `{ 0, 0 }` when there is none. */
  get snapshotInUse(): SnapshotMark {
    const { commit } = this.#state;
    // Not the last on record: a leader's may lie before those that the member took itself since, when its commit came late.
    return this.#snapshots.reduce(
      (best, each) => (each.index <= commit && each.index >= best.index ? each : best),
      NONE,
    );
  }

  /** Index of the last entry that changes the members; 0 when the log holds none. */
  get changeIndex(): number {
    return this.#changeIndex;
  }

  get state(): HardState {
    return this.#state;
  }

  /** The entry at an index; undefined where the log has none (any more). */
  entryAt(index: number): EntryMark | undefined {
    return this.#entries.get(index);
  }

  /** Every entry that the log holds, in no certain order. */
  entries(): IterableIterator<[index: number, mark: EntryMark]> {
    return this.#entries.entries();
  }

  /** Whether only zeros lie behind the last record: anything else would be read as a part of the log once records reach it. */
  endsWithZeros(disk: SimDisk): boolean {
    const content = this.#tail === undefined ? undefined : disk.durable.files.get(this.#tail);
    if (content === undefined) return true;
    const { offset } = this.#segments.get(this.#tail!)!;
    const bytes = new Uint8Array(Math.max(0, content.size - offset));
    content.read(bytes, offset);
    return bytes.every((byte) => byte === 0);
  }

  /** Reads a disk from the beginning: after a crash. */
  load(disk: SimDisk): void {
    this.#segments.clear();
    this.#reload(disk);
  }

  /** Follows one operation of the disk. Answers the entries that it made durable. */
  follow(disk: SimDisk, operation: DiskOperation): readonly LogRecord[] {
    if (operation.kind === "datasync" || operation.kind === "sync") {
      if (operation.inode !== this.#tail) return NOTHING;
      return this.#readOn(disk, operation.inode);
    }
    // The folder itself, or the one above, which makes the name of a new log durable.
    if (operation.kind === "sync-folder" && this.#folders.includes(operation.path)) this.#reload(disk);
    else if (operation.kind === "damage") this.load(disk);
    return NOTHING;
  }

  #readOn(disk: SimDisk, inode: Inode): readonly LogRecord[] {
    const segment = this.#segments.get(inode)!;
    const before = segment.records.length;
    this.#readSegment(disk, inode, segment);
    const fresh = segment.records.slice(before);
    for (const record of fresh) {
      if (record.kind === "entry") {
        const known = this.#entries.get(record.index);
        if (known !== undefined && known.term !== record.mark.term) this.#onReplaced("entry");
      } else if (record.kind === "snapshot" && this.#isReplacedBy(record)) this.#onReplaced("snapshot");
      this.#take(record);
    }
    return fresh;
  }

  #reload(disk: SimDisk): void {
    let folder: Inode | undefined = ROOT;
    for (const part of this.#walPath) folder = folder && disk.durable.folders.get(folder)?.get(part);
    const names = folder === undefined ? undefined : disk.durable.folders.get(folder);
    this.#entries = new Map();
    this.#lastIndex = 0;
    this.#lastTerm = 0;
    this.#snapshotIndex = 0;
    this.#snapshots = [];
    this.#changeIndex = 0;
    this.#state = EMPTY_HARD_STATE;
    this.#tail = undefined;
    const kept = new Map<Inode, SegmentRead>();
    for (const { name } of segmentsAmong([...(names?.keys() ?? [])])) {
      const inode = names!.get(name)!;
      const segment = this.#segments.get(inode) ?? { offset: 0, crc: 0, records: [] };
      kept.set(inode, segment);
      this.#readSegment(disk, inode, segment);
      for (const record of segment.records) this.#take(record);
      this.#tail = inode;
    }
    this.#segments = kept;
  }

  #take(record: LogRecord): void {
    if (record.kind === "state") {
      this.#state = record.state;
    } else if (record.kind === "snapshot") {
      this.#snapshotIndex = Math.max(this.#snapshotIndex, record.index);
      if (record.index > 0) this.#snapshots.push({ index: record.index, term: record.term });
      if (record.index <= this.#lastIndex && !this.#isReplacedBy(record)) return;
      this.#entries.clear();
      this.#changeIndex = 0;
      this.#lastIndex = record.index;
      this.#lastTerm = record.term;
    } else {
      for (let index = record.index + 1; index <= this.#lastIndex; index++) this.#entries.delete(index);
      this.#entries.set(record.index, record.mark);
      this.#lastIndex = record.index;
      this.#lastTerm = record.mark.term;
      if (record.changesMembers) this.#changeIndex = record.index;
      else if (this.#changeIndex >= record.index) this.#changeIndex = 0;
    }
  }

  /** A snapshot that the log has under another term came from a leader: what is there was never committed. */
  #isReplacedBy({ index, term }: SnapshotMark): boolean {
    const known = this.#entries.get(index);
    return known !== undefined && known.term !== term;
  }

  #readSegment(disk: SimDisk, inode: Inode, segment: SegmentRead): void {
    const content = disk.durable.files.get(inode);
    if (content === undefined) return;
    const left = content.size - segment.offset;
    if (left <= 0) return;
    const bytes = new Uint8Array(left);
    content.read(bytes, segment.offset);
    const parser = this.#parser;
    let at = 0;
    while (parser.parse(bytes, at, left, left - at) === "record") {
      const { type, dataStart, dataEnd, crc } = parser;
      if (type === RECORD_CRC) segment.crc = crc;
      else {
        const expected = crc32cSpan(segment.crc, bytes, dataStart, dataEnd) >>> 0;
        if (expected !== crc) break;
        segment.crc = expected;
        const record = recordOf(type, bytes.subarray(dataStart, dataEnd));
        if (record !== undefined) segment.records.push(record);
      }
      at += parser.total;
    }
    segment.offset += at;
  }
}

const NOTHING: readonly LogRecord[] = [];
const NONE: SnapshotMark = { index: 0, term: 0 };

function recordOf(type: number, data: Uint8Array): LogRecord | undefined {
  if (type === RECORD_ENTRY) {
    const entry = decodeEntry(data);
    const mark = { term: entry.term, hash: crc32c(entry.type, entry.data), type: entry.type, data: entry.data };
    return { kind: "entry", index: entry.index, mark, changesMembers: entry.type !== EntryType.normal };
  }
  if (type === RECORD_STATE) return { kind: "state", state: decodeHardState(data) };
  if (type !== RECORD_SNAPSHOT) return undefined;
  const { index, term } = decodeWalSnapshot(data);
  return { kind: "snapshot", index, term };
}
