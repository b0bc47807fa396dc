/**
 * Deadlines of many calls on one timer. Nearly every call of an etcd client has one, and nearly none is met: so setting one and taking
 * it back cost a few writes, and no timer of their own.
 *
 * A wheel of slots, each for the deadlines of one grain of time, as lists that run through the entries themselves. An entry that is
 * further away than the wheel's turn stays in its slot until its turn comes.
 *
 * Laws: an entry is told at its deadline or up to two grains later, never before. The timer runs only while there are entries.
 */
import type { Clock, Timer } from "../platform/clock.js";

const GRAIN_MS = 50;
const SLOTS = 512;

/** Something that wants to be told. Only the wheel touches its fields. */
export abstract class WheelEntry {
  wheelDue = 0;
  wheelNext: WheelEntry | undefined = undefined;
  wheelPrevious: WheelEntry | undefined = undefined;

  /** The deadline has come. The entry is out of the wheel. */
  abstract onDue(): void;
}

class ListHead extends WheelEntry {
  override onDue(): void {
    // Stands for a list, and is never due.
  }
}

export class DeadlineWheel {
  readonly #clock: Clock;
  readonly #slots: readonly ListHead[] = Array.from({ length: SLOTS }, () => new ListHead());
  #count = 0;
  /** The last grain whose slot has been looked at. */
  #turned = 0;
  #timer: Timer | undefined;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Entries in the wheel. */
  get count(): number {
    return this.#count;
  }

  /** `due` on the clock's `now`. An entry that is in the wheel moves. */
  set(entry: WheelEntry, due: number): void {
    this.cancel(entry);
    if (this.#count++ === 0) this.#turned = Math.floor(this.#clock.now() / GRAIN_MS);
    entry.wheelDue = due;
    // One already past goes into the slot that comes next.
    const grain = Math.max(Math.floor(due / GRAIN_MS), this.#turned + 1);
    const head = this.#slots[grain % SLOTS]!;
    entry.wheelNext = head.wheelNext;
    entry.wheelPrevious = head;
    if (head.wheelNext !== undefined) head.wheelNext.wheelPrevious = entry;
    head.wheelNext = entry;
    this.#timer ??= this.#clock.after(GRAIN_MS, () => this.#turn());
  }

  cancel(entry: WheelEntry): void {
    const previous = entry.wheelPrevious;
    if (previous === undefined) return;
    previous.wheelNext = entry.wheelNext;
    if (entry.wheelNext !== undefined) entry.wheelNext.wheelPrevious = previous;
    entry.wheelNext = undefined;
    entry.wheelPrevious = undefined;
    this.#count--;
  }

  /** Ends the timer; entries are not told any more. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #turn(): void {
    this.#timer = undefined;
    const now = this.#clock.now();
    // The slot of the present grain may hold what is due later in it.
    const last = Math.floor(now / GRAIN_MS) - 1;
    const first = Math.max(this.#turned + 1, last - SLOTS + 1);
    this.#turned = Math.max(this.#turned, last);
    const due: WheelEntry[] = [];
    for (let grain = first; grain <= last; grain++) {
      for (let entry = this.#slots[grain % SLOTS]!.wheelNext; entry !== undefined; entry = entry.wheelNext) {
        if (entry.wheelDue <= now) due.push(entry);
      }
    }
    for (const entry of due) this.cancel(entry);
    if (this.#count > 0) this.#timer ??= this.#clock.after(GRAIN_MS, () => this.#turn());
    for (const entry of due) entry.onDue();
  }
}
