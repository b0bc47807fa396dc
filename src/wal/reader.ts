/**
 * Reads a log from its first to its last segment and tells how it ends.
 *
 * One loop for all who read: opening, verifying, repairing, listing snapshots. A `RecordSink` takes the records; laws and
 * checksums are kept here. The order of judgement for each frame: its form, its checksum, its place, its meaning.
 *
 * Where a log cannot be read on, there are three answers. In a segment that is not the last one, or where `aftermath.ts` finds
 * that later saves follow, it is damage in what was synced: an error. Where etcd would take the place for a torn write and
 * nothing speaks against it, the log ends there, with `damage` set (faults.md 5.4 d). All else etcd refuses, and so do we.
 */
import { describeError } from "../base/errors.js";
import { SEGMENT_BYTES } from "../base/limits.js";
import type { Clock } from "../platform/clock.js";
import type { DiskFile } from "../platform/disk.js";
import type { EntryType, HardState } from "../proto/raft.js";
import type { WalSnapshot } from "../proto/wal.js";
import { examineAftermath, type Aftermath } from "./aftermath.js";
import { chainCrc, RecordType } from "./encoder.js";
import { WalError, WAY_OUT_OF_DAMAGE, type WalErrorCode } from "./errors.js";
import { endWithoutZeros, firstNonZero, FrameParser, hasZeroSector, type Parsed } from "./frames.js";
import { EntryFields, isViolation, LogRules, type Violation } from "./rules.js";
import { SegmentStream } from "./stream.js";
import type { SegmentName } from "./names.js";

export interface OpenSegment extends SegmentName {
  readonly file: DiskFile;
  readonly size: number;
}

/** Takes the records of a log. Calls are synchronous and must be short. */
export interface RecordSink {
  /** Whether views of `bytes` are kept; otherwise their bytes change after the call. */
  readonly keepsBytes: boolean;
  /** Answers why the entry cannot follow those that were taken, or undefined. */
  entry(
    type: EntryType,
    term: number,
    index: number,
    bytes: Uint8Array,
    dataStart: number,
    dataEnd: number,
  ): string | undefined;
  state(state: HardState): void;
  snapshot(snapshot: WalSnapshot, place: { readonly segment: string; readonly offset: number }): void;
  /** Entries behind this index are gone: a leader's snapshot replaced them. */
  dropAfter(index: number): void;
}

/**
 * Why the end of a log is in doubt.
 *
 * - `torn-record` a record of which a sector is missing; `cut-record` one that the file is too short for
 * - `bytes-after-end` the log ends, but bytes follow that a save had begun to write
 * - `short-file` the file ends with its last record, without the zeros that every writer leaves behind it until the segment is full
 * - `incomplete-save` the last entries have a term that no state was saved for: their save was not complete
 */
export type DamageKind = "torn-record" | "cut-record" | "bytes-after-end" | "short-file" | "incomplete-save";

/** The end of the last segment is damaged in a way that a crash leaves. What was lost may never have been acknowledged; or may. */
export interface DamagedTail {
  readonly kind: DamageKind;
  readonly segment: string;
  /** Where the last good record ends. */
  readonly offset: number;
  /** Where the damaged bytes end; only zeros follow. */
  readonly end: number;
  /** Last entry (or snapshot) that was read. */
  readonly lastIndex: number;
  /** Highest index that can be made out in the damaged bytes: until a leader re-sent it, this member may lack acknowledged entries. */
  readonly highestIndexSeen: number | undefined;
  /** One sentence with the place and the loss. */
  readonly summary: string;
}

export interface LogCounts {
  readonly segments: number;
  readonly bytes: number;
  readonly records: number;
  readonly entries: number;
  readonly states: number;
  readonly snapshots: number;
}

export interface LogEnd {
  /** Where the next record goes in the last segment. */
  readonly offset: number;
  /** Where bytes other than zero end there; over `offset` when the tail is damaged. */
  readonly dirtyEnd: number;
  readonly crc: number;
  readonly metadata: Uint8Array;
  readonly hardState: HardState | undefined;
  readonly lastIndex: number;
  readonly damagedTail: DamagedTail | undefined;
  readonly counts: LogCounts;
}

export interface ReadProgress {
  readonly bytesRead: number;
  readonly bytesTotal: number;
  readonly entries: number;
}

export interface ReadOptions {
  /** Index of the snapshot that is opened: holes up to it do not matter. */
  readonly openAt: number;
  readonly onProgress?: ((progress: ReadProgress) => void) | undefined;
  /** From so many bytes on a segment is full: its writer leaves no zeros behind what filled it, and cuts next. `SEGMENT_BYTES` when left out. */
  readonly segmentBytes?: number | undefined;
}

