/** What can go wrong with a log, as stable codes. Each error says the segment and the byte, what is missing and what to do. */
import { CodedError } from "../base/errors.js";

/**
 * - `WAL_NOT_FOUND` no segment holds the index asked for; `WAL_EXISTS` a log is there where one was to be created
 * - `WAL_GAP` a segment between two others is missing; `WAL_LOCKED` another process has a segment open for writing
 * - `WAL_METADATA_CONFLICT` two segments belong to different members or clusters
 * - `WAL_CRC_MISMATCH` a checksum differs; `WAL_MIDLOG_CORRUPT` damage in front of records that were saved later;
 *   `WAL_SEMANTIC` records are whole, but no member writes them so; `WAL_ENTRY_TOO_LARGE` a length field asks for more than
 *   the whole file holds; `WAL_UNEXPECTED_EOF` a segment that is not the last one ends inside a record
 * - `WAL_SNAPSHOT_MISMATCH`, `WAL_SNAPSHOT_NOT_FOUND` the snapshot to open at has another term, or is not in the log
 * - `WAL_SLICE_OUT_OF_RANGE` entries between the snapshot and the first one in the log are missing
 * - `WAL_READ_IO` the disk failed to read: never taken for the end of a file
 * - `WAL_WRITE_FAILED`, `FSYNC_FAILED` the disk failed to take bytes, or to make them durable; the log is poisoned
 * - `WAL_POISONED` an earlier write or sync failed; `WAL_CLOSED` the log was closed
 */
export type WalErrorCode =
  | "WAL_NOT_FOUND"
  | "WAL_EXISTS"
  | "WAL_GAP"
  | "WAL_LOCKED"
  | "WAL_METADATA_CONFLICT"
  | "WAL_CRC_MISMATCH"
  | "WAL_MIDLOG_CORRUPT"
  | "WAL_SEMANTIC"
  | "WAL_ENTRY_TOO_LARGE"
  | "WAL_UNEXPECTED_EOF"
  | "WAL_SNAPSHOT_MISMATCH"
  | "WAL_SNAPSHOT_NOT_FOUND"
  | "WAL_SLICE_OUT_OF_RANGE"
  | "WAL_READ_IO"
  | "WAL_WRITE_FAILED"
  | "FSYNC_FAILED"
  | "WAL_POISONED"
  | "WAL_CLOSED";

/** Where in a log, and which entries are gone: `[low, high)`; `high` undefined when the log does not tell. */
export interface WalPlace {
  readonly segment?: string;
  readonly offset?: number;
  readonly missing?: { readonly low: number; readonly high: number | undefined };
}

export class WalError extends CodedError<WalErrorCode> {
  override readonly name = "WalError";
  readonly segment: string | undefined;
  readonly offset: number | undefined;
  readonly missing: WalPlace["missing"];

  constructor(code: WalErrorCode, detail: string, place: WalPlace = {}, options?: ErrorOptions) {
    super(code, detail, options);
    this.segment = place.segment;
    this.offset = place.offset;
    this.missing = place.missing;
  }
}

/** What to do with a log that lost what it had acknowledged. */
export const WAY_OUT_OF_DAMAGE =
  "restore this member from a snapshot, or remove it from the cluster and add it again; " +
  "`walnut wal verify DIR` tells the damage";
