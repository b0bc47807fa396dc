/**
 * The clock of one machine: it runs a little too fast or too slow, and its wall clock jumps. Timers are events of the world.
 *
 * Only one thing binds it to the time of the world: `local = base + (now - since) * rate`, where a change of the rate sets base
 * and since anew, so that local time never goes back.
 */
import { invariant } from "../../src/base/errors.js";
import type { Clock, Timer } from "../../src/platform/index.js";
import type { SimRandom } from "../random.js";
import type { Owner, Scheduler } from "./scheduler.js";

/** Milliseconds since 1970 when a world begins. */
const WALL_START = Date.UTC(2026, 0, 2, 3, 4, 5);

/** The longest that a turn of the loop is waited for, in milliseconds. */
const YIELD_MS_MAX = 0.05;

export class MachineClock {
  readonly #scheduler: Scheduler;
  readonly #random: SimRandom;
  #rate = 1;
  #base = 0;
  #since = 0;
  #wallOffset = WALL_START;

  constructor(scheduler: Scheduler, random: SimRandom) {
    this.#scheduler = scheduler;
    this.#random = random;
  }

  /** Local milliseconds at a moment of the world. */
  localAt(moment: number): number {
    return this.#base + (moment - this.#since) * this.#rate;
  }

  /** From now on this many local milliseconds pass in one of the world's. */
  setRate(rate: number): void {
    invariant(rate > 0, () => `a clock at rate ${rate}`);
    const { now } = this.#scheduler;
    this.#base = this.localAt(now);
    this.#since = now;
    this.#rate = rate;
  }

  jumpWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  wallNow(): number {
    return this.#wallOffset + this.localAt(this.#scheduler.now);
  }

  /** The clock as one process sees it. While the process is held by a disk, its time has gone on already. */
  doorFor(owner: Owner): Clock {
    const scheduler = this.#scheduler;
    const now = (): number => this.localAt(Math.max(scheduler.now, owner.heldUntil));
    const set = (delayMs: number, run: () => void): Timer => {
      const event = scheduler.after(Math.max(0, delayMs) / this.#rate, owner, run);
      return { cancel: () => scheduler.cancel(event) };
    };
    return {
      now,
      wallNow: () => this.#wallOffset + now(),
      after: set,
      every: (intervalMs, run) => {
        invariant(intervalMs > 0, () => `an interval of ${intervalMs} ms`);
        let timer: Timer;
        const ring = (): void => {
          timer = set(intervalMs, ring);
          run();
        };
        timer = set(intervalMs, ring);
        return { cancel: () => timer.cancel() };
      },
      yield: () => scheduler.sleep((this.#random.below(1024) / 1024) * YIELD_MS_MAX, owner),
    };
  }
}
