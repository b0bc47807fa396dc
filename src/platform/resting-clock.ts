/**
 * A clock for long work that nobody waits for, beside processes that share the machine.
 *
 * Giving the loop back between slices leaves the loop to its own calls, but the processor stays taken: on a machine that others live
 * on, too, a second of such work is a second in which they wait. Under this clock each slice is followed by a rest twice as long as
 * the slice was, so that the work takes a third of a processor. Rests come to an end: after `restMsMax` of them the work goes on as under any
 * other clock, for whoever waits for its result in the end must not wait without bound.
 */
import type { Clock, Timer } from "./clock.js";

/** Rest for each millisecond of work. */
const REST_PER_MS = 2;

export class RestingClock implements Clock {
  readonly #clock: Clock;
  #restMsLeft: number;
  #resumedAt: number;
  #wake: (() => void) | undefined;

  /** @param restMsMax all rests together, in milliseconds */
  constructor(clock: Clock, restMsMax: number) {
    this.#clock = clock;
    this.#restMsLeft = restMsMax;
    this.#resumedAt = clock.now();
  }

  now(): number {
    return this.#clock.now();
  }

  wallNow(): number {
    return this.#clock.wallNow();
  }

  after(delayMs: number, run: () => void, holds?: "process"): Timer {
    return this.#clock.after(delayMs, run, holds);
  }

  every(intervalMs: number, run: () => void): Timer {
    return this.#clock.every(intervalMs, run);
  }

  /** Gives the loop back, and rests. */
  async yield(): Promise<void> {
    const restMs = Math.min((this.#clock.now() - this.#resumedAt) * REST_PER_MS, this.#restMsLeft);
    if (restMs > 0) {
      this.#restMsLeft -= restMs;
      await this.#rest(restMs);
    } else {
      await this.#clock.yield();
    }
    this.#resumedAt = this.#clock.now();
  }

  #rest(restMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = this.#clock.after(restMs, resolve, "process");
      this.#wake = () => {
        timer.cancel();
        resolve();
      };
    });
  }

  /** Takes no more rests, and ends the one that is under way: the work is done, or somebody waits for it now. */
  endRests(): void {
    this.#restMsLeft = 0;
    this.#wake?.();
  }
}
