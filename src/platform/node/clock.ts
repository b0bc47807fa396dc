/** The real clock: monotonic time, and timers that keep the process alive only where they are told to. */
import { performance } from "node:perf_hooks";
import type { Clock, Timer } from "../clock.js";

/** Node's timers count in 32 bits; longer delays are slept in turns. */
const TIMER_MS_MAX = 2 ** 31 - 1;

export class NodeClock implements Clock {
  now(): number {
    return performance.now();
  }

  wallNow(): number {
    return Date.now();
  }

  after(delayMs: number, run: () => void, holds?: "process"): Timer {
    let timer: NodeJS.Timeout;
    const sleep = (leftMs: number): void => {
      const turn = Math.min(leftMs, TIMER_MS_MAX);
      timer = setTimeout(() => (leftMs > turn ? sleep(leftMs - turn) : run()), turn);
      if (holds === undefined) timer.unref();
    };
    sleep(Math.max(0, delayMs));
    return { cancel: () => clearTimeout(timer) };
  }

  /** Not by `setInterval`, which counts each interval from the end of the call before: ten late ticks would be one too few. */
  every(intervalMs: number, run: () => void): Timer {
    let due = this.now() + intervalMs;
    let timer: Timer;
    const sleep = (): void => {
      timer = this.after(Math.ceil(due - this.now()), () => {
        due = nextDue(due, this.now(), intervalMs);
        sleep(); // first, so that `run` may cancel
        run();
      });
    };
    sleep();
    return { cancel: () => timer.cancel() };
  }

  yield(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}

/** When a timer rings again that was due at a moment and rings now: a late one does not move those after it, missed ones are left out. */
export function nextDue(due: number, now: number, intervalMs: number): number {
  const missed = Math.max(0, Math.floor((now - due) / intervalMs));
  return due + (1 + missed) * intervalMs;
}
