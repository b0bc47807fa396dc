/**
 * The one table from the codes that rooms throw to what a client is told: gRPC's status and etcd's exact text. Clients match on
 * both, so the texts are etcd 3.5's letter for letter.
 *
 * An error without a code here is told as UNKNOWN with its sentence, as etcd does; a stack never leaves the house.
 */
import { CodedError, InvariantError } from "../base/errors.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";

export interface ClientError {
  readonly status: GrpcStatus;
  readonly text: string;
}

const error = (status: GrpcStatus, text: string): ClientError => ({ status, text: `etcdserver: ${text}` });
const { invalidArgument, outOfRange, resourceExhausted, notFound, failedPrecondition, unavailable } = GrpcStatus;
/**
 * Errors that leave etcd 3.5 without a status of their own: those missing in its table, and two that stand there in the client's
 * form, which its gRPC library does not know.
 */
const { unknown } = GrpcStatus;

const bare = (text: string): ClientError => ({ status: unknown, text });

/** By code, the rooms' and (those with API_) this room's own. */
export const CLIENT_ERRORS = {
  API_EMPTY_KEY: error(invalidArgument, "key is not provided"),
  API_VALUE_PROVIDED: error(invalidArgument, "value is provided"),
  API_LEASE_PROVIDED: error(invalidArgument, "lease is provided"),
  API_TOO_MANY_OPERATIONS: error(invalidArgument, "too many operations in txn request"),
  API_DUPLICATE_KEY: error(invalidArgument, "duplicate key given in txn request"),
  // 3.6's text: 3.5 has none, it falls over an unknown sort target.
  API_INVALID_SORT: error(invalidArgument, "invalid sort option"),
  // 3.7's, without a prefix there, too.
  API_STREAM_SORTED: { status: GrpcStatus.unimplemented, text: "RangeStream does not support custom sort orders" },
  API_STREAM_FILTERED: { status: GrpcStatus.unimplemented, text: "RangeStream does not support revision filters" },
  API_NOT_FOR_LEARNER: error(unavailable, "rpc not supported for learner"),
  API_BAD_TRANSFEREE: error(failedPrecondition, "bad leader transferee"),
  API_BAD_URLS: error(invalidArgument, "given member URLs are invalid"),

  AUTH_ROOT_USER_MISSING: error(failedPrecondition, "root user does not exist"),
  AUTH_ROOT_ROLE_MISSING: error(failedPrecondition, "root user does not have root role"),
  AUTH_USER_EXISTS: error(failedPrecondition, "user name already exists"),
  AUTH_USER_EMPTY: error(invalidArgument, "user name is empty"),
  AUTH_USER_NOT_FOUND: error(failedPrecondition, "user name not found"),
  AUTH_ROLE_EXISTS: error(failedPrecondition, "role name already exists"),
  AUTH_ROLE_NOT_FOUND: error(failedPrecondition, "role name not found"),
  AUTH_ROLE_EMPTY: error(invalidArgument, "role name is empty"),
  AUTH_ROLE_NOT_GRANTED: error(failedPrecondition, "role is not granted to the user"),
  AUTH_FAILED: error(invalidArgument, "authentication failed, invalid user ID or password"),
  AUTH_PERMISSION_NOT_GIVEN: error(invalidArgument, "permission not given"),
  AUTH_PERMISSION_NOT_GRANTED: error(failedPrecondition, "permission is not granted to the role"),
  AUTH_PERMISSION_DENIED: error(GrpcStatus.permissionDenied, "permission denied"),
  AUTH_NOT_ENABLED: error(failedPrecondition, "authentication is not enabled"),
  AUTH_OLD_REVISION: error(invalidArgument, "revision of auth store is old"),
  AUTH_TOKEN_INVALID: error(GrpcStatus.unauthenticated, "invalid auth token"),
  AUTH_MANAGEMENT_INVALID: error(invalidArgument, "invalid auth management"),
  // Those that etcd has no status for, with the words of the room that they come from.
  AUTH_NO_PASSWORD_USER: bare("auth: authentication failed, password was given for no password user"),
  AUTH_PASSWORD_TOO_LONG: bare("bcrypt: password length exceeds 72 bytes"),
  AUTH_VERIFY_ONLY: bare("auth: token signing attempted with verify-only key"),
  // etcd dies of such a name.
  AUTH_NAME_TOO_LONG: error(invalidArgument, "name is too long"),

  KEY_NOT_FOUND: error(invalidArgument, "key not found"),
  MVCC_COMPACTED: error(outOfRange, "mvcc: required revision has been compacted"),
  MVCC_FUTURE_REVISION: error(outOfRange, "mvcc: required revision is a future revision"),

  LEASE_NOT_FOUND: error(notFound, "requested lease not found"),
  LEASE_EXISTS: error(failedPrecondition, "lease already exists"),
  LEASE_TTL_TOO_LARGE: error(outOfRange, "too large lease TTL"),

  // Go's plain errors, of the client that the services of locks and elections stand over.
  LOCK_SESSION_EXPIRED: bare("mutex: session is expired"),
  ELECTION_NOT_LEADER: bare("election: not leader"),
  ELECTION_NO_LEADER: bare("election: no leader"),
  ELECTION_LEADER_MISSING: bare('"leader" field must be provided'),

  MEMBER_ID_REMOVED: error(notFound, "member not found"),
  MEMBER_NOT_FOUND: error(notFound, "member not found"),
  MEMBER_EXISTS: error(failedPrecondition, "member ID already exist"),
  MEMBER_PEER_URL_EXISTS: error(failedPrecondition, "Peer URLs already exists"),
  MEMBER_NOT_LEARNER: error(failedPrecondition, "can only promote a learner member"),
  MEMBER_TOO_MANY_LEARNERS: error(failedPrecondition, "too many learner members in cluster"),

  SERVER_NO_SPACE: error(resourceExhausted, "mvcc: database space exceeded"),
  SERVER_CORRUPT: error(GrpcStatus.dataLoss, "corrupt cluster"),
  SERVER_TOO_MANY_REQUESTS: error(unknown, "too many requests"),
  SERVER_REQUEST_TOO_LARGE: error(invalidArgument, "request is too large"),
  SERVER_TIMEOUT: error(unavailable, "request timed out"),
  SERVER_TIMEOUT_LEADER_FAILED: error(unavailable, "request timed out, possibly due to previous leader failure"),
  SERVER_TIMEOUT_CONNECTION_LOST: error(unavailable, "request timed out, possibly due to connection lost"),
  SERVER_TIMEOUT_APPLIED_INDEX: error(unavailable, "request timed out, waiting for the applied index took too long"),
  SERVER_TIMEOUT_LEADER_TRANSFER: error(unknown, "request timed out, leader transfer took too long"),
  // The caller has gone, so nobody reads it.
  SERVER_CANCELED: error(unknown, "request cancelled"),
  SERVER_LEADER_CHANGED: error(unavailable, "leader changed"),
  SERVER_NO_LEADER: error(unavailable, "no leader"),
  SERVER_NOT_LEADER: error(failedPrecondition, "not leader"),
  // etcd's lessor says it, and nobody gives it a status or etcd's prefix.
  SERVER_NOT_PRIMARY: { status: unknown, text: "not a primary lessor" },
  SERVER_STOPPED: error(unavailable, "server stopped"),
  SERVER_UNHEALTHY: error(unavailable, "unhealthy cluster"),
  SERVER_NOT_CAPABLE: error(unavailable, "not capable"),
  SERVER_NOT_ENOUGH_STARTED: error(unknown, "re-configuration failed due to not enough started members"),
  SERVER_LEARNER_NOT_READY: error(failedPrecondition, "can only promote a learner member which is in sync with leader"),
  SERVER_BAD_TRANSFEREE: error(failedPrecondition, "bad leader transferee"),
  SERVER_DOWNGRADE_FORMAT: error(invalidArgument, "wrong downgrade target version format"),
  SERVER_DOWNGRADE_TARGET: error(invalidArgument, "invalid downgrade target version"),
  SERVER_DOWNGRADE_RUNNING: error(failedPrecondition, "cluster has a downgrade job in progress"),
  SERVER_NO_DOWNGRADE: error(failedPrecondition, "no inflight downgrade job"),
  SERVER_NO_CLUSTER_VERSION: error(unavailable, "cluster version not found during downgrade"),
  API_UNKNOWN_METHOD: error(unknown, "unknown method"),
  SERVER_CLUSTER_MISMATCH: error(failedPrecondition, "cluster ID mismatch"),
} as const satisfies Record<string, ClientError>;

