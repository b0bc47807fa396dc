/** The real clock: monotonic time, and timers that do not keep the process alive. */
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

  after(delayMs: number, run: () => void): Timer {
    let timer: NodeJS.Timeout;
    const sleep = (leftMs: number): void => {
      const turn = Math.min(leftMs, TIMER_MS_MAX);
      timer = setTimeout(() => (leftMs > turn ? sleep(leftMs - turn) : run()), turn);
      timer.unref();
    };
    sleep(Math.max(0, delayMs));
    return { cancel: () => clearTimeout(timer) };
  }

  every(intervalMs: number, run: () => void): Timer {
    const timer = setInterval(run, Math.min(intervalMs, TIMER_MS_MAX));
    timer.unref();
    return { cancel: () => clearInterval(timer) };
  }

  yield(): Promise<void> {
    return new Promise((resolve) => {
      setImmediate(resolve);
    });
  }
}
