/**
 * Whether a member that takes itself for the leader may have been deposed without noticing: its loop stood still for some ticks, and others may
 * have elected another one meanwhile (etcd #15247). Once in doubt it stays so until a majority has confirmed that it leads.
 *
 * What comes first when the loop goes on need not be a tick: a call that waited in a socket may be. So the time counts, and not only what the
 * ticks have seen.
 */

/** Ticks that may be missed (etcd's figure). */
const TICKS_WITHOUT_DOUBT = 3;

export class LeaderDoubt {
  readonly #quietMsMax: number;
  #tickedAt = Infinity;
  #holds = false;

  constructor(tickMs: number) {
    this.#quietMsMax = TICKS_WITHOUT_DOUBT * tickMs;
  }

  /** @returns milliseconds since the last tick; 0 at the first */
  onTick(now: number): number {
    this.#holds = this.holds(now);
    const sinceLastMs = Math.max(0, now - this.#tickedAt);
    this.#tickedAt = now;
    return sinceLastMs;
  }

  /** A majority has confirmed that this member leads: it was asked since the doubt began. */
  onConfirmed(): void {
    this.#holds = false;
  }

  holds(now: number): boolean {
    return this.#holds || now - this.#tickedAt > this.#quietMsMax;
  }
}
