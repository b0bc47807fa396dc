/** What a member answers when it does not do what it was asked. The API maps each code to gRPC's and to etcd's text. */
import { CodedError } from "../base/errors.js";

/** Reasons to refuse a request; the member goes on. */
export type RequestErrorCode =
  | "SERVER_NO_SPACE"
  | "SERVER_CORRUPT"
  | "SERVER_TOO_MANY_REQUESTS"
  | "SERVER_REQUEST_TOO_LARGE"
  | "SERVER_TIMEOUT"
  | "SERVER_TIMEOUT_LEADER_FAILED"
  | "SERVER_TIMEOUT_CONNECTION_LOST"
  | "SERVER_TIMEOUT_LEADER_TRANSFER"
  | "SERVER_BAD_TRANSFEREE"
  | "SERVER_NOT_ENOUGH_STARTED"
  | "SERVER_LEARNER_NOT_READY"
  | "SERVER_CANCELED"
  | "SERVER_LEADER_CHANGED"
  | "SERVER_NO_LEADER"
  | "SERVER_NOT_LEADER"
  | "SERVER_NOT_PRIMARY"
  | "SERVER_STOPPED"
  | "SERVER_UNHEALTHY"
  | "SERVER_DOWNGRADE_FORMAT"
  | "SERVER_DOWNGRADE_TARGET"
  | "SERVER_DOWNGRADE_RUNNING"
  | "SERVER_NO_DOWNGRADE"
  | "SERVER_NO_CLUSTER_VERSION"
  | "SERVER_NOT_SUPPORTED";

export class RequestError extends CodedError<RequestErrorCode> {
  override readonly name = "RequestError";
}

/** Reasons not to start, or not to go on. Each detail names the file and the way out. */
export type MemberErrorCode =
  | "DATA_DIR_UNUSABLE"
  | "DATA_DIR_LOCKED"
  | "DATA_DIR_NEWER"
  | "DATA_DIR_UNSUPPORTED"
  | "DB_MISSING"
  | "DB_BEHIND_SNAPSHOT"
  | "LOG_BEHIND_DB"
  | "CLUSTER_MISMATCH"
  | "CLUSTER_DOWNGRADING"
  | "CLUSTER_UNREACHABLE"
  | "MEMBER_BOOTSTRAPPED"
  | "DATA_INCONSISTENT"
  | "SNAPSHOT_DAMAGED"
  | "OPTIONS_INVALID"
  | "ENTRY_UNKNOWN"
  | "MEMBER_REMOVED"
  | "DISK_FAILED";

export class MemberError extends CodedError<MemberErrorCode> {
  override readonly name = "MemberError";
}
