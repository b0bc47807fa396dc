/**
 * Which lines of a storm are written: the first of each second, then one in so many. A line costs a system call, and those that say the
 * same teach nothing more.
 */
import { WARNINGS_FIRST, WARNINGS_THEREAFTER } from "./limits.js";

const SECOND_MS = 1_000;

export class LineSampler {
  #secondBegan = Number.NEGATIVE_INFINITY;
  #linesInSecond = 0;

  /** Whether the next line is one that is written. @param now monotonic milliseconds */
  admits(now: number): boolean {
    if (now - this.#secondBegan >= SECOND_MS) {
      this.#secondBegan = now;
      this.#linesInSecond = 0;
    }
    const line = ++this.#linesInSecond;
    return line <= WARNINGS_FIRST || (line - WARNINGS_FIRST) % WARNINGS_THEREAFTER === 0;
  }
}