/** Chunks between two turns of the loop: about 5 ms of work. */
const CHUNKS_BETWEEN_YIELDS = 3;

/** More than this of what lies behind a damaged place is not looked at. */
const AFTERMATH_BYTES_MAX = 256 * 1024 * 1024;

/**
 * Reads all of `segments` (at least one).
 *
 * @param makeSink called once, or twice when the log turns out to end with an incomplete save
 * @throws WalError for all that is not a whole log or a torn end
 */
export async function readLog<Sink extends RecordSink>(
  clock: Clock,
  segments: readonly OpenSegment[],
  makeSink: () => Sink,
  options: ReadOptions,
): Promise<{ sink: Sink; end: LogEnd }> {
  const first = new LogRun(clock, segments, makeSink(), options, undefined);
  const end = await first.run();
  if (first.incompleteFrom === undefined) return { sink: first.sink as Sink, end };
  const second = new LogRun(clock, segments, makeSink(), options, first.incompleteFrom);
  return { sink: second.sink as Sink, end: await second.run() };
}

class LogRun {
  readonly sink: RecordSink;
  /** Offset in the last segment of the first entry of a save that is not complete. */
  incompleteFrom: number | undefined;
  readonly #clock: Clock;
  readonly #segments: readonly OpenSegment[];
  readonly #options: ReadOptions;
  /** Offset in the last segment from which on nothing is read: an incomplete save begins there. */
  readonly #stopAt: number | undefined;
  readonly #parser = new FrameParser();
  readonly #fields = new EntryFields();
  readonly #rules: LogRules;
  readonly #counts = { segments: 0, bytes: 0, records: 0, entries: 0, states: 0, snapshots: 0 };
  #segment: OpenSegment;
  #position = 0;
  #crc = 0;
  #aheadFrom: { readonly segment: OpenSegment; readonly offset: number } | undefined;
  #bytesBefore = 0;
  #chunks = 0;

  constructor(
    clock: Clock,
    segments: readonly OpenSegment[],
    sink: RecordSink,
    options: ReadOptions,
    stopAt: number | undefined,
  ) {
    this.#clock = clock;
    this.#segments = segments;
    this.sink = sink;
    this.#options = options;
    this.#stopAt = stopAt;
    this.#segment = segments[0]!;
    this.#rules = new LogRules(this.#fields, options.openAt, this.#segment.index);
  }

  async run(): Promise<LogEnd> {
    let end = { offset: 0, dirtyEnd: 0, damage: undefined as DamagedTail | undefined };
    for (let i = 0; i < this.#segments.length; i++) {
      this.#segment = this.#segments[i]!;
      this.#position = i;
      end = await this.#readSegment();
      this.#bytesBefore += this.#segment.size;
    }
    const violation = this.#rules.checkEnd();
    if (violation !== undefined) throw this.#violation(violation, end.offset);
    if (this.#rules.aheadOfState && this.#aheadFrom !== undefined) {
      if (this.#aheadFrom.segment !== this.#segment) {
        const why = "entries have a term for which no state was saved, and a later segment follows";
        throw this.#violation({ code: "WAL_SEMANTIC", why }, this.#aheadFrom.offset, this.#aheadFrom.segment.name);
      }
      this.incompleteFrom = this.#aheadFrom.offset;
    }
    return {
      offset: end.offset,
      dirtyEnd: end.dirtyEnd,
      crc: this.#crc,
      metadata: this.#rules.metadata!,
      hardState: this.#rules.state,
      lastIndex: this.#rules.last ?? this.#segments[0]!.index - 1,
      damagedTail: end.damage,
      counts: this.#counts,
    };
  }

