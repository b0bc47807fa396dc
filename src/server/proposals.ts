/**
 * Proposals on their way into the log. raft takes one only while it knows a leader; one that comes before waits here until there is
 * a leader or its time has run out, as in etcd. A proposal that raft has taken may still be lost on the way to the leader: then its
 * caller hears nothing before the time is over, and nobody proposes it again, for it might be in the log.
 */
import type { ConfChange } from "../proto/raft.js";
import { RaftError, type RawNode } from "../raft/index.js";
import type { Outcome } from "./applier.js";
import type { RequestError } from "./errors.js";
import { Waiters } from "./waiters.js";

export type Answer = Outcome & { readonly kind: "answer" };

export interface ProposalsDependencies {
  readonly node: RawNode;
  readonly now: () => number;
  /** raft was given something. */
  readonly schedule: () => void;
  /** What a caller is told whose time is over and who waits since then. */
  readonly timeoutError: (since: number) => RequestError;
  readonly onFailed: (count: number) => void;
}

export class Proposals {
  readonly #d: ProposalsDependencies;
  readonly #waiters: Waiters;
  /** Those that raft did not take, oldest first. */
  readonly #untaken = new Map<bigint, () => void>();

  constructor(d: ProposalsDependencies, timeoutMs: number) {
    this.#d = d;
    this.#waiters = new Waiters(timeoutMs, d.timeoutError);
  }

  /** How many callers wait. */
  get size(): number {
    return this.#waiters.size;
  }

  /** @param id the ID that the request carries in its entry */
  propose(id: bigint, data: Uint8Array): Promise<Answer> {
    return this.#give(id, () => this.#d.node.propose(data));
  }

  changeConfiguration(change: ConfChange): Promise<Answer> {
    return this.#give(change.id, () => this.#d.node.proposeConfChange(change));
  }

  #give(id: bigint, give: () => void): Promise<Answer> {
    const answer = this.#waiters.wait<Answer>(id, this.#d.now());
    if (!this.#waiters.has(id)) return answer; // closed meanwhile
    if (this.#untaken.size > 0 || !this.#isTaken(give)) this.#untaken.set(id, give);
    return answer;
  }

  #isTaken(give: () => void): boolean {
    try {
      give();
    } catch (error) {
      if (error instanceof RaftError && error.code === "RAFT_PROPOSAL_DROPPED") return false;
      throw error;
    }
    this.#d.schedule();
    return true;
  }

  /** Tries those again that raft did not take: a leader was found, or time has passed. */
  retry(): void {
    for (const [id, give] of this.#untaken) {
      if (this.#waiters.has(id) && !this.#isTaken(give)) return;
      this.#untaken.delete(id);
    }
  }

  onOutcome(id: bigint, outcome: Outcome): void {
    if (outcome.kind === "refused") this.#waiters.refuse(id, outcome.error);
    else this.#waiters.answer(id, outcome);
  }

  /** Refuses those whose time has run out, and tries the others again. */
  onTick(): void {
    const expired = this.#waiters.expire(this.#d.now());
    if (expired > 0) this.#d.onFailed(expired);
    this.retry();
  }

  /** Refuses all, now and later. */
  close(error: RequestError): void {
    this.#untaken.clear();
    this.#waiters.close(error);
  }
}
