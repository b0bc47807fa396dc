/**
 * Making, opening, reading, checking and repairing a log: the order of effects of each, with the reason on each line.
 *
 * A log is there whole or not at all: it is made in `FOLDER.tmp` and renamed. Opening one for writing takes the locks of its
 * segments first, reads it strictly, and changes nothing until all of it was found good.
 */
import { EMPTY_BYTES } from "../base/bytes.js";
import { describeError } from "../base/errors.js";
import { SECTOR_BYTES, SEGMENT_BYTES } from "../base/limits.js";
import { mebibytes } from "../base/units.js";
import type { Clock } from "../platform/clock.js";
import { DiskError, joinPath, parentPath, type Disk, type DiskFile } from "../platform/disk.js";
import { EMPTY_HARD_STATE, type Entry, type EntryType, type HardState } from "../proto/raft.js";
import type { WalSnapshot } from "../proto/wal.js";
import { RecordEncoder } from "./encoder.js";
import { WalError } from "./errors.js";
import { segmentName, segmentsAmong, segmentsFrom, segmentsWithoutGap, type SegmentName } from "./names.js";
import { removeStalePipelineFiles, writeZeros } from "./pipeline.js";
import {
  closeAll,
  openSegments,
  readLog,
  type DamagedTail,
  type LogCounts,
  type LogEnd,
  type OpenSegment,
  type ReadProgress,
  type RecordSink,
} from "./reader.js";
import { WalWriter, type WalDependencies, type WalOptions } from "./writer.js";

/** The snapshot that a log is opened at; `{ index: 0, term: 0 }` for its beginning. */
export interface SnapshotPoint {
  readonly index: number;
  readonly term: number;
}

export interface WalContents {
  readonly metadata: Uint8Array;
  /** The last one in the log; all zero when there was none. */
  readonly hardState: HardState;
  /** Those after the snapshot, each index once. Their data are views, made when asked for, of larger buffers that hold little else. */
  readonly entries: Entry[];
  readonly damagedTail: DamagedTail | undefined;
  /** Set when bytes were cut off the last segment. */
  readonly repaired: RepairReport | undefined;
}

export interface RepairReport {
  readonly segment: string;
  /** Whether anything had to be cut off. */
  readonly changed: boolean;
  /** The segment was cut here. */
  readonly offset: number;
  readonly bytesRemoved: number;
  /** The copy of the file as it was. */
  readonly brokenCopy: string | undefined;
  readonly damagedTail: DamagedTail | undefined;
}

export interface VerifyReport extends LogCounts {
  readonly hardState: HardState;
  readonly metadata: Uint8Array;
  readonly firstIndex: number | undefined;
  readonly lastIndex: number;
  readonly damagedTail: DamagedTail | undefined;
}

export type ReadDependencies = Pick<WalDependencies, "disk" | "clock">;
export type OnProgress = (progress: ReadProgress) => void;

export interface OpenOptions extends WalOptions {
  readonly onProgress?: OnProgress;
  /** Called when the log was read and nothing was changed yet; the log is left as it is when it fails. */
  readonly beforeChange?: (contents: WalContents) => void | Promise<void>;
}

/** Whether there is a log: the folder holds a file that ends in `.wal` (etcd's `haveWAL`). */
export async function walExists(disk: Disk, folder: string): Promise<boolean> {
  if ((await disk.stat(folder))?.kind !== "folder") return false;
  return (await disk.list(folder)).some(({ name }) => name.endsWith(".wal"));
}

/** The segments in a folder, oldest first; none when there is no folder. */
export async function listSegments(disk: Disk, folder: string): Promise<SegmentName[]> {
  try {
    return segmentsAmong((await disk.list(folder)).map(({ name }) => name));
  } catch (error) {
    if (error instanceof DiskError && error.code === "DISK_NOT_FOUND") return [];
    throw new WalError("WAL_READ_IO", `${folder} cannot be listed (${describeError(error)})`, {}, { cause: error });
  }
}

// ---- create -------------------------------------------------------------------------------------------------------

/**
 * Makes a log and opens it for writing. Its parent folder must exist.
 *
 * @param metadata written at the head of each segment: whose log this is
 * @throws WalError `WAL_EXISTS`, `WAL_WRITE_FAILED`
 */
