/**
 * Who waits for which proposal. The entry's ID leads from the log back to the caller; a caller whose time has run out gets
 * an answer that says nothing about the entry, for it may still be applied.
 */
import type { Receiver } from "./contract.js";
import type { RequestError } from "./errors.js";

/** A proposal's place in the row of those that are waited for. */
export interface Wait {
  readonly id: bigint;
  /** The caller has been told. */
  readonly isOver: boolean;
}

class Waiting<Answer> implements Wait {
  readonly id: bigint;
  readonly since: number;
  readonly receiver: Receiver<Answer>;
  isOver = false;

  constructor(id: bigint, since: number, receiver: Receiver<Answer>) {
    this.id = id;
    this.since = since;
    this.receiver = receiver;
  }
}

export class Waiters<Answer> {
  readonly #timeoutMs: number;
  readonly #onTimeout: (since: number) => RequestError;
  /** In the order in which they came: all wait equally long. */
  readonly #waiting = new Map<bigint, Waiting<Answer>>();
  #closed: RequestError | undefined;

  /** @param onTimeout what a caller is told who waits since that time */
  constructor(timeoutMs: number, onTimeout: (since: number) => RequestError) {
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Waits for the answer to a proposal; undefined when nobody may wait any more: the receiver is told so. */
  wait(id: bigint, now: number, receiver: Receiver<Answer>): Wait | undefined {
    if (this.#closed !== undefined) {
      receiver.reject(this.#closed);
      return undefined;
    }
    const waiting = new Waiting(id, now, receiver);
    this.#waiting.set(id, waiting);
    return waiting;
  }

  answer(id: bigint, answer: Answer): void {
    this.#take(id)?.resolve(answer);
  }

  refuse(id: bigint, error: unknown): void {
    this.#take(id)?.reject(error);
  }

  #take(id: bigint): Receiver<Answer> | undefined {
    const waiting = this.#waiting.get(id);
    if (waiting === undefined) return undefined;
    this.#waiting.delete(id);
    waiting.isOver = true;
    return waiting.receiver;
  }

  /** Refuses those whose time has run out; answers how many. */
  expire(now: number): number {
    let expired = 0;
    for (const { id, since } of this.#waiting.values()) {
      if (since + this.#timeoutMs > now) break;
      this.refuse(id, this.#onTimeout(since));
      expired++;
    }
    return expired;
  }

  /** Refuses all, now and later. */
  close(error: RequestError): void {
    this.#closed = error;
    for (const id of this.#waiting.keys()) this.refuse(id, error);
  }
}