  get #isLast(): boolean {
    return this.#position === this.#segments.length - 1;
  }

  async #readSegment(): Promise<{ offset: number; dirtyEnd: number; damage: DamagedTail | undefined }> {
    const { file, name, size } = this.#segment;
    const stream = new SegmentStream(file, name, size, this.sink.keepsBytes);
    const limit = this.#isLast ? (this.#stopAt ?? size) : size;
    try {
      this.#rules.beginSegment();
      this.#counts.segments++;
      let stop: Stop | undefined;
      do stop = this.#readChunk(stream, limit);
      while (stop === undefined && (await this.#nextChunk(stream)));
      const offset = stream.offset;
      this.#counts.bytes += offset;
      this.#progress(offset);
      return await this.#finishSegment(stream, stop ?? "end", offset);
    } finally {
      await stream.finish();
    }
  }

  async #nextChunk(stream: SegmentStream): Promise<boolean> {
    this.#progress(stream.offset);
    if (++this.#chunks % CHUNKS_BETWEEN_YIELDS === 0) await this.#clock.yield();
    return stream.more();
  }

  #progress(offset: number): void {
    const onProgress = this.#options.onProgress;
    if (onProgress === undefined) return;
    const bytesTotal = this.#segments.reduce((sum, segment) => sum + segment.size, 0);
    onProgress({ bytesRead: this.#bytesBefore + offset, bytesTotal, entries: this.#counts.entries });
  }

  /** The hot loop: takes all whole frames at hand. Answers why it stopped, or undefined when it needs more bytes. */
  #readChunk(stream: SegmentStream, limit: number): Stop | undefined {
    const parser = this.#parser;
    const { bytes, end, size } = stream;
    const start = stream.offset - stream.at;
    let at = stream.at;
    try {
      for (;;) {
        if (start + at >= limit && limit < size) return "incomplete-save";
        const parsed = parser.parse(bytes, at, end, size - start - at);
        if (parsed === "more") return undefined;
        if (parsed !== "record") return parsed;
        if (parser.type !== RecordType.crc) {
          const crc = chainCrc(this.#crc, bytes, parser.dataStart, parser.dataEnd);
          if (crc !== parser.crc) return "checksum";
          this.#crc = crc;
        }
        this.#take(bytes, start + at);
        at += parser.total;
      }
    } finally {
      stream.at = at;
    }
  }

  #take(bytes: Uint8Array, offset: number): void {
    const { type, dataStart, dataEnd } = this.#parser;
    const misplaced = this.#rules.checkPlace(type);
    if (misplaced !== undefined) throw this.#violation(misplaced, offset);
    this.#counts.records++;
    if (type === RecordType.entry) this.#takeEntry(bytes, dataStart, dataEnd, offset);
    else this.#takeOther(type, bytes.subarray(dataStart, dataEnd), offset);
  }

  #takeEntry(bytes: Uint8Array, start: number, end: number, offset: number): void {
    const fields = this.#fields;
    const malformed = fields.decode(bytes, start, end);
    if (malformed !== undefined) throw this.#violation({ code: "WAL_SEMANTIC", why: malformed }, offset);
    const ahead = this.#rules.aheadOfState;
    const violation = this.#rules.checkEntry();
    if (violation !== undefined) throw this.#violation(violation, offset);
    if (!ahead && this.#rules.aheadOfState) this.#aheadFrom = { segment: this.#segment, offset };
    this.#counts.entries++;
    const hole = this.sink.entry(fields.type, fields.term, fields.index, bytes, fields.dataStart, fields.dataEnd);
    if (hole !== undefined) throw this.#violation({ code: "WAL_SLICE_OUT_OF_RANGE", why: hole }, offset);
  }

  #takeOther(type: number, data: Uint8Array, offset: number): void {
    if (type === RecordType.crc) {
      this.#takeCrc(data, offset);
    } else if (type === RecordType.metadata) {
      const violation = this.#rules.checkMetadata(data);
      if (violation !== undefined) throw this.#violation(violation, offset);
    } else if (type === RecordType.state) {
      const state = this.#rules.checkState(data);
      if (isViolation(state)) throw this.#violation(state, offset);
      this.#counts.states++;
      this.sink.state(state);
    } else {
      const snapshot = this.#rules.checkSnapshot(data);
      if (isViolation(snapshot)) throw this.#violation(snapshot, offset);
      this.#counts.snapshots++;
      if (this.#rules.isReset) this.sink.dropAfter(snapshot.index);
      this.sink.snapshot(snapshot, { segment: this.#segment.name, offset });
    }
  }

  /** The CRC record at a segment's head continues the checksum of the segment before it. */
  #takeCrc(data: Uint8Array, offset: number): void {
    const { crc } = this.#parser;
    const { name, sequence } = this.#segment;
    if (data.length > 0) throw this.#violation({ code: "WAL_SEMANTIC", why: "a CRC record with data" }, offset);
    const known = this.#position > 0 ? this.#crc : sequence === 0 ? 0 : crc;
    if (crc !== known) {
      const before = this.#position > 0 ? this.#segments[this.#position - 1]!.name : "nothing";
      throw this.#refusal(
        "WAL_CRC_MISMATCH",
        `${name}, byte ${offset}: the segment continues a log of checksum ${hex(crc)}, but ${before} ends with ${hex(known)}`,
        name,
        offset,
        { low: this.#rules.last === undefined ? 1 : this.#rules.last + 1, high: this.#segment.index },
      );
    }
    this.#crc = crc;
  }

  /** Decides what the place means at which a segment could not be read on. */
  async #finishSegment(
    stream: SegmentStream,
    stop: Stop,
    offset: number,
  ): Promise<{ offset: number; dirtyEnd: number; damage: DamagedTail | undefined }> {
    const { size } = stream;
    const torn =
      stop === "record-form" || stop === "checksum" || stop === "length" ? this.#isTorn(stream, offset) : false;
    const total = this.#parser.total;
    const tail = await readTail(stream);
    const dirtyEnd = offset + tail.dirty;
    const clean = tail.dirty === 0 && (stop === "end" || stop === "zero");
    if (!this.#rules.headComplete) {
      const why = `byte ${offset}: the head of the segment (CRC record, metadata) is not whole, though it is synced before the file gets its name`;
      throw this.#corrupt("WAL_MIDLOG_CORRUPT", offset, why, tail);
    }
    if (!this.#isLast) {
      if (clean) return { offset, dirtyEnd, damage: undefined };
      throw this.#corrupt(codeInOldSegment(stop, total, size), offset, this.#describeStop(stop, offset, total), tail);
    }
    const full = size >= (this.#options.segmentBytes ?? SEGMENT_BYTES);
    if (clean && (stop === "zero" || size > offset || full)) return { offset, dirtyEnd, damage: undefined };
    const harmless =
      stop === "end" || stop === "zero" || stop === "cut" || stop === "oversize" || stop === "incomplete-save";
    if (!harmless && !torn) {
      const code = stop === "checksum" ? "WAL_CRC_MISMATCH" : "WAL_MIDLOG_CORRUPT";
      throw this.#corrupt(code, offset, this.#describeStop(stop, offset, total), tail);
    }
    const after = examineAftermath(tail.bytes, tail.dirty, this.#rules);
    if (after.evidence !== undefined && stop !== "incomplete-save") {
      const why = `${this.#describeStop(stop, offset, total)}; ${after.evidence}, so this place had been synced`;
      throw this.#corrupt("WAL_MIDLOG_CORRUPT", offset, why, tail);
    }
    return { offset, dirtyEnd, damage: this.#damage(stop, offset, dirtyEnd, total, after) };
  }

  #isTorn(stream: SegmentStream, offset: number): boolean {
    const { bytes, at } = stream;
    return hasZeroSector(bytes, at + 8, at + this.#parser.total, offset + 8);
  }

  #damage(stop: Stop, offset: number, end: number, total: number, after: Aftermath): DamagedTail {
    const { name: segment, size } = this.#segment;
    const lastIndex = this.#rules.last ?? this.#segments[0]!.index - 1;
    const kind = damageKind(stop);
    const highest = after.highestIndex;
    const lost =
      highest !== undefined && highest > lastIndex
        ? `${highest === lastIndex + 1 ? `entry ${highest}` : `entries ${lastIndex + 1} to ${highest}`} can be made out in it: lost`
        : kind === "short-file"
          ? `whether entries after ${lastIndex} were there cannot be told`
          : `entries after ${lastIndex}, if there were any, are lost`;
    const summary =
      `${segment}: ${this.#describeStop(stop, offset, total)}; the log ends there with entry ${lastIndex}, ` +
      `${end - offset} bytes of ${size} are given up; ${lost}`;
    return { kind, segment, offset, end, lastIndex, highestIndexSeen: highest, summary };
  }

  #describeStop(stop: Stop, offset: number, total: number): string {
    const left = this.#segment.size - offset;
    switch (stop) {
      case "checksum":
        return `byte ${offset}: the checksum of the record of ${total} bytes does not fit (found ${hex(this.#parser.crc)})`;
      case "record-form":
        return `byte ${offset}: the record of ${total} bytes is not one that a log holds`;
      case "padding":
        return `byte ${offset}: the padding of the record of ${total} bytes is not zero`;
      case "length":
        return `byte ${offset}: the length field is not one that a log holds`;
      case "oversize":
        return `byte ${offset}: the length field asks for ${total} bytes, the file has ${left} left`;
      case "cut":
        return `byte ${offset}: the file ends inside a length field, after ${left} bytes`;
      case "incomplete-save":
        return `byte ${offset}: the entries from here on have a term for which no state was saved: their save was not complete`;
      case "zero":
        return `byte ${offset}: the log ends, but bytes that are not zero follow`;
      case "end":
        return `byte ${offset}: the file ends here, without the zeros that a writer leaves behind the last record (etcd leaves them out after a repair)`;
    }
  }

  #violation(violation: Violation, offset: number, segment = this.#segment.name): WalError {
    const low = this.#rules.last === undefined ? undefined : this.#rules.last + 1;
    return this.#refusal(
      violation.code,
      `${segment}, byte ${offset}: ${violation.why}`,
      segment,
      offset,
      low === undefined ? undefined : { low, high: undefined },
    );
  }

  #corrupt(code: WalErrorCode, offset: number, why: string, tail: Tail): WalError {
    const after = examineAftermath(tail.bytes, tail.dirty, this.#rules);
    const low = Math.max(1, (this.#rules.last ?? this.#segment.index - 1) + 1);
    const next = this.#segments[this.#position + 1];
    const high = after.firstIndex !== undefined && after.firstIndex > low ? after.firstIndex : next?.index;
    return this.#refusal(code, `${this.#segment.name}, ${why}`, this.#segment.name, offset, { low, high });
  }

  #refusal(
    code: WalErrorCode,
    what: string,
    segment: string,
    offset: number,
    missing: { low: number; high: number | undefined } | undefined,
  ): WalError {
    return new WalError(
      code,
      `${what}; ${describeMissing(missing)}; nothing was changed: ${WAY_OUT_OF_DAMAGE}`,
      missing === undefined ? { segment, offset } : { segment, offset, missing },
    );
  }
}

