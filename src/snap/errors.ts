/** The failures of snapshot files. */
import { CodedError } from "../base/errors.js";

/**
 * `SNAP_EMPTY` a file without content; `SNAP_CRC_MISMATCH` the checksum says that bytes changed; `SNAP_MALFORMED` bytes that no
 * writer of the format makes; `SNAP_NOT_FOUND` no such file; `SNAP_STORE_MALFORMED` the v2 store inside cannot be read.
 */
export type SnapshotErrorCode =
  "SNAP_EMPTY" | "SNAP_CRC_MISMATCH" | "SNAP_MALFORMED" | "SNAP_NOT_FOUND" | "SNAP_STORE_MALFORMED";

export class SnapshotError extends CodedError<SnapshotErrorCode> {
  override readonly name = "SnapshotError";
}
