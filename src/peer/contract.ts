/**
 * What this room offers to a member, and what it asks of one. The shapes are those of the server's `peers.ts`, told again here
 * because a room may not import those that use it; whoever wires the two is told by the compiler when they part.
 */
import type { Member } from "../membership/index.js";
import type { HashKVResponse, LeaseTimeToLiveRequest, LeaseTimeToLiveResponse } from "../proto/index.js";
import type { Message } from "../proto/raft.js";

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

export interface DatabaseStream {
  readonly totalBytes: number;
  /** Reading it to the end, or returning early, releases what it holds. */
  readonly chunks: AsyncIterable<Uint8Array>;
}

/** Requests between members. Each tries the URLs in turn; URLs are peer URLs. */
export interface PeerDoor {
  connect(local: LocalIdentity, receiver: PeerReceiver): Peers;
  fetchCluster(urls: readonly string[], local?: LocalIdentity): Promise<RemoteCluster | undefined>;
  fetchVersions(urls: readonly string[], local?: LocalIdentity): Promise<PeerVersions | undefined>;
  fetchHashKv(urls: readonly string[], revision: number, local: LocalIdentity): Promise<HashKVResponse | undefined>;
  promote(
    urls: readonly string[],
    memberId: bigint,
    local: LocalIdentity,
    token?: string,
  ): Promise<readonly Member[] | undefined>;
  renewLease(urls: readonly string[], id: bigint, local: LocalIdentity): Promise<number | undefined>;
  leaseTimeToLive(
    urls: readonly string[],
    request: LeaseTimeToLiveRequest,
    local: LocalIdentity,
  ): Promise<LeaseTimeToLiveResponse | undefined>;
  close(): Promise<void>;
}

export interface Peers {
  send(messages: readonly Message[]): void;
  sendSnapshot(message: Message, database: DatabaseStream): void;
  add(id: bigint, urls: readonly string[]): void;
  remove(id: bigint): void;
  activeSince(id: bigint): number | undefined;
  stop(): Promise<void>;
}

/** What a member does with what comes in. */
export interface PeerReceiver {
  receive(message: Message): void;
  receiveSnapshot(message: Message, database: AsyncIterable<Uint8Array>): Promise<void>;
  isRemoved(id: bigint): boolean;
  onUnreachable(id: bigint): void;
  onSnapshotSent(id: bigint, delivered: boolean): void;
  onRemoved(): void;
  members(): readonly Member[];
  clusterVersion(): string | undefined;
  hashKv(revision: number): Promise<HashKVResponse>;
  isDowngrading(): Promise<boolean>;
  promote(id: bigint, token?: string): Promise<readonly Member[]>;
  renewLease(id: bigint): Promise<number>;
  leaseTimeToLive(request: LeaseTimeToLiveRequest): Promise<LeaseTimeToLiveResponse>;
}
