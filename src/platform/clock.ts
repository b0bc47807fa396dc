/** The door to time. Deadlines use `now` only; `wallNow` is for stamps that people read (faults.md P4). */
export interface Clock {
  /** Monotonic milliseconds, with fractions, from an arbitrary beginning. */
  now(): number;
  /** Milliseconds since 1970. May jump. */
  wallNow(): number;
  /**
   * Calls once after `delayMs`.
   *
   * @param holds a pending timer does not keep the process alive by itself, unless it is told to: a rest in work that somebody waits for
   *   must, or a process that has nothing else to do ends in the midst of it, without a word
   */
  after(delayMs: number, run: () => void, holds?: "process"): Timer;
  /** Calls every `intervalMs`. */
  every(intervalMs: number, run: () => void): Timer;
  /** Calls when what is waiting on the loop had its turn. For long work cut into slices. */
  yield(): Promise<void>;
}

export interface Timer {
  cancel(): void;
}
