/** What a member is given when it is made, and the defaults of what may be left out. */
import { isLocalTarget, NONE } from "./ids.js";
import { RaftError } from "./errors.js";
import type { RaftLogger } from "./logger.js";
import type { ReadOnlyOption } from "./read-index.js";
import type { Storage } from "./storage.js";

/** Sizes are in bytes; infinity means no limit. Where zero or undefined mean something, the field says so. */
export interface RaftConfig {
  /** This member; not zero. */
  readonly id: bigint;
  /** Ticks without a word from a leader until a member campaigns (plus a random part of as many again). */
  readonly electionTicks: number;
  /** Ticks between two heartbeats of a leader; a tenth of `electionTicks` is usual. */
  readonly heartbeatTicks: number;
  readonly storage: Storage;
  /**
   * The index up to which the application has applied the log; entries after it are handed out again. It may be ahead of the
   * hard state's commit index (which is not synced), not of the log.
   */
  readonly applied?: number;
  /** Writes and applications are asked for by messages and answered by messages, in place of `advance()`. */
  readonly asyncStorageWrites?: boolean;
  /** Encoded entries in one append message. Zero: one entry a message. */
  readonly maxSizePerMessage: number;
  /** Encoded committed entries handed out and not yet applied. Zero or undefined: as `maxSizePerMessage`. */
  readonly maxCommittedSizePerReady?: number;
  /** Payload of entries in the leader's log that are not applied; beyond it proposals are dropped. Zero or undefined: no limit. */
  readonly maxUncommittedEntriesSize?: number;
  /** Append messages on their way to one follower. */
  readonly maxInflightMessages: number;
  /** Payload of the append messages on their way to one follower. Zero or undefined: no limit. */
  readonly maxInflightBytes?: number;
  /** A leader that does not hear from a quorum for an election timeout steps down; a follower that hears from a leader does not vote. */
  readonly checkQuorum?: boolean;
  /** An election is tried out before a term is spent on it. */
  readonly preVote?: boolean;
  /** Undefined: `safe`. */
  readonly readOnlyOption?: ReadOnlyOption;
  /** A follower drops proposals where it would pass them on to the leader. */
  readonly disableProposalForwarding?: boolean;
  /** A leader takes configuration changes that do not fit the applied configuration; the application then sees to it that they do. */
  readonly disableConfChangeValidation?: boolean;
  /** A leader that is removed or made a learner becomes a follower at once. */
  readonly stepDownOnRemoval?: boolean;
  readonly log: RaftLogger;
  readonly random: { below(bound: number): number };
}

/** A configuration without holes. */
export type CompleteConfig = Required<RaftConfig>;

/**
 * Fills in the defaults and checks what is left.
 *
 * @throws RaftError `RAFT_CONFIG`
 */
export function completeConfig(config: RaftConfig): CompleteConfig {
  refuseIf(config.id === NONE, "id is 0, which stands for no member");
  refuseIf(isLocalTarget(config.id), `id ${config.id} stands for a storage worker`);
  refuseIf(!(config.heartbeatTicks > 0), `heartbeatTicks is ${config.heartbeatTicks}, it must be positive`);
  refuseIf(
    !(config.electionTicks > config.heartbeatTicks),
    `electionTicks is ${config.electionTicks}, it must be more than heartbeatTicks, ${config.heartbeatTicks}`,
  );
  refuseIf(!(config.maxSizePerMessage >= 0), `maxSizePerMessage is ${config.maxSizePerMessage}`);
  refuseIf(!(config.maxInflightMessages > 0), `maxInflightMessages is ${config.maxInflightMessages}`);
  const maxInflightBytes = limitOrNone(config.maxInflightBytes);
  refuseIf(
    maxInflightBytes < config.maxSizePerMessage,
    `maxInflightBytes is ${maxInflightBytes}, it must be at least maxSizePerMessage, ${config.maxSizePerMessage}`,
  );
  const checkQuorum = config.checkQuorum ?? false;
  const readOnlyOption = config.readOnlyOption ?? "safe";
  refuseIf(
    readOnlyOption === "lease-based" && !checkQuorum,
    "readOnlyOption lease-based needs checkQuorum, without which a leader does not notice that it is one no more",
  );
  return {
    ...config,
    applied: config.applied ?? 0,
    asyncStorageWrites: config.asyncStorageWrites ?? false,
    // A limit of zero would let nothing be applied, ever; of one, a single entry at a time.
    maxCommittedSizePerReady: Math.max(1, config.maxCommittedSizePerReady || config.maxSizePerMessage),
    maxUncommittedEntriesSize: limitOrNone(config.maxUncommittedEntriesSize),
    maxInflightBytes,
    checkQuorum,
    preVote: config.preVote ?? false,
    readOnlyOption,
    disableProposalForwarding: config.disableProposalForwarding ?? false,
    disableConfChangeValidation: config.disableConfChangeValidation ?? false,
    stepDownOnRemoval: config.stepDownOnRemoval ?? false,
  };
}

function limitOrNone(limit: number | undefined): number {
  return limit === undefined || limit === 0 ? Number.POSITIVE_INFINITY : limit;
}

function refuseIf(wrong: boolean, detail: string): void {
  if (wrong) throw new RaftError("RAFT_CONFIG", detail);
}