type Stop = Exclude<Parsed, "record" | "more"> | "checksum" | "incomplete-save";

function damageKind(stop: Stop): DamageKind {
  if (stop === "incomplete-save") return "incomplete-save";
  if (stop === "zero") return "bytes-after-end";
  if (stop === "end") return "short-file";
  return stop === "cut" || stop === "oversize" ? "cut-record" : "torn-record";
}

function codeInOldSegment(stop: Stop, total: number, size: number): WalErrorCode {
  if (stop === "checksum") return "WAL_CRC_MISMATCH";
  if (stop === "oversize" && total > size) return "WAL_ENTRY_TOO_LARGE";
  return stop === "cut" || stop === "oversize" ? "WAL_UNEXPECTED_EOF" : "WAL_MIDLOG_CORRUPT";
}

function describeMissing(missing: { low: number; high: number | undefined } | undefined): string {
  if (missing === undefined) return "which entries are missing cannot be told";
  const { low, high } = missing;
  if (high === undefined) return `entries from ${low} on are missing`;
  if (high <= low) return `entry ${low} or the state saved with it is missing`;
  return high === low + 1 ? `entry ${low} is missing` : `entries ${low} to ${high - 1} are missing`;
}

/** What is left of a segment from the place on where it could not be read on. */
interface Tail {
  /** To the end of the file; empty when there are only zeros, which is the usual case. */
  readonly bytes: Uint8Array;
  /** Where only zeros are left. */
  readonly dirty: number;
}

