/**
 * What a member does for those who call it: the services of the API, the embedding program, the command line.
 *
 * Requests come decoded and with the checks of the API room behind them; answers carry a full response header. Every call may
 * reject with a `CodedError` (`RequestError` of this room, `MvccError` and the other rooms' errors); the API maps codes to
 * etcd's status and text.
 */
import type {
  AuthDisableRequest,
  AuthDisableResponse,
  AuthEnableRequest,
  AuthEnableResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthRoleDeleteRequest,
  AuthRoleDeleteResponse,
  AuthRoleGetRequest,
  AuthRoleGetResponse,
  AuthRoleGrantPermissionRequest,
  AuthRoleGrantPermissionResponse,
  AuthRoleListRequest,
  AuthRoleListResponse,
  AuthRoleRevokePermissionRequest,
  AuthRoleRevokePermissionResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserChangePasswordRequest,
  AuthUserChangePasswordResponse,
  AuthUserDeleteRequest,
  AuthUserDeleteResponse,
  AuthUserGetRequest,
  AuthUserGetResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  AuthUserListRequest,
  AuthUserListResponse,
  AuthUserRevokeRoleRequest,
  AuthUserRevokeRoleResponse,
  AuthenticateRequest,
  AuthenticateResponse,
} from "../proto/generated/etcdserverpb/auth.js";
import type {
  AlarmMember,
  AlarmRequest,
  AlarmResponse,
  DowngradeRequest,
  DowngradeResponse,
  HashKVRequest,
  HashKVResponse,
  HashResponse,
  StatusResponse,
} from "../proto/generated/etcdserverpb/maintenance.js";
import type {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  PutRequest,
  PutResponse,
  RangeRequest,
  RangeResponse,
  TxnRequest,
  TxnResponse,
} from "../proto/generated/etcdserverpb/kv.js";
import type {
  LeaseGrantRequest,
  LeaseGrantResponse,
  LeaseRevokeRequest,
  LeaseRevokeResponse,
  LeaseTimeToLiveRequest,
  LeaseTimeToLiveResponse,
} from "../proto/generated/etcdserverpb/lease.js";
import type { StoredPairs } from "../mvcc/index.js";
import type { GetRequest, SpanRequest } from "../proto/fast/get.js";
import type { ResponseHeader } from "../proto/generated/etcdserverpb/header.js";
import type { Member } from "../membership/member.js";
import type { WatchStream, WatchStreamOptions, WatchStreamReceiver } from "./watch-contract.js";

/** The etcd version whose behaviour is served. */
export const SERVED_VERSION = "3.5.30";
/** The cluster version that a new cluster decides on. */
export const CLUSTER_VERSION = "3.5.0";

export interface CallContext {
  /** Aborted when the caller has gone or its deadline has passed. A proposal on its way is not taken back by it. */
  readonly signal?: AbortSignalLike;
  /** The token of the caller, when it sent one. */
  readonly token?: string;
  /**
   * The common name of the caller's certificate, where one was checked. It counts as the user's name only without a token, and where
   * client certificates are asked for (`--client-cert-auth`). Whoever makes the context leaves it out for calls of the JSON
   * gateway (metadata `grpcgateway-accept`): the certificate is the gateway's there.
   */
  readonly commonName?: string | undefined;
}

/** As much of `AbortSignal` as a member needs, so that this room stays pure. */
export interface AbortSignalLike {
  readonly aborted: boolean;
  addEventListener(type: "abort", listener: () => void, options?: { once?: boolean }): void;
  removeEventListener(type: "abort", listener: () => void): void;
}

/**
 * Told once how a call ended: as much as a promise, for calls that are too many for one each. It is told in the middle of the
 * member's own work, and must not throw.
 */