export async function createWal(
  dependencies: WalDependencies,
  folder: string,
  metadata: Uint8Array,
  options: WalOptions = {},
): Promise<WalWriter> {
  const { disk } = dependencies;
  await requireFree(disk, folder);
  const temporary = `${folder}.tmp`;
  const name = segmentName(0, 0);
  const segmentBytes = options.segmentBytes ?? SEGMENT_BYTES;
  const encoder = new RecordEncoder(0);
  encoder.crcRecord();
  encoder.metadata(metadata);
  encoder.snapshot({ index: 0, term: 0, confState: undefined });
  let file: DiskFile | undefined;
  try {
    await disk.removeTree(temporary); //                          what a crash left of an earlier attempt
    await disk.makeFolder(temporary);
    file = await disk.open(joinPath(temporary, name), "create");
    if (!file.tryLock("segment")) throw new WalError("WAL_LOCKED", `${temporary}/${name} is locked`, { segment: name });
    await writeZeros(file, encoder.length, segmentBytes); //      real zeros: a full disk shows now, syncs are cheap later
    await file.write([encoder.view()], 0);
    await file.sync(); //                                         the head is durable before a name leads to it,
    await disk.syncFolder(temporary); //                          and its name inside before that of the folder
    await disk.rename(temporary, folder);
    await disk.syncFolder(parentPath(folder)); //                 only now there is a log
  } catch (error) {
    await file?.close().catch(() => undefined); // the first failure is the one to tell
    await disk.removeTree(temporary).catch(() => undefined);
    await setAside(disk, folder);
    if (error instanceof WalError) throw error;
    throw new WalError(
      "WAL_WRITE_FAILED",
      `${folder} could not be made (${describeError(error)}); make room or mend the disk and start again`,
      { segment: name },
      { cause: error },
    );
  }
  const start = {
    segments: [{ name, sequence: 0, index: 0, file }],
    metadata,
    crc: encoder.crc,
    offset: encoder.length,
    fileSize: Math.max(segmentBytes, encoder.length),
    hardState: undefined,
    lastIndex: 0,
  };
  return new WalWriter(dependencies, folder, start, options);
}

/** A folder without segments may be there, as a crash leaves it; other files in it are not ours to remove. */
async function requireFree(disk: Disk, folder: string): Promise<void> {
  if ((await disk.stat(folder)) === undefined) return;
  await removeStalePipelineFiles(disk, folder);
  const [occupant] = await disk.list(folder);
  if (occupant === undefined) return;
  throw new WalError(
    "WAL_EXISTS",
    `a log was to be made in ${folder}, but there is ${occupant.name}; open that log, or move the folder away`,
  );
}

/** A log whose making failed after the rename must not be found at the next start: it may not be durable. */
async function setAside(disk: Disk, folder: string): Promise<void> {
  for (let i = 0; await disk.stat(folder).catch(() => undefined); i++) {
    try {
      await disk.rename(folder, `${folder}.broken.${i}`);
    } catch (error) {
      if (!(error instanceof DiskError) || error.code !== "DISK_EXISTS") return; // the disk is gone: nothing more to do
    }
  }
}

// ---- read ---------------------------------------------------------------------------------------------------------

/**
 * Reads the entries after a snapshot and changes nothing, takes no locks.
 *
 * @throws WalError
 */
export async function readWal(
  dependencies: ReadDependencies,
  folder: string,
  at: SnapshotPoint,
  options: Pick<OpenOptions, "onProgress" | "segmentBytes"> = {},
): Promise<WalContents> {
  const segments = await openForReading(dependencies.disk, folder, at.index);
  try {
    const { contents } = await readContents(dependencies.clock, folder, segments, at, options);
    return { ...contents, repaired: undefined };
  } finally {
    await closeAll(segments);
  }
}

async function openForReading(disk: Disk, folder: string, index: number): Promise<OpenSegment[]> {
  const names = segmentsFrom(folder, await listSegments(disk, folder), index);
  return openSegments(names, ({ name }) => disk.open(joinPath(folder, name), "read"));
}

