/** A clock that stands still until it is turned by hand. */
import { invariant } from "../src/base/errors.js";
import type { Clock, Timer } from "../src/platform/index.js";

interface Alarm {
  at: number;
  /** Alarms of the same moment ring in the order in which they were set. */
  readonly order: number;
  readonly run: () => void;
}

export class SimClock implements Clock {
  #now = 0;
  #wallOffset: number;
  #order = 0;
  readonly #alarms = new Set<Alarm>();

  /** @param wallStart milliseconds since 1970 when `now()` is 0 */
  constructor(wallStart = Date.UTC(2026, 0, 2, 3, 4, 5)) {
    this.#wallOffset = wallStart;
  }

  now(): number {
    return this.#now;
  }

  wallNow(): number {
    return this.#wallOffset + this.#now;
  }

  after(delayMs: number, run: () => void): Timer {
    return this.#set(Math.max(0, delayMs), run);
  }

  every(intervalMs: number, run: () => void): Timer {
    invariant(intervalMs > 0, () => `an interval of ${intervalMs} ms`);
    let timer: Timer;
    const ring = (): void => {
      timer = this.#set(intervalMs, ring);
      run();
    };
    timer = this.#set(intervalMs, ring);
    return { cancel: () => timer.cancel() };
  }

  yield(): Promise<void> {
    return Promise.resolve();
  }

  /** How many timers are set. */
  get timers(): number {
    return this.#alarms.size;
  }

  /** Lets the wall clock jump; monotonic time does not notice (faults.md P4). */
  jumpWall(byMs: number): void {
    this.#wallOffset += byMs;
  }

  /** Turns the clock; timers ring in order, each at its own moment. What they promise runs after this returns. */
  advance(byMs: number): void {
    const until = this.#now + byMs;
    while (this.#ringNext(until)) continue;
    this.#now = until;
  }

  /** Turns the clock, and lets all promises settle after each timer that rang. */
  async run(byMs: number): Promise<void> {
    const until = this.#now + byMs;
    await settle();
    while (this.#ringNext(until)) await settle();
    this.#now = until;
    await settle();
  }

  #set(delayMs: number, run: () => void): Timer {
    const alarm: Alarm = { at: this.#now + delayMs, order: this.#order++, run };
    this.#alarms.add(alarm);
    return { cancel: () => void this.#alarms.delete(alarm) };
  }

  #ringNext(until: number): boolean {
    let next: Alarm | undefined;
    for (const alarm of this.#alarms) {
      if (next === undefined || alarm.at < next.at || (alarm.at === next.at && alarm.order < next.order)) next = alarm;
    }
    if (next === undefined || next.at > until) return false;
    this.#alarms.delete(next);
    this.#now = Math.max(this.#now, next.at);
    next.run();
    return true;
  }
}

/** Resolves when no promise is left that can go on by itself: the simulated world has come to rest. */
export function settle(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
