/**
 * Every record of a log with its place, for those who look into one. Nothing is refused: where a segment cannot be read on, a
 * record of kind `damage` says so, and the scan goes on at the next place where frames chain again.
 */
import { describeError } from "../base/errors.js";
import { joinPath } from "../platform/disk.js";
import { decodeHardState, type Entry, type HardState } from "../proto/raft.js";
import { decodeWalSnapshot, type WalSnapshot } from "../proto/wal.js";
import { chainCrc, RecordType } from "./encoder.js";
import { WalError } from "./errors.js";
import { firstNonZero, FrameParser, hasZeroSector } from "./frames.js";
import type { SegmentName } from "./names.js";
import { listSegments, type ReadDependencies } from "./open.js";
import { EntryFields } from "./rules.js";
import { SegmentStream } from "./stream.js";

interface Place {
  readonly segment: string;
  readonly offset: number;
  /** Bytes, header and padding included; of damage: up to where the scan goes on. */
  readonly size: number;
}

export type ScannedRecord = Place &
  (
    | { readonly kind: "crc"; readonly crc: number }
    | { readonly kind: "metadata"; readonly metadata: Uint8Array }
    | { readonly kind: "entry"; readonly entry: Entry }
    | { readonly kind: "state"; readonly hardState: HardState }
    | { readonly kind: "snapshot"; readonly snapshot: WalSnapshot }
    /** `torn` as a crash leaves it at the end of the last segment; `corrupt` otherwise. */
    | { readonly kind: "damage"; readonly verdict: "torn" | "corrupt"; readonly why: string }
  );

export interface ScanOptions {
  /** Segments that end before this index are passed over. */
  readonly fromIndex?: number;
  readonly onProgress?: (progress: { readonly bytesRead: number; readonly bytesTotal: number }) => void;
}

/** Chunks between two turns of the loop. */
const CHUNKS_BETWEEN_YIELDS = 2;

/**
 * Walks over all records, oldest first. Memory stays flat: bytes in a record are views that are valid until the next one is
 * asked for.
 */
export async function* scanWal(
  dependencies: ReadDependencies,
  folder: string,
  options: ScanOptions = {},
): AsyncGenerator<ScannedRecord> {
  const { disk, clock } = dependencies;
  const all = await listSegments(disk, folder);
  if (all.length === 0) throw new WalError("WAL_NOT_FOUND", `there is no log in ${folder}`);
  const names = segmentsHolding(all, options.fromIndex ?? 0);
  const sizes = new Map<string, number>();
  for (const { name } of names) sizes.set(name, (await disk.stat(joinPath(folder, name)))?.size ?? 0);
  const bytesTotal = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  let bytesBefore = 0;
  let crc: number | undefined;
  for (const segment of names) {
    const file = await disk.open(joinPath(folder, segment.name), "read");
    const size = await file.size();
    const stream = new SegmentStream(file, segment.name, size, false);
    const scanner = new SegmentScanner(segment, size, segment === names.at(-1), crc);
    try {
      let chunks = 0;
      let more: boolean;
      do {
        options.onProgress?.({ bytesRead: bytesBefore + stream.offset, bytesTotal });
        more = await stream.more();
        if (++chunks % CHUNKS_BETWEEN_YIELDS === 0) await clock.yield();
        yield* scanner.take(stream, !more);
      } while (more);
    } finally {
      await stream.finish();
      await file.close();
    }
    crc = scanner.crc;
    bytesBefore += size;
  }
  options.onProgress?.({ bytesRead: bytesTotal, bytesTotal });
}

function segmentsHolding(segments: readonly SegmentName[], index: number): readonly SegmentName[] {
  let first = segments.length - 1;
  while (first > 0 && segments[first]!.index > index) first--;
  return segments.slice(first);
}

class SegmentScanner {
  /** The running checksum; undefined where it is not known. */
  crc: number | undefined;
  readonly #segment: SegmentName;
  readonly #size: number;
  readonly #isLast: boolean;
  readonly #parser = new FrameParser();
  readonly #fields = new EntryFields();
  /** The damaged place that the scan is still passing over. */
  #damage: { readonly offset: number; readonly why: string; readonly torn: "yes" | "at the end" | "no" } | undefined;

  constructor(segment: SegmentName, size: number, isLast: boolean, crc: number | undefined) {
    this.#segment = segment;
    this.#size = size;
    this.#isLast = isLast;
    this.crc = crc;
  }

