/**
 * Linearizable reads by read index (raft thesis, 6.4): a read waits until a majority confirmed that the leader still leads, and
 * until this member has applied what the leader had committed by then. Reads that come while a confirmation is under way share
 * the next one.
 *
 * Each try has an ID of its own, so that a late answer to an earlier one is never taken for the confirmation of reads that
 * came after it.
 *
 * Reads that are due are made in slices: a hundred ranges of a thousand keys at once would hold the loop for a tenth of a second, and with
 * it writes that wait for their sync and watchers that wait for writes. A read that is made later sees no less.
 */
import { equalBytes } from "../base/bytes.js";
import type { ReadState } from "../raft/index.js";
import type { Receiver } from "./contract.js";
import { RequestError } from "./errors.js";

/** Pause after which a confirmation that got no answer is asked for again (etcd's 500 ms). */
export const READ_RETRY_MS = 500;

/** Reads are made in one go for so long, and the time is looked at every so many. */
const SLICE_MS = 2;
const READS_PER_LOOK = 4;

interface Confirmation {
  readonly waiting: readonly Receiver<void>[];
  /** Since when the first of them waits. */
  readonly since: number;
  readonly deadline: number;
  /** The IDs of its tries. */
  readonly contexts: Uint8Array[];
  retryAt: number;
  /** Known once confirmed: the index that must be applied. */
  index: number | undefined;
}

/** Reads that are due. */
interface Batch {
  readonly waiting: readonly Receiver<void>[];
  readonly since: number;
  /** So many of them were made. */
  made: number;
}

export interface ReadsDependencies {
  /** Asks raft for a read index; the answer comes through `onReadStates`. */
  request(context: Uint8Array): void;
  nextContext(): Uint8Array;
  now(): number;
  /** Calls back in a later turn of the loop. */
  later(run: () => void): void;
  appliedIndex(): number;
  onLateAnswer(): void;
  onFailed(): void;
}

export class LinearizableReads {
  readonly #dependencies: ReadsDependencies;
  readonly #timeoutMs: number;
  #next: Receiver<void>[] = [];
  #nextSince = 0;
  #waitedMs = 0;
  #current: Confirmation | undefined;
  readonly #due: Batch[] = [];
  #isMaking = false;
  #closed: RequestError | undefined;

  constructor(dependencies: ReadsDependencies, timeoutMs: number) {
    this.#dependencies = dependencies;
    this.#timeoutMs = timeoutMs;
  }

  /** Whether a read waits. */
  get isWaitedFor(): boolean {
    return this.#current !== undefined || this.#next.length > 0 || this.#due.length > 0;
  }

  /** While reads are called back: how long the first of those that were confirmed together has waited, in milliseconds. 0 at other times. */
  get waitedMs(): number {
    return this.#waitedMs;
  }

  /** Resolves when a read made now sees all that was acknowledged before. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => this.waitFor({ resolve, reject }));
  }

  /** The same for one who is called back. */
  waitFor(receiver: Receiver<void>): void {
    if (this.#closed !== undefined) {
      receiver.reject(this.#closed);
      return;
    }
    if (this.#next.length === 0) this.#nextSince = this.#dependencies.now();
    this.#next.push(receiver);
    this.#begin();
  }

  #begin(): void {
    // A read that is resolved may ask for another one at once: its confirmation is under way then.
    if (this.#current !== undefined || this.#next.length === 0) return;
    const now = this.#dependencies.now();
    this.#current = {
      waiting: this.#next,
      since: this.#nextSince,
      deadline: now + this.#timeoutMs,
      contexts: [],
      retryAt: now,
      index: undefined,
    };
    this.#next = [];
    this.#ask(this.#current);
  }

  #ask(confirmation: Confirmation): void {
    const context = this.#dependencies.nextContext();
    confirmation.contexts.push(context);
    confirmation.retryAt = this.#dependencies.now() + READ_RETRY_MS;
    this.#dependencies.request(context);
  }

  onReadStates(states: readonly ReadState[]): void {
    for (const state of states) {
      const current = this.#current;
      if (current === undefined || !current.contexts.some((context) => equalBytes(context, state.context))) {
        this.#dependencies.onLateAnswer();
        continue;
      }
      current.index ??= state.index;
    }
    this.onApplied();
  }

  /** Something was applied: the current reads may be due. */
  onApplied(): void {
    const current = this.#current;
    if (current?.index === undefined || this.#dependencies.appliedIndex() < current.index) return;
    this.#current = undefined;
    this.#due.push({ waiting: current.waiting, since: current.since, made: 0 });
    if (!this.#isMaking) this.#make();
    this.#begin();
  }

  /** Makes reads that are due, and those that are left in later turns. */
  #make(): void {
    this.#isMaking = true;
    const began = this.#dependencies.now();
    for (let batch = this.#due[0]; batch !== undefined; batch = this.#due[0]) {
      this.#waitedMs = began - batch.since;
      // A read may bring others, whose batch comes behind this one.
      while (batch.made < batch.waiting.length) {
        batch.waiting[batch.made++]!.resolve();
        if (batch.made % READS_PER_LOOK === 0 && this.#dependencies.now() - began >= SLICE_MS) {
          this.#waitedMs = 0;
          this.#dependencies.later(() => this.#make());
          return;
        }
      }
      this.#due.shift();
    }
    this.#waitedMs = 0;
    this.#isMaking = false;
  }

  onLeaderChanged(): void {
    this.#refuseCurrent(new RequestError("SERVER_LEADER_CHANGED", "the leader changed while the read was confirmed"));
  }

  /** The leader has committed an entry of its term: it can answer what it could not before. */
  onTermBegun(): void {
    const current = this.#current;
    if (current !== undefined && current.index === undefined) this.#ask(current);
  }

  /** Asks again, or gives up. */
  onTick(): void {
    const current = this.#current;
    if (current === undefined) return;
    const now = this.#dependencies.now();
    if (now >= current.deadline) {
      this.#refuseCurrent(new RequestError("SERVER_TIMEOUT", `no read index within ${this.#timeoutMs} ms`));
    } else if (current.index === undefined && now >= current.retryAt) {
      this.#ask(current);
    }
  }

  #refuseCurrent(error: RequestError): void {
    const current = this.#current;
    if (current === undefined || current.index !== undefined) return;
    this.#current = undefined;
    this.#dependencies.onFailed();
    for (const read of current.waiting) read.reject(error);
    this.#begin();
  }

  close(error: RequestError): void {
    this.#closed = error;
    const due = this.#due.flatMap(({ waiting, made }) => waiting.slice(made));
    const waiting = [...due, ...(this.#current?.waiting ?? []), ...this.#next];
    this.#current = undefined;
    this.#next = [];
    for (const batch of this.#due) batch.made = batch.waiting.length;
    for (const read of waiting) read.reject(error);
  }
}
