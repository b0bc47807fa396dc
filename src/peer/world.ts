/** What the parts of one member's transport share. */
import type { Clock, Log } from "../platform/index.js";
import type { LocalIdentity, PeerReceiver } from "./contract.js";
import type { Dialer } from "./dialer.js";
import type { OwnVersions } from "./headers.js";
import type { PeerMetrics } from "./metrics.js";

export interface PeerTimeouts {
  /** Connecting to another member. */
  readonly dialMs: number;
  /** A read of a connection, and a write that makes no progress. */
  readonly connectionMs: number;
  /** A small request that is answered at once. */
  readonly requestMs: number;
  /** A request that the other member has to agree on with its cluster, or to compute. */
  readonly consensusMs: number;
}

export interface TransportWorld {
  readonly local: LocalIdentity;
  readonly versions: OwnVersions;
  readonly advertiseUrls: readonly string[];
  readonly timeouts: PeerTimeouts;
  readonly messageBytesMax: number;
  readonly clock: Clock;
  readonly log: Log;
  readonly metrics: PeerMetrics;
  readonly dialer: Dialer;
  readonly receiver: PeerReceiver;
  /** Tells the receiver at the end of the turn, lest raft is told in the middle of its own. */
  readonly tell: {
    unreachable(id: bigint): void;
    snapshotSent(id: bigint, delivered: boolean): void;
    removed(): void;
  };
}
