/** Time that passes when a test says so. */
import type { Clock, Timer } from "../../platform/clock.js";

interface Pending {
  at: number;
  readonly every: number | undefined;
  readonly run: () => void;
}

export class ManualClock implements Clock {
  #now = 1_000;
  readonly #pending = new Set<Pending>();

  /** Timers that wait. */
  get pending(): number {
    return this.#pending.size;
  }

  now(): number {
    return this.#now;
  }
  wallNow(): number {
    return this.#now;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#add({ at: this.#now + delayMs, every: undefined, run });
  }
  every(intervalMs: number, run: () => void): Timer {
    return this.#add({ at: this.#now + intervalMs, every: intervalMs, run });
  }
  yield(): Promise<void> {
    return new Promise((resolve) => void setImmediate(resolve));
  }

  #add(pending: Pending): Timer {
    this.#pending.add(pending);
    return { cancel: () => void this.#pending.delete(pending) };
  }

  /** Moves on, and runs what comes due, in its order. */
  advance(ms: number): void {
    const end = this.#now + ms;
    for (;;) {
      const [next] = [...this.#pending].filter(({ at }) => at <= end).sort((a, b) => a.at - b.at);
      if (next === undefined) break;
      this.#now = Math.max(this.#now, next.at);
      if (next.every === undefined) this.#pending.delete(next);
      else next.at += next.every;
      next.run();
    }
    this.#now = end;
  }
}
