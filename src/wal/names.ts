/**
 * Names of segments: `%016x-%016x.wal`, the sequence number and the index of the first entry that will be in it (the last
 * index + 1 when the segment was cut). Law: from the segment that is opened first, sequence numbers have no gap.
 */
import { hexText } from "../base/text.js";
import { WalError } from "./errors.js";

export interface SegmentName {
  readonly name: string;
  readonly sequence: number;
  readonly index: number;
}

const PATTERN = /^([0-9a-f]{16})-([0-9a-f]{16})\.wal$/;

export function segmentName(sequence: number, index: number): string {
  return `${hexText(sequence, 16)}-${hexText(index, 16)}.wal`;
}

/** Answers undefined for a name that is not a segment's. */
export function parseSegmentName(name: string): SegmentName | undefined {
  const match = PATTERN.exec(name);
  if (match === null) return undefined;
  const sequence = Number.parseInt(match[1]!, 16);
  const index = Number.parseInt(match[2]!, 16);
  if (!Number.isSafeInteger(sequence) || !Number.isSafeInteger(index)) return undefined;
  return { name, sequence, index };
}

/** The segments among file names, in the order of their sequence numbers. */
export function segmentsAmong(names: readonly string[]): SegmentName[] {
  const segments: SegmentName[] = [];
  for (const name of names) {
    const segment = parseSegmentName(name);
    if (segment !== undefined) segments.push(segment);
  }
  return segments.sort((a, b) => a.sequence - b.sequence);
}

/**
 * The segments to read in order to have every entry after `index`: the last one that begins at or before it, and all later.
 *
 * @throws WalError `WAL_NOT_FOUND`, `WAL_GAP`
 */
export function segmentsFrom(folder: string, segments: readonly SegmentName[], index: number): SegmentName[] {
  if (segments.length === 0) {
    throw new WalError("WAL_NOT_FOUND", `there is no log in ${folder}: it holds no file that ends in .wal`);
  }
  let first = segments.length - 1;
  while (first >= 0 && segments[first]!.index > index) first--;
  if (first < 0) {
    const oldest = segments[0]!;
    throw new WalError(
      "WAL_NOT_FOUND",
      `no segment in ${folder} holds entries from index ${index} on: the oldest one, ${oldest.name}, begins at ` +
        `${oldest.index}; open the log at a snapshot of index ${oldest.index - 1} or later`,
      { segment: oldest.name, offset: 0 },
    );
  }
  const chosen = segments.slice(first);
  for (let i = 1; i < chosen.length; i++) requireNext(folder, chosen[i - 1]!, chosen[i]!);
  return chosen;
}

function requireNext(folder: string, before: SegmentName, after: SegmentName): void {
  if (after.sequence === before.sequence + 1) return;
  if (after.sequence === before.sequence) {
    throw new WalError(
      "WAL_GAP",
      `${folder} holds two segments of sequence ${after.sequence}, ${before.name} and ${after.name}; one is not of this log`,
      { segment: after.name, offset: 0 },
    );
  }
  throw new WalError(
    "WAL_GAP",
    `segment ${before.sequence + 1} is missing in ${folder}: ${before.name} is followed by ${after.name}; put the missing ` +
      `file back, or restore this member from a snapshot`,
    { segment: after.name, offset: 0, missing: { low: before.index, high: after.index } },
  );
}

/**
 * The newest segments without a gap between them. Older ones are what a power failure during a purge may leave; nothing needs
 * them (faults.md W3).
 */
export function segmentsWithoutGap(segments: readonly SegmentName[]): SegmentName[] {
  let first = segments.length - 1;
  while (first > 0 && segments[first - 1]!.sequence === segments[first]!.sequence - 1) first--;
  return segments.slice(Math.max(first, 0));
}
