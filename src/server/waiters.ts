/**
 * Who waits for which proposal. The entry's ID leads from the log back to the caller; a caller whose time has run out gets
 * an answer that says nothing about the entry, for it may still be applied.
 */
import type { RequestError } from "./errors.js";

interface Waiter {
  readonly since: number;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class Waiters {
  readonly #timeoutMs: number;
  readonly #onTimeout: (since: number) => RequestError;
  /** In the order in which they came: all wait equally long. */
  readonly #waiting = new Map<bigint, Waiter>();
  #closed: RequestError | undefined;

  /** @param onTimeout what a caller is told who waits since that time */
  constructor(timeoutMs: number, onTimeout: (since: number) => RequestError) {
    this.#timeoutMs = timeoutMs;
    this.#onTimeout = onTimeout;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Waits for the answer to a proposal. */
  wait<Answer>(id: bigint, now: number): Promise<Answer> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { since: now, resolve, reject });
    });
  }

  has(id: bigint): boolean {
    return this.#waiting.has(id);
  }

  answer(id: bigint, value: unknown): void {
    const waiter = this.#take(id);
    waiter?.resolve(value);
  }

  refuse(id: bigint, error: unknown): void {
    const waiter = this.#take(id);
    waiter?.reject(error);
  }

  #take(id: bigint): Waiter | undefined {
    const waiter = this.#waiting.get(id);
    if (waiter !== undefined) this.#waiting.delete(id);
    return waiter;
  }

  /** Refuses those whose time has run out; answers how many. */
  expire(now: number): number {
    let expired = 0;
    for (const [id, waiter] of this.#waiting) {
      if (waiter.since + this.#timeoutMs > now) break;
      this.#waiting.delete(id);
      waiter.reject(this.#onTimeout(waiter.since));
      expired++;
    }
    return expired;
  }

  /** Refuses all, now and later. */
  close(error: RequestError): void {
    this.#closed = error;
    for (const waiter of this.#waiting.values()) waiter.reject(error);
    this.#waiting.clear();
  }
}