async function readTail(stream: SegmentStream): Promise<Tail> {
  stream.keepNothing();
  let kept: Uint8Array | undefined;
  let length = 0;
  let dirty = 0;
  do {
    const { bytes, at, end } = stream;
    if (kept === undefined && firstNonZero(bytes, at, end) < end) {
      kept = new Uint8Array(Math.min(length + stream.size - stream.offset, AFTERMATH_BYTES_MAX));
    }
    if (kept !== undefined) {
      if (length < kept.length) kept.set(bytes.subarray(at, Math.min(end, at + kept.length - length)), length);
      const lastDirty = endWithoutZeros(bytes, at, end);
      if (lastDirty > at) dirty = length + lastDirty - at;
    }
    length += end - at;
    stream.at = end;
  } while (await stream.more());
  return { bytes: kept ?? new Uint8Array(0), dirty };
}

function hex(crc: number): string {
  return `0x${crc.toString(16).padStart(8, "0")}`;
}

/** Opens segments for reading, all or none. */
export async function openSegments(
  names: readonly SegmentName[],
  open: (name: SegmentName) => Promise<DiskFile>,
): Promise<OpenSegment[]> {
  const opened: OpenSegment[] = [];
  try {
    for (const name of names) {
      const file = await open(name);
      try {
        opened.push({ ...name, file, size: await file.size() });
      } catch (error) {
        await file.close();
        throw error;
      }
    }
    return opened;
  } catch (error) {
    await closeAll(opened);
    if (error instanceof WalError) throw error;
    const failed = names[opened.length]!.name;
    throw new WalError(
      "WAL_READ_IO",
      `${failed} cannot be opened (${describeError(error)}); see to the disk and its permissions and start again`,
      { segment: failed },
      { cause: error },
    );
  }
}

export async function closeAll(segments: readonly OpenSegment[]): Promise<void> {
  for (const { file } of segments) await file.close();
}
