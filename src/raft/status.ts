/** A look at a member's state, for tools and metrics. */
import type { Configuration } from "./configuration.js";
import type { RaftCore, RaftRole } from "./core.js";
import type { Progress } from "./progress.js";

/** The part that costs nothing to make. */
export interface BasicStatus {
  readonly id: bigint;
  readonly term: number;
  readonly vote: bigint;
  readonly commit: number;
  /** 0n when no leader is known. */
  readonly leader: bigint;
  readonly role: RaftRole;
  readonly applied: number;
  /** The member that leadership is being handed to; 0n when none. */
  readonly leadTransferee: bigint;
}

export interface Status extends BasicStatus {
  readonly configuration: Configuration;
  /** Copies, by member; empty unless this one leads. */
  readonly progress: ReadonlyMap<bigint, Progress>;
}

export function basicStatusOf(core: RaftCore): BasicStatus {
  const { id, leader, role, leadTransferee } = core;
  return { id, ...core.hardState(), leader, role, applied: core.log.applied, leadTransferee };
}

export function statusOf(core: RaftCore): Status {
  const progress = new Map<bigint, Progress>();
  if (core.role === "leader") for (const [id, one] of core.tracker.members) progress.set(id, one.clone());
  return { ...basicStatusOf(core), configuration: core.tracker.configuration, progress };
}
