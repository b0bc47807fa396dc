/** A clock for what rests between slices of work: it passes when it is told, and at once where it is asked for a pause. */
import type { Clock } from "../clock.js";

export class PassingClock implements Clock {
  /** The pauses asked for, in milliseconds. */
  readonly pauses: number[] = [];
  /** How often the loop was given back without a pause. */
  turns = 0;
  /** What such a turn takes. */
  turnMs = 0;
  /** Pauses that were taken back. */
  cancelled = 0;
  /** Pauses that are asked for do not end by themselves. */
  standsStill = false;
  #now = 50;

  pass(ms: number): void {
    this.#now += ms;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return 1_000 + this.#now;
  }

  after(delayMs: number, run: () => void): { cancel(): void } {
    this.pauses.push(delayMs);
    if (!this.standsStill) {
      this.#now += delayMs;
      run();
    }
    return { cancel: () => void this.cancelled++ };
  }

  every(): { cancel(): void } {
    throw new Error("nothing here is done again and again");
  }

  yield(): Promise<void> {
    this.turns++;
    this.#now += this.turnMs;
    return Promise.resolve();
  }
}