async function readContents(
  clock: Clock,
  folder: string,
  segments: readonly OpenSegment[],
  at: SnapshotPoint,
  options: Pick<OpenOptions, "onProgress" | "segmentBytes">,
): Promise<{ contents: Omit<WalContents, "repaired">; end: LogEnd }> {
  const { onProgress, segmentBytes } = options;
  const reading = { openAt: at.index, onProgress, segmentBytes };
  const { sink, end } = await readLog(clock, segments, () => new ContentsSink(at), reading);
  sink.match.require(folder, segments[0]!.name);
  const { metadata, hardState, damagedTail } = end;
  return { contents: { metadata, hardState: hardState ?? EMPTY_HARD_STATE, entries: sink.entries, damagedTail }, end };
}

/** Looks for the snapshot that a log is opened at. */
class SnapshotMatch {
  readonly #at: SnapshotPoint;
  #found = false;

  constructor(at: SnapshotPoint) {
    this.#at = at;
  }

  see(snapshot: WalSnapshot, place: { readonly segment: string; readonly offset: number }): void {
    if (snapshot.index !== this.#at.index) return;
    if (snapshot.term !== this.#at.term) {
      throw new WalError(
        "WAL_SNAPSHOT_MISMATCH",
        `${place.segment}, byte ${place.offset}: the snapshot of index ${snapshot.index} has term ${snapshot.term} in the log ` +
          `and term ${this.#at.term} where it is opened; the snapshot file is of another log: move it away and start again`,
        place,
      );
    }
    this.#found = true;
  }

  require(folder: string, segment: string): void {
    if (this.#found) return;
    throw new WalError(
      "WAL_SNAPSHOT_NOT_FOUND",
      `${folder}: the log from ${segment} on does not know the snapshot of index ${this.#at.index} and term ${this.#at.term}; ` +
        "open it at a snapshot that it knows, `walnut wal dump DIR` lists them",
      { segment, offset: 0 },
    );
  }
}

/**
 * An entry as it lies in a chunk of a segment. A view costs a hundred bytes and a good part of the time that reading takes, so it is made when
 * the data are asked for, and kept: much of a log is never looked at again.
 */
class ReadEntry implements Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  /** The chunk; the data alone once they were asked for. */
  #bytes: Uint8Array;
  /** Where the data begin in the chunk; -1 once they were asked for. */
  #start: number;
  readonly #size: number;

  constructor(type: EntryType, term: number, index: number, bytes: Uint8Array, start: number, size: number) {
    this.type = type;
    this.term = term;
    this.index = index;
    this.#bytes = bytes;
    this.#start = start;
    this.#size = size;
  }

  get data(): Uint8Array {
    if (this.#start >= 0) {
      this.#bytes = this.#bytes.subarray(this.#start, this.#start + this.#size);
      this.#start = -1;
    }
    return this.#bytes;
  }
}

/** Holds the entries after a snapshot. A later entry replaces what is there from its index on, below the snapshot too (D9). */
class ContentsSink implements RecordSink {
  readonly keepsBytes = true;
  readonly entries: Entry[] = [];
  readonly match: SnapshotMatch;
  readonly #base: number;

  constructor(at: SnapshotPoint) {
    this.match = new SnapshotMatch(at);
    this.#base = at.index + 1;
  }

  entry(
    type: EntryType,
    term: number,
    index: number,
    bytes: Uint8Array,
    dataStart: number,
    dataEnd: number,
  ): string | undefined {
    const entries = this.entries;
    const position = index - this.#base;
    if (position !== entries.length) {
      if (position > entries.length) return `entries ${this.#base + entries.length} to ${index - 1} are missing`;
      entries.length = Math.max(0, position);
      if (position < 0) return undefined;
    }
    const entry =
      dataStart === dataEnd
        ? new ReadEntry(type, term, index, EMPTY_BYTES, 0, 0)
        : new ReadEntry(type, term, index, bytes, dataStart, dataEnd - dataStart);
    entries.push(entry);
    return undefined;
  }

  state(): void {
    // The last one is kept by the reader.
  }