  /** All records in the bytes at hand. */
  *take(stream: SegmentStream, atEnd: boolean): Generator<ScannedRecord> {
    for (;;) {
      if (this.#damage !== undefined && !this.#findNext(stream, atEnd)) {
        if (atEnd && this.#damage !== undefined) yield this.#endOfDamage(stream.offset, false);
        return;
      }
      if (this.#damage !== undefined) yield this.#endOfDamage(stream.offset, true);
      const { bytes, at, end, offset } = stream;
      const left = this.#size - offset;
      const parsed = this.#parser.parse(bytes, at, end, left);
      if (parsed === "end" || (parsed === "more" && !atEnd)) return;
      if (parsed === "zero" && firstNonZero(bytes, at, end) === end) {
        stream.at = at + Math.floor((end - at) / 8) * 8; // only zeros so far: nothing was written here
        if (stream.at === at || atEnd) return;
        continue;
      }
      const why = parsed === "record" ? this.#checksumFault(bytes) : describeParsed(parsed);
      if (why === undefined) {
        yield this.#describe(bytes, offset);
        stream.at = at + this.#parser.total;
        continue;
      }
      const frameEnd = Math.min(end, at + this.#parser.total);
      // A length field lies within one sector: lost as a whole, or as it was written. One that leads past records is damage.
      const cutOff = parsed === "cut" || parsed === "oversize";
      const lost = parsed === "zero" || (!cutOff && hasZeroSector(bytes, at + 8, frameEnd, offset + 8));
      const torn = !this.#isLast ? "no" : lost ? "yes" : cutOff ? "at the end" : "no";
      this.#damage = { offset, why, torn };
      stream.at = Math.min(end, at + 8);
    }
  }

  #checksumFault(bytes: Uint8Array): string | undefined {
    const { type, crc, dataStart, dataEnd } = this.#parser;
    if (type === RecordType.crc) {
      const before = this.crc;
      if (before !== undefined && before !== crc) {
        this.crc = undefined;
        return `the checksum of the segments before is ${before}, this one continues ${crc}`;
      }
      this.crc = crc;
      return undefined;
    }
    const expected = this.crc === undefined ? crc : chainCrc(this.crc, bytes, dataStart, dataEnd);
    if (expected !== crc) return `the checksum is ${crc}, the bytes have ${expected}`;
    this.crc = crc;
    return undefined;
  }

  /** Moves to the next frame whose successor chains with it. Answers false when it is not among the bytes at hand. */
  #findNext(stream: SegmentStream, atEnd: boolean): boolean {
    const { bytes, end } = stream;
    const parser = this.#parser;
    for (; stream.at + 8 <= end; stream.at += 8) {
      const at = stream.at;
      if (at + 16 <= end && bytes[at + 8] !== 0x08) continue;
      const left = this.#size - stream.offset;
      const parsed = parser.parse(bytes, at, end, left);
      if (parsed === "more" && !atEnd) return false;
      if (parsed !== "record") continue;
      const { crc, total } = parser;
      const next = parser.parse(bytes, at + total, end, left - total);
      if (next === "more" && !atEnd) return false;
      if (next !== "record" || parser.type === RecordType.crc) continue;
      if (chainCrc(crc, bytes, parser.dataStart, parser.dataEnd) !== parser.crc) continue;
      this.crc = undefined; // the frame's own checksum begins the chain anew
      return true;
    }
    return false;
  }

  #endOfDamage(offset: number, recordsFollow: boolean): ScannedRecord {
    const damage = this.#damage!;
    this.#damage = undefined;
    const torn = damage.torn === "yes" || (damage.torn === "at the end" && !recordsFollow);
    const verdict = torn ? "torn" : "corrupt";
    const size = offset - damage.offset;
    return { kind: "damage", segment: this.#segment.name, offset: damage.offset, size, verdict, why: damage.why };
  }

  #describe(bytes: Uint8Array, offset: number): ScannedRecord {
    const { type, dataStart, dataEnd, total, crc } = this.#parser;
    const place = { segment: this.#segment.name, offset, size: total };
    const data = bytes.subarray(dataStart, dataEnd);
    try {
      if (type === RecordType.crc) return { ...place, kind: "crc", crc };
      if (type === RecordType.metadata) return { ...place, kind: "metadata", metadata: data };
      if (type === RecordType.state) return { ...place, kind: "state", hardState: decodeHardState(data) };
      if (type === RecordType.snapshot) return { ...place, kind: "snapshot", snapshot: decodeWalSnapshot(data) };
      const fields = this.#fields;
      const malformed = fields.decode(bytes, dataStart, dataEnd);
      if (malformed !== undefined) return { ...place, kind: "damage", verdict: "corrupt", why: malformed };
      const entry = bytes.subarray(fields.dataStart, fields.dataEnd);
      return {
        ...place,
        kind: "entry",
        entry: { type: fields.type, term: fields.term, index: fields.index, data: entry },
      };
    } catch (error) {
      return { ...place, kind: "damage", verdict: "corrupt", why: describeError(error) };
    }
  }
}

function describeParsed(parsed: string): string {
  switch (parsed) {
    case "zero":
      return "a length field of zero, and bytes that are not zero behind it";
    case "cut":
      return "the file ends inside a length field";
    case "oversize":
      return "the length field asks for more than the file has left";
    case "length":
      return "the length field is not one that a log holds";
    case "padding":
      return "the padding is not zero";
    default:
      return "the record is not one that a log holds";
  }
}
