/**
 * The way to the other members, as a member sees it: raft's messages, databases that travel with snapshots, and the few
 * requests that members ask each other beside raft. `peer/` speaks etcd's protocol behind these doors; `sim/` loses, delays
 * and repeats what is given to them.
 *
 * Law: nothing here holds the caller up, and anything may be lost. raft sends again.
 */
import type { Member } from "../membership/member.js";
import type { LeaseTimeToLiveRequest, LeaseTimeToLiveResponse } from "../proto/generated/etcdserverpb/lease.js";
import type { HashKVResponse } from "../proto/generated/etcdserverpb/maintenance.js";
import type { Message } from "../proto/raft.js";
import type { DatabaseStream } from "./contract.js";

/** Who this member is to others. */
export interface LocalIdentity {
  readonly memberId: bigint;
  readonly clusterId: bigint;
}

/** The cluster as one of its members tells it. */
export interface RemoteCluster {
  readonly clusterId: bigint;
  readonly members: readonly Member[];
}

/** Versions that a member tells of itself; `cluster` is `not_decided` before the cluster has one. */
export interface PeerVersions {
  readonly server: string;
  readonly cluster: string;
}

/** Requests between members. Each tries the URLs in turn; URLs are peer URLs. */
export interface PeerDoor {
  /** Begins to answer on the peer port, and to talk to the members that `Peers.add` names. */
  connect(local: LocalIdentity, receiver: PeerReceiver): Peers;
  /** The cluster that the first member to answer belongs to; undefined when none answers. */
  fetchCluster(urls: readonly string[], local?: LocalIdentity): Promise<RemoteCluster | undefined>;
  /** Undefined when none answers. */
  fetchVersions(urls: readonly string[], local?: LocalIdentity): Promise<PeerVersions | undefined>;
  /** @throws RequestError, MvccError as the other member refuses; undefined when none answers */
  fetchHashKv(urls: readonly string[], revision: number, local: LocalIdentity): Promise<HashKVResponse | undefined>;
  /** Asks the leader at these URLs to promote a learner, for the user of this token. Rejects as that member refuses; undefined when none answers. */
  promote(
    urls: readonly string[],
    memberId: bigint,
    local: LocalIdentity,
    token?: string,
  ): Promise<readonly Member[] | undefined>;
  /** The whole time in seconds of a lease that the leader at these URLs renewed. Rejects as that member refuses; undefined when none answers. */
  renewLease(urls: readonly string[], id: bigint, local: LocalIdentity): Promise<number | undefined>;
  /** What the leader at these URLs knows of a lease; alike. */
  leaseTimeToLive(
    urls: readonly string[],
    request: LeaseTimeToLiveRequest,
    local: LocalIdentity,
  ): Promise<LeaseTimeToLiveResponse | undefined>;
  /** Gives up the peer port, for a member that did not come to `connect`. */
  close(): Promise<void>;
}

export interface Peers {
  /** Messages to other members, none of them a snapshot. Those to members that were not added are dropped. */
  send(messages: readonly Message[]): void;
  /** A snapshot message and the database that belongs to it. How it ended is told once by `onSnapshotSent`. */
  sendSnapshot(message: Message, database: DatabaseStream): void;
  /** A member of the cluster. Adding one that is there changes its URLs. */
  add(id: bigint, urls: readonly string[]): void;
  remove(id: bigint): void;
  /** Since when messages from this member arrive (`Clock.now`); undefined while it is not connected. */
  activeSince(id: bigint): number | undefined;
  /** Closes everything. Nothing is received, and nothing told, after it resolved. */
  stop(): Promise<void>;
}

/** What a member does with what comes in. */
export interface PeerReceiver {
  receive(message: Message): void;
  /** A snapshot with its database; resolves when it is kept, rejects when it was not. The stream must be read to its end. */
  receiveSnapshot(message: Message, database: AsyncIterable<Uint8Array>): Promise<void>;
  /** Whether this member was removed from the cluster for good. */
  isRemoved(id: bigint): boolean;
  /** Messages to this member cannot be delivered. */
  onUnreachable(id: bigint): void;
  onSnapshotSent(id: bigint, delivered: boolean): void;
  /** Another member says that this one was removed. */
  onRemoved(): void;
  members(): readonly Member[];
  clusterVersion(): string | undefined;
  hashKv(revision: number): Promise<HashKVResponse>;
  /** Whether a downgrade is under way, as of now for the whole cluster. */
  isDowngrading(): Promise<boolean>;
  /** Promotes as leader. @param token of the user who asked the other member for it */
  promote(id: bigint, token?: string): Promise<readonly Member[]>;
  /** Renews as leader, and answers the whole time in seconds. */
  renewLease(id: bigint): Promise<number>;
  /** Tells as leader. Its `TTL` is -1 for a lease that is not there. */
  leaseTimeToLive(request: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse>;
}
