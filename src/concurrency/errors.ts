/** Reasons why a lock or an election does not do what it was asked. */
import { CodedError } from "../base/errors.js";

export type ConcurrencyErrorCode =
  "LOCK_SESSION_EXPIRED" | "ELECTION_NOT_LEADER" | "ELECTION_NO_LEADER" | "ELECTION_LEADER_MISSING" | "WATCH_REFUSED";

export class ConcurrencyError extends CodedError<ConcurrencyErrorCode> {
  override readonly name = "ConcurrencyError";
}
