/**
 * Streams that are of no use without a leader, and end when there is none for long: etcd's rule for clients that send `hasleader`. A stream
 * that has to be opened anew costs a client more than a call, so three election timeouts must pass, where a new call is refused at once.
 */
import type { Clock, Timer } from "../platform/clock.js";

/** Looks in a row, an election timeout apart, that find no leader (etcd's figure). */
const LEADERLESS_LOOKS_MAX = 3;

export interface LeaderLossDependencies {
  readonly clock: Clock;
  readonly electionMs: number;
  readonly hasLeader: () => boolean;
}

export class LeaderLoss {
  readonly #d: LeaderLossDependencies;
  readonly #waiting = new Set<() => void>();
  #timer: Timer | undefined;
  #leaderless = 0;

  constructor(d: LeaderLossDependencies) {
    this.#d = d;
  }

  /** Calls once, when the leader is lost. @returns forgets it */
  onLost(run: () => void): () => void {
    const waiting = (): void => run();
    this.#waiting.add(waiting);
    this.#timer ??= this.#d.clock.every(this.#d.electionMs, () => this.#look());
    return () => {
      this.#waiting.delete(waiting);
      this.#maybeRest();
    };
  }

  /** Forgets all. */
  close(): void {
    this.#waiting.clear();
    this.#maybeRest();
  }

  #look(): void {
    this.#leaderless = this.#d.hasLeader() ? 0 : this.#leaderless + 1;
    if (this.#leaderless < LEADERLESS_LOOKS_MAX) return;
    const lost = [...this.#waiting];
    this.#waiting.clear();
    this.#maybeRest();
    for (const run of lost) run();
  }

  #maybeRest(): void {
    if (this.#waiting.size > 0) return;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#leaderless = 0;
  }
}
