/** What can go wrong with a request to the store, and with what `db` holds. The API room maps the codes to etcd's texts. */
import { CodedError } from "../base/errors.js";

/**
 * - `MVCC_COMPACTED`: the revision asked for is compacted away
 * - `MVCC_FUTURE_REVISION`: the revision asked for does not exist yet
 * - `LEASE_NOT_FOUND`: a put names a lease that does not exist
 * - `KEY_NOT_FOUND`: a put with ignore_value or ignore_lease finds no key to take them from
 * - `MVCC_CORRUPT`: `db` holds what no server writes; stop, and restore the member from another one
 * - `MVCC_CLOSED`: the store was closed while the work was under way
 */
export type MvccErrorCode =
  "MVCC_COMPACTED" | "MVCC_FUTURE_REVISION" | "LEASE_NOT_FOUND" | "KEY_NOT_FOUND" | "MVCC_CORRUPT" | "MVCC_CLOSED";

export class MvccError extends CodedError<MvccErrorCode> {
  override readonly name = "MvccError";
}

export function compactedError(asked: number, compacted: number): MvccError {
  return new MvccError("MVCC_COMPACTED", `revision ${asked} is asked for, but all before ${compacted} is compacted`);
}

export function futureError(asked: number, current: number): MvccError {
  return new MvccError("MVCC_FUTURE_REVISION", `revision ${asked} is asked for, ${current} is the newest`);
}
