/** What `stall-probe.ts` tells of a server's event loop, and `stalls.ts` reads. */

/** What begins a line of the probe. */
export const PROBE_MARK = '{"probe":';

/** A turn of the loop that was too long. Times in milliseconds. */
export interface Stall {
  /** When it ended, as `Date.now()` tells. */
  readonly endedAt: number;
  readonly tookMs: number;
  /** Of it, the time that the thread had a processor. */
  readonly ranMs: number;
  /** Of it, the collector's pauses. */
  readonly collectorMs: number;
  /** When it ended on the clock that CPU profiles use, in microseconds. */
  readonly profileMicroseconds: number;
}

/** How often the probe tells what it saw. */
export const PROBE_INTERVAL_MS = 1_000;

/** One line of the probe. */
export interface ProbeLine {
  readonly probe: {
    readonly at: number;
    readonly longestMs: number;
    /** The longest pause of the collector. */
    readonly collectorMs: number;
    readonly stalls: readonly Stall[];
  };
}
