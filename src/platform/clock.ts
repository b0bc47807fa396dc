/** The door to time. Deadlines use `now` only; `wallNow` is for stamps that people read (faults.md P4). */
export interface Clock {
  /** Monotonic milliseconds, with fractions, from an arbitrary beginning. */
  now(): number;
  /** Milliseconds since 1970. May jump. */
  wallNow(): number;
  /** Calls once after `delayMs`. A pending timer does not keep the process alive by itself. */
  after(delayMs: number, run: () => void): Timer;
  /** Calls every `intervalMs`. */
  every(intervalMs: number, run: () => void): Timer;
  /** Calls when what is waiting on the loop had its turn. For long work cut into slices. */
  yield(): Promise<void>;
}

export interface Timer {
  cancel(): void;
}
