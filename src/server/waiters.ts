/**
 * Who waits for which proposal. The entry's ID leads from the log back to the caller; a caller whose time has run out gets
 * an answer that says nothing about the entry, for it may still be applied.
 */
import type { RequestId } from "../proto/request-id.js";
import type { Receiver } from "./contract.js";
import { NumberTable } from "../base/number-table.js";
import type { RequestError } from "./errors.js";

/** A proposal's place in the row of those that are waited for. */
export interface Wait {
  /** The caller has been told. */
  readonly isOver: boolean;
}

class Waiting<Answer> implements Wait {
  readonly id: RequestId;
  readonly since: number;
  readonly receiver: Receiver<Answer>;
  isOver = false;

  constructor(id: RequestId, since: number, receiver: Receiver<Answer>) {
    this.id = id;
    this.since = since;
    this.receiver = receiver;
  }
}

export class Waiters<Answer> {
  readonly #timeoutMs: number;
  readonly #onTimeout: (since: number) => RequestError;
  /** By the lower halves of their IDs. */
  readonly #waiting = new NumberTable<Waiting<Answer>>();
  /** Nobody waits since before this. */
  #oldestSince = Infinity;
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
  wait(id: RequestId, now: number, receiver: Receiver<Answer>): Wait | undefined {
    if (this.#closed !== undefined) {
      receiver.reject(this.#closed);
      return undefined;
    }
    const waiting = new Waiting(id, now, receiver);
    this.#waiting.add(id.low, waiting); // of the member's own IDs, no two that wait have the same lower half
    if (now < this.#oldestSince) this.#oldestSince = now;
    return waiting;
  }

  answer(id: RequestId, answer: Answer): void {
    this.#take(id)?.resolve(answer);
  }

  refuse(id: RequestId, error: unknown): void {
    this.#take(id)?.reject(error);
  }

  #take({ high, low }: RequestId): Receiver<Answer> | undefined {
    const waiting = this.#waiting.get(low);
    // Another member's, or one of an earlier life.
    if (waiting === undefined || waiting.id.high !== high) return undefined;
    this.#waiting.delete(low);
    waiting.isOver = true;
    return waiting.receiver;
  }

  /** Refuses those whose time has run out; answers how many. */
  expire(now: number): number {
    if (this.#oldestSince + this.#timeoutMs > now) return 0;
    this.#oldestSince = Infinity; // who is told may ask again at once
    let expired = 0;
    for (const waiting of this.#inOrder()) {
      if (waiting.isOver) continue; // by who was told before
      if (waiting.since + this.#timeoutMs > now) {
        this.#oldestSince = Math.min(this.#oldestSince, waiting.since);
        break;
      }
      this.refuse(waiting.id, this.#onTimeout(waiting.since));
      expired++;
    }
    return expired;
  }

  /** Refuses all, now and later. */
  close(error: RequestError): void {
    this.#closed = error;
    for (const { id } of this.#inOrder()) this.refuse(id, error);
  }

  /** Those who wait, in the order in which they came: all wait equally long. */
  #inOrder(): Waiting<Answer>[] {
    return this.#waiting.values().sort((a, b) => a.since - b.since);
  }
}
