/**
 * Who waits for which proposal. The entry's ID leads from the log back to the caller; a caller whose time has run out gets
 * an answer that says nothing about the entry, for it may still be applied.
 */
import { RequestError } from "./errors.js";

interface Waiter {
  readonly deadline: number;
  resolve(value: unknown): void;
  reject(error: unknown): void;
}

export class Waiters {
  readonly #timeoutMs: number;
  /** In the order of their deadlines, since all wait equally long. */
  readonly #waiting = new Map<bigint, Waiter>();
  #closed: RequestError | undefined;

  constructor(timeoutMs: number) {
    this.#timeoutMs = timeoutMs;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Waits for the answer to a proposal. */
  wait<Answer>(id: bigint, now: number): Promise<Answer> {
    if (this.#closed !== undefined) return Promise.reject(this.#closed);
    return new Promise((resolve, reject) => {
      const deadline = now + this.#timeoutMs;
      this.#waiting.set(id, { deadline, resolve, reject });
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
      if (waiter.deadline > now) break;
      this.#waiting.delete(id);
      waiter.reject(
        new RequestError("SERVER_TIMEOUT", `no answer within ${this.#timeoutMs} ms; it may still be applied`),
      );
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