export interface Receiver<Answer> {
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export interface MemberService {
  readonly memberId: bigint;
  readonly clusterId: bigint;
  readonly name: string;
  /** Who may do what, for calls that are no requests of the log. */
  readonly access: AccessChecks;
  readonly auth: AuthCalls;
  /** Limits that the API's checks need. */
  readonly limits: { readonly requestBytesMax: number; readonly txnOperationsMax: number };

  range(request: RangeRequest, context?: CallContext): Promise<RangeResponse>;
  /**
   * The answer of `range` in pieces of one revision; the last one has the header, `more` and `count`. Neither sorted nor filtered by
   * revisions. The next piece is made when it is asked for.
   */
  rangeStream(request: RangeRequest, context?: CallContext): AsyncIterable<RangeResponse>;
  put(request: PutRequest, context?: CallContext): Promise<PutResponse>;
  /** `put` for one who is called back; may also throw what `put` rejects with. */
  putFor(request: PutRequest, receiver: Receiver<PutResponse>, context?: CallContext): void;
  /**
   * The newest pair of one key, as an encoded `KeyValue`, or undefined. The header of the answer is that of the turn in which the
   * receiver is called, which may be before this returns. May also throw what `range` rejects with.
   */
  getFor(request: GetRequest, receiver: Receiver<Uint8Array | undefined>, context?: CallContext): void;
  /**
   * The newest pairs of a span; undefined when they are too many to be read at once: `range` is for those. Header and exceptions as
   * with `getFor`.
   */
  spanFor(request: SpanRequest, receiver: Receiver<StoredPairs | undefined>, context?: CallContext): void;
  deleteRange(request: DeleteRangeRequest, context?: CallContext): Promise<DeleteRangeResponse>;
  txn(request: TxnRequest, context?: CallContext): Promise<TxnResponse>;
  /**
   * `txn` for one who is called back; may also throw what `txn` rejects with.
   *
   * @param encoded the bytes of the request, as `decodeTxn` knew them
   */
  txnFor(request: TxnRequest, encoded: Uint8Array, receiver: Receiver<TxnResponse>, context?: CallContext): void;
  compact(request: CompactionRequest, context?: CallContext): Promise<CompactionResponse>;

  /** Grants a lease; an ID of 0 lets the member choose. */
  leaseGrant(request: LeaseGrantRequest, context?: CallContext): Promise<LeaseGrantResponse>;
  leaseRevoke(request: LeaseRevokeRequest, context?: CallContext): Promise<LeaseRevokeResponse>;
  /** Renews a lease and tells its time to live in seconds, which may be before this returns. May also throw what it rejects with. */
  leaseKeepAliveFor(id: bigint, receiver: Receiver<number>, context?: CallContext): void;
  /**
   * For streams of renewals, which would go on for ever: `end` is called once when this member stops, and where the client requires a leader when
   * none was known for long. May be called before this returns.
   *
   * @returns forgets it
   */
  endsStream(requiresLeader: boolean, end: (error: unknown) => void): () => void;
  /** Its `TTL` is -1 for a lease that is not there. */
  leaseTimeToLive(request: LeaseTimeToLiveRequest, context?: CallContext): Promise<LeaseTimeToLiveResponse>;
  /** The IDs of all leases that this member knows of, those that run out first before the others. */
  leaseLeases(context?: CallContext): Promise<LeaseList>;
  /** Opens a stream of watchers. The receiver may be told its end before this returns. */
  watch(receiver: WatchStreamReceiver, options: WatchStreamOptions, context?: CallContext): WatchStream;

  alarm(request: AlarmRequest, context?: CallContext): Promise<AlarmResponse>;
  status(): StatusResponse;
  /**
   * Checks, begins or cancels a downgrade of the cluster. The header is the caller's affair. An action that there is none of is the
   * API's to refuse.
   */
  downgrade(request: DowngradeRequest, context?: CallContext): Promise<DowngradeResponse>;
  hash(): Promise<HashResponse>;
  hashKv(request: HashKVRequest): Promise<HashKVResponse>;
  defragment(): Promise<void>;
  /** A consistent copy of `db` as it is on the disk: its size first, so that the receiver can show progress. */
  snapshot(): Promise<DatabaseStream>;

  /** Members in ascending order of ID, each as the log has it. Its header has no revision, as in etcd. */
  memberList(linearizable: boolean, context?: CallContext): Promise<MembersAnswer>;
  /** Adds a member that is not started yet. @throws MembershipError, RequestError as etcd refuses */
  memberAdd(
    request: { readonly peerUrls: readonly string[]; readonly isLearner: boolean },
    context?: CallContext,
  ): Promise<MembersAnswer & { member: Member }>;
  memberRemove(id: bigint, context?: CallContext): Promise<MembersAnswer>;
  /** Changes the URLs that others reach the member at. */
  memberUpdate(id: bigint, peerUrls: readonly string[], context?: CallContext): Promise<MembersAnswer>;
  /** Makes a voter of a learner that has caught up. */
  memberPromote(id: bigint, context?: CallContext): Promise<MembersAnswer>;
  /** Hands leadership to a voter; resolves when it leads. Only the leader can. */
  moveLeader(target: bigint, context?: CallContext): Promise<void>;

  /** The header of an answer given now. */
  header(): ResponseHeader;
  /** As `3.5.0`; undefined until the cluster has decided. */
  clusterVersion(): string | undefined;
  /** The leader's ID as far as this member knows; 0n when there is none. */
  leader(): bigint;
  isLearner(): boolean;
  alarms(): readonly AlarmMember[];
  /** Resolves once a linearizable read would be answered from here; for health checks. */
  linearizableRead(context?: CallContext): Promise<void>;
}

/** There may be a million of them: numbers, not an object for each. */
export interface LeaseList {
  readonly header: ResponseHeader;
  readonly ids: BigInt64Array;
}

/** Each rejects with an AuthError, as etcd refuses. With authentication off, each lets everybody in. */
export interface AccessChecks {
  /** Any user. For granting and listing what has no key, the members and the alarms. */
  requireUser(context: CallContext | undefined): Promise<void>;
  /** A user with the role root. */
  requireAdmin(context: CallContext | undefined): Promise<void>;
  /**
   * A user who may read all of the span; for watches.
   *
   * @param rangeEnd as the request has it: one zero byte stands for "from the key on", nothing for the one key
   */
  requireRead(context: CallContext | undefined, key: Uint8Array, rangeEnd: Uint8Array): Promise<void>;
  /** A user who may write every key of the lease; for keep-alive. The entry of a revocation is checked when it is applied. */
  requireLeaseWrite(context: CallContext | undefined, lease: bigint): Promise<void>;
  /** A user who may read every key of each lease; for the keys of one, and for the list of all. */
  requireLeaseRead(context: CallContext | undefined, leases: Iterable<bigint>): Promise<void>;
  /** Whether the common name of a client's certificate counts as a user's name now: asked for, and authentication is on. */
  takesCommonNames(): boolean;
}

/** The calls that are requests of the log, by their names there: what is asked, and what is answered. */
export interface AuthRequests {
  authEnable: { request: AuthEnableRequest; response: AuthEnableResponse };
  authDisable: { request: AuthDisableRequest; response: AuthDisableResponse };
  authStatus: { request: AuthStatusRequest; response: AuthStatusResponse };
  authUserAdd: { request: AuthUserAddRequest; response: AuthUserAddResponse };
  authUserGet: { request: AuthUserGetRequest; response: AuthUserGetResponse };
  authUserList: { request: AuthUserListRequest; response: AuthUserListResponse };
  authUserDelete: { request: AuthUserDeleteRequest; response: AuthUserDeleteResponse };
  authUserChangePassword: { request: AuthUserChangePasswordRequest; response: AuthUserChangePasswordResponse };
  authUserGrantRole: { request: AuthUserGrantRoleRequest; response: AuthUserGrantRoleResponse };
  authUserRevokeRole: { request: AuthUserRevokeRoleRequest; response: AuthUserRevokeRoleResponse };
  authRoleAdd: { request: AuthRoleAddRequest; response: AuthRoleAddResponse };
  authRoleGet: { request: AuthRoleGetRequest; response: AuthRoleGetResponse };
  authRoleList: { request: AuthRoleListRequest; response: AuthRoleListResponse };
  authRoleDelete: { request: AuthRoleDeleteRequest; response: AuthRoleDeleteResponse };
  authRoleGrantPermission: { request: AuthRoleGrantPermissionRequest; response: AuthRoleGrantPermissionResponse };
  authRoleRevokePermission: { request: AuthRoleRevokePermissionRequest; response: AuthRoleRevokePermissionResponse };
}

export type AuthRequestKind = keyof AuthRequests;

export interface AuthCalls {
  /** A token for a name and a password. */
  authenticate(request: AuthenticateRequest): Promise<AuthenticateResponse>;
  /** Passwords are hashed here, before the request goes into the log. */
  call<Kind extends AuthRequestKind>(
    kind: Kind,
    request: AuthRequests[Kind]["request"],
    context?: CallContext,
  ): Promise<AuthRequests[Kind]["response"]>;
}

/** Members after the call, in ascending order of ID. The header has no revision, as in etcd. */
export interface MembersAnswer {
  header: ResponseHeader;
  members: Member[];
}

export interface DatabaseStream {
  readonly totalBytes: number;
  /** Reading it to the end, or returning early, releases the pages that it pins. */
  readonly chunks: AsyncIterable<Uint8Array>;
}