export type ClientErrorCode = keyof typeof CLIENT_ERRORS;

/** What some calls of etcd's tell of an AuthError, for they forget to give it a status: its own words. */
const BARE_AUTH_TEXTS: Readonly<Record<string, string>> = {
  AUTH_USER_EMPTY: "auth: user name is empty",
  AUTH_USER_NOT_FOUND: "auth: user not found",
  AUTH_PERMISSION_DENIED: "auth: permission denied",
  AUTH_TOKEN_INVALID: "auth: invalid auth token",
};

/** @returns the error that those calls end with */
export function withoutStatus(thrown: unknown): unknown {
  const text = thrown instanceof CodedError ? BARE_AUTH_TEXTS[String(thrown.code)] : undefined;
  return text === undefined ? thrown : new GrpcError(unknown, text, { cause: thrown });
}

/** What the checks of this room throw. */
export class ApiError extends CodedError<
  Extract<ClientErrorCode, `API_${string}` | "KEY_NOT_FOUND" | "SERVER_NOT_LEADER">
> {
  override readonly name = "ApiError";
}

/** What a client is told of whatever was thrown. */
export function toClientError(thrown: unknown): ClientError {
  if (thrown instanceof GrpcError) return thrown;
  if (thrown instanceof CodedError) {
    const code = (thrown as CodedError<string>).code;
    const known = (CLIENT_ERRORS as Readonly<Record<string, ClientError>>)[code];
    return known ?? { status: unknown, text: thrown.message };
  }
  // A bug of ours: the log has the details.
  if (thrown instanceof InvariantError) return { status: GrpcStatus.internal, text: "walnut: internal error" };
  return { status: unknown, text: thrown instanceof Error ? thrown.message : String(thrown) };
}