  dropAfter(index: number): void {
    this.entries.length = Math.min(this.entries.length, Math.max(0, index + 1 - this.#base));
  }

  snapshot(snapshot: WalSnapshot, place: { readonly segment: string; readonly offset: number }): void {
    this.match.see(snapshot, place);
  }
}

/** Counts, and holds snapshots alone: memory stays flat. */
class SummarySink implements RecordSink {
  readonly keepsBytes = false;
  readonly snapshots: WalSnapshot[] = [];
  readonly match: SnapshotMatch | undefined;
  firstIndex: number | undefined;

  constructor(at: SnapshotPoint | undefined) {
    this.match = at === undefined ? undefined : new SnapshotMatch(at);
  }

  entry(_type: EntryType, _term: number, index: number): string | undefined {
    this.firstIndex ??= index;
    return undefined;
  }

  state(): void {
    // The last one is kept by the reader.
  }

  dropAfter(): void {
    // Entries are counted as records.
  }

  snapshot(snapshot: WalSnapshot, place: { readonly segment: string; readonly offset: number }): void {
    this.snapshots.push(snapshot);
    this.match?.see(snapshot, place);
  }
}

/**
 * Reads a log from a snapshot on without holding its entries, as strictly as opening does.
 *
 * @throws WalError for each damage but a torn end, which the report tells
 */
export async function verifyWal(
  dependencies: ReadDependencies,
  folder: string,
  at: SnapshotPoint,
  onProgress?: OnProgress,
): Promise<VerifyReport> {
  const segments = await openForReading(dependencies.disk, folder, at.index);
  try {
    const options = { openAt: at.index, onProgress };
    const { sink, end } = await readLog(dependencies.clock, segments, () => new SummarySink(at), options);
    sink.match!.require(folder, segments[0]!.name);
    const { metadata, hardState, lastIndex, damagedTail } = end;
    const { firstIndex } = sink;
    return { ...end.counts, metadata, hardState: hardState ?? EMPTY_HARD_STATE, firstIndex, lastIndex, damagedTail };
  } finally {
    await closeAll(segments);
  }
}

/**
 * The snapshots that a log knows and that its commit covers, in the order of the log: only these may be loaded. Reads all
 * segments but those below a gap, which a power failure during a purge may leave.
 */
export async function validSnapshotEntries(dependencies: ReadDependencies, folder: string): Promise<WalSnapshot[]> {
  const { disk, clock } = dependencies;
  const names = segmentsWithoutGap(await listSegments(disk, folder));
  if (names.length === 0) throw new WalError("WAL_NOT_FOUND", `there is no log in ${folder}`);
  const segments = await openSegments(names, ({ name }) => disk.open(joinPath(folder, name), "read"));
  try {
    const openAt = Number.MAX_SAFE_INTEGER; // holes are for the one who opens at a snapshot to judge
    const { sink, end } = await readLog(clock, segments, () => new SummarySink(undefined), { openAt });
    const commit = end.hardState?.commit ?? 0;
    return sink.snapshots.filter(({ index }) => index <= commit);
  } finally {
    await closeAll(segments);
  }
}

// ---- open for writing ---------------------------------------------------------------------------------------------

/**
 * Opens a log for writing: locks its segments, reads it, cuts off a torn end (once, as etcd's boot does), writes the last
 * segment's good bytes once more and syncs them. When it resolves, all that was read is durable.
 *
 * @throws WalError; nothing was changed when it says that acknowledged entries are missing
 */
export async function openWal(
  dependencies: WalDependencies,
  folder: string,
  at: SnapshotPoint,
  options: OpenOptions = {},
): Promise<{ writer: WalWriter; contents: WalContents }> {
  const { disk, clock, log } = dependencies;
  const names = segmentsFrom(folder, await listSegments(disk, folder), at.index);
  const segments = await openSegments(names, ({ name }) => openLocked(disk, folder, name));
  try {
    const { contents, end } = await readContents(clock, folder, segments, at, options);
    await options.beforeChange?.({ ...contents, repaired: undefined });
    if (end.damagedTail !== undefined) log.warn("the WAL has a damaged end", { ...end.damagedTail });
    const repaired = await cutDamagedEnd(disk, folder, segments.at(-1)!, end);
    const fileSize = await renewTail(segments.at(-1)!, end, options.segmentBytes ?? SEGMENT_BYTES);
    await removeStalePipelineFiles(disk, folder);
    await disk.syncFolder(folder);
    await disk.syncFolder(parentPath(folder)); // who made the log may have died before its own name was durable
    const { metadata, crc, offset, hardState, lastIndex } = end;
    const start = { segments, metadata, crc, offset, fileSize, hardState, lastIndex: Math.max(lastIndex, at.index) };
    const writer = new WalWriter(dependencies, folder, start, options);
    return { writer, contents: { ...contents, repaired: repaired.changed ? repaired : undefined } };
  } catch (error) {
    await closeAll(segments);
    throw error instanceof DiskError ? openFailure(folder, error) : error;
  }
}

function openFailure(folder: string, error: DiskError): WalError {
  return new WalError(
    "WAL_WRITE_FAILED",
    `${folder} cannot be made ready for writing (${error.message}); see to the disk and start again`,
    {},
    { cause: error },
  );
}

async function openLocked(disk: Disk, folder: string, name: string): Promise<DiskFile> {
  const file = await disk.open(joinPath(folder, name), "write");
  if (file.tryLock("segment")) return file;
  await file.close();
  throw new WalError(
    "WAL_LOCKED",
    `${joinPath(folder, name)} is locked by another process, Walnut or etcd; stop that one first, a directory has one owner`,
    { segment: name },
  );
}

/** Copies the segment to `NAME.broken` and cuts it at its last good record. Does nothing to a segment with a good end. */
async function cutDamagedEnd(disk: Disk, folder: string, segment: OpenSegment, end: LogEnd): Promise<RepairReport> {
  const { name, file } = segment;
  const { offset, dirtyEnd, damagedTail } = end;
  const bytesRemoved = dirtyEnd - offset;
  const report = { segment: name, offset, bytesRemoved, damagedTail };
  if (bytesRemoved === 0) return { ...report, changed: false, brokenCopy: undefined };
  const brokenCopy = `${name}.broken`;
  const copy = await disk.open(joinPath(folder, brokenCopy), "replace");
  try {
    await copyBytes(file, copy, dirtyEnd);
    await copy.sync(); //            the copy is durable,
  } finally {
    await copy.close();
  }
  await disk.syncFolder(folder); //  with its name, before what it preserves goes
  await file.truncate(offset);
  await file.sync(); //              the torn end must not come back behind new records
  return { ...report, changed: true, brokenCopy };
}

/**
 * Writes the good bytes of the last segment once more, zeros behind them, and syncs (faults.md W8): after a failed sync the
 * system may call pages clean that never reached the disk.
 */
async function renewTail(segment: OpenSegment, end: LogEnd, segmentBytes: number): Promise<number> {
  const { file } = segment;
  // At least some zeros, so that the end of the file is not the end of a record.
  const fileSize = Math.max(segmentBytes, Math.ceil((end.offset + 1) / SECTOR_BYTES) * SECTOR_BYTES);
  await copyBytes(file, file, end.offset);
  await writeZeros(file, end.offset, fileSize);
  await file.sync();
  return Math.max(fileSize, end.dirtyEnd > end.offset ? 0 : segment.size);
}

async function copyBytes(from: DiskFile, to: DiskFile, size: number): Promise<void> {
  const buffer = new Uint8Array(Math.min(size, mebibytes(1)));
  for (let at = 0; at < size; at += buffer.length) {
    const piece = buffer.subarray(0, Math.min(buffer.length, size - at));
    const read = await from.read(piece, at);
    if (read !== piece.length) {
      throw new WalError("WAL_READ_IO", `${from.path}: ${read} of ${piece.length} bytes came at byte ${at}`, {
        offset: at,
      });
    }
    await to.write([piece], at);
  }
}

/**
 * Cuts off a torn end and does no more: for the command line. The copy of the file stays as `NAME.broken`.
 *
 * @throws WalError when the log is damaged otherwise: that cannot be repaired
 */
export async function repairWal(dependencies: WalDependencies, folder: string): Promise<RepairReport> {
  const { disk, clock, log } = dependencies;
  const names = segmentsWithoutGap(await listSegments(disk, folder));
  if (names.length === 0) throw new WalError("WAL_NOT_FOUND", `there is no log in ${folder}`);
  const segments = await openSegments(names, ({ name }) => openLocked(disk, folder, name));
  try {
    const openAt = Number.MAX_SAFE_INTEGER;
    const { end } = await readLog(clock, segments, () => new SummarySink(undefined), { openAt });
    const report = await cutDamagedEnd(disk, folder, segments.at(-1)!, end);
    await disk.syncFolder(folder);
    log.info("repaired", { ...report });
    return report;
  } catch (error) {
    throw error instanceof DiskError ? openFailure(folder, error) : error;
  } finally {
    await closeAll(segments);
  }
}
