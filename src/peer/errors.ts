/** What goes wrong between members, and what another member refuses. */
import { CodedError } from "../base/errors.js";

/**
 * - `PEER_LISTEN_FAILED`: the peer port cannot be had
 * - `PEER_URL_INVALID`: a peer URL that cannot be used
 * - `PEER_TLS_INVALID`: a peer URL is https, and there is no certificate for it
 * - `PEER_MALFORMED`: bytes of another member that are not the protocol
 * - `PEER_TOO_LARGE`: a message larger than any that is taken
 * - `PEER_REFUSED`: another member answered, and it was a refusal
 * - `PEER_TIMEOUT`: another member did not answer, or did not go on, in time
 * - `PEER_CUT`: the connection ended too early
 * - `PEER_CLOSED`: this side has been stopped
 */
export type PeerErrorCode =
  | "PEER_LISTEN_FAILED"
  | "PEER_URL_INVALID"
  | "PEER_TLS_INVALID"
  | "PEER_MALFORMED"
  | "PEER_TOO_LARGE"
  | "PEER_REFUSED"
  | "PEER_TIMEOUT"
  | "PEER_CUT"
  | "PEER_CLOSED";

export class PeerError extends CodedError<PeerErrorCode> {
  override readonly name = "PeerError";
}

/** Another member's refusal under the code that the rooms of that matter give it, so that a client is told the same. */
export type PeerRefusalCode =
  | "MVCC_COMPACTED"
  | "MVCC_FUTURE_REVISION"
  | "MEMBER_NOT_FOUND"
  | "MEMBER_NOT_LEARNER"
  | "SERVER_LEARNER_NOT_READY"
  | "SERVER_TIMEOUT"
  | "LEASE_NOT_FOUND"
  | "CLUSTER_MISMATCH";

export class PeerRefusal extends CodedError<PeerRefusalCode> {
  override readonly name = "PeerRefusal";
}
