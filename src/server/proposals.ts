/**
 * Proposals on their way into the log. Requests that come during one turn of the event loop are given to raft together, as one
 * proposal of many entries: one append to each follower and one answer from it where there would be as many as requests.
 *
 * raft takes a proposal only while it knows a leader; what comes before waits here until there is a leader or its time has run
 * out, as in etcd. A proposal that raft has taken may still be lost on the way to the leader: then its caller hears nothing before
 * the time is over, and nobody proposes it again, for it might be in the log.
 */
import { MESSAGE_ENTRY_BYTES_MAX } from "../base/limits.js";
import type { ConfChange } from "../proto/raft.js";
import { requestIdOf, type RequestId } from "../proto/request-id.js";
import { RaftError, type RawNode } from "../raft/index.js";
import type { Outcome } from "./applier.js";
import type { Receiver } from "./contract.js";
import type { RequestError } from "./errors.js";
import { type Wait, Waiters } from "./waiters.js";

export type Answer = Outcome & { readonly kind: "answer" };

export interface ProposalsDependencies {
  readonly node: Pick<RawNode, "proposeBatch" | "proposeConfChange">;
  readonly now: () => number;
  /** Without a leader raft takes nothing, and says so in the log each time that it is asked. */
  readonly hasLeader: () => boolean;
  /** There is something for raft: `give` is to be called when this turn's other requests are in. */
  readonly schedule: () => void;
  /** What a caller is told whose time is over and who waits since then. */
  readonly timeoutError: (since: number) => RequestError;
  readonly onFailed: (count: number) => void;
}

/** The data of an entry, or a change of the configuration, and who waits for it. */
interface Proposal {
  readonly wait: Wait;
  readonly what: Uint8Array | ConfChange;
}

/** What raft is given at once: the data of entries, or one change; so many proposals are done with when it is taken. */
type Batch = { readonly count: number } & ({ readonly datas: Uint8Array[] } | { readonly change: ConfChange });

export class Proposals {
  readonly #d: ProposalsDependencies;
  readonly #waiters: Waiters<Answer>;
  /** What raft has not taken yet, oldest first. */
  #untaken: Proposal[] = [];
  /** raft has turned the oldest away, and nothing has happened since that could change its mind. */
  #isStuck = false;

  constructor(d: ProposalsDependencies, timeoutMs: number) {
    this.#d = d;
    this.#waiters = new Waiters(timeoutMs, d.timeoutError);
  }

  /** How many callers wait. */
  get size(): number {
    return this.#waiters.size;
  }

  /** @param id the ID that the request carries in its entry */
  propose(id: RequestId, data: Uint8Array): Promise<Answer> {
    return new Promise((resolve, reject) => this.proposeFor(id, data, { resolve, reject }));
  }

  /** The same for one who is called back. */
  proposeFor(id: RequestId, data: Uint8Array, receiver: Receiver<Answer>): void {
    this.#add(id, data, receiver);
  }

  changeConfiguration(change: ConfChange): Promise<Answer> {
    return new Promise((resolve, reject) => this.#add(requestIdOf(change.id), change, { resolve, reject }));
  }

  #add(id: RequestId, what: Uint8Array | ConfChange, receiver: Receiver<Answer>): void {
    const wait = this.#waiters.wait(id, this.#d.now(), receiver);
    if (wait === undefined) return;
    this.#untaken.push({ wait, what });
    this.#d.schedule();
  }

  /** Gives raft what waits, in order, until it takes no more. */
  give(): void {
    if (!this.#d.hasLeader()) this.#isStuck = true;
    let taken = 0;
    while (taken < this.#untaken.length && !this.#isStuck) {
      const batch = this.#nextBatch(taken);
      if (this.#isTaken(batch)) taken += batch.count;
      else this.#isStuck = true;
    }
    if (taken > 0) this.#untaken = this.#untaken.slice(taken);
  }

  /** What raft did not take is given once more: a leader was found, or time has passed. */
  retry(): void {
    this.#isStuck = false;
    if (this.#untaken.length > 0) this.#d.schedule();
  }

  /** As many of the oldest, from this one on, as fit into one message. What nobody waits for any more is left out. */
  #nextBatch(from: number): Batch {
    const datas: Uint8Array[] = [];
    let bytes = 0;
    let at = from;
    for (; at < this.#untaken.length; at++) {
      const { wait, what } = this.#untaken[at]!;
      if (wait.isOver) continue;
      if (!(what instanceof Uint8Array)) {
        if (datas.length > 0) break;
        return { count: at + 1 - from, change: what };
      }
      bytes += what.length;
      if (bytes > MESSAGE_ENTRY_BYTES_MAX && datas.length > 0) break;
      datas.push(what);
    }
    return { count: at - from, datas };
  }

  #isTaken(batch: Batch): boolean {
    try {
      if ("change" in batch) this.#d.node.proposeConfChange(batch.change);
      else this.#d.node.proposeBatch(batch.datas);
    } catch (error) {
      if (error instanceof RaftError && error.code === "RAFT_PROPOSAL_DROPPED") return false;
      throw error;
    }
    return true;
  }

  onOutcome(id: RequestId, outcome: Outcome): void {
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
    this.#untaken = [];
    this.#waiters.close(error);
  }
}
