/**
 * What can go wrong at raft's door, by name.
 *
 * Law: a `RaftError` thrown by `RawNode` leaves the state machine as it was, except for `RAFT_LOG_LOST`, after which the
 * member must stop. A broken law inside is an `InvariantError`, and the member must stop as well.
 */
import { CodedError } from "../base/errors.js";

export type RaftErrorCode =
  /** The configuration given to the constructor makes no sense. */
  | "RAFT_CONFIG"
  /** There is no leader, or it cannot take proposals now: try again later. */
  | "RAFT_PROPOSAL_DROPPED"
  /** A message that only a member itself may make came from elsewhere. */
  | "RAFT_LOCAL_MESSAGE"
  /** A response came from someone who is not in the configuration: drop it. */
  | "RAFT_PEER_UNKNOWN"
  /** A message that no correct peer sends. */
  | "RAFT_MESSAGE_MALFORMED"
  /** A committed change does not fit the configuration that it meets. */
  | "RAFT_CONF_CHANGE_REFUSED"
  /** The entry was compacted away; the snapshot has what it did. */
  | "RAFT_COMPACTED"
  /** The entry is not in the log yet. */
  | "RAFT_UNAVAILABLE"
  /** The snapshot is older than the one that is there. */
  | "RAFT_SNAPSHOT_OUT_OF_DATE"
  /** A storage is still making its snapshot: the leader asks again later. */
  | "RAFT_SNAPSHOT_TEMPORARILY_UNAVAILABLE"
  /** Others, or our own hard state, know entries as committed that our log does not hold. */
  | "RAFT_LOG_LOST"
  /** `bootstrap` was called without peers, or on a log that has entries. */
  | "RAFT_BOOTSTRAP";

export class RaftError extends CodedError<RaftErrorCode> {
  override readonly name = "RaftError";
}
