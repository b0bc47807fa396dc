/**
 * Goes into a server by `node --import`: tells on standard error, as JSON lines, when its event loop stood still, and for how long the
 * collector held it.
 *
 * A timer of one millisecond is due all the time; by how much it is late is how long the loop was busy with one turn, and whoever came
 * in between waited for it. A machine with other work adds to that, for the timer cannot tell being busy from not being run: so each
 * stall has the time that the thread ran, too, as Linux tells it.
 */
import { openSync, readSync } from "node:fs";
import { PerformanceObserver, performance } from "node:perf_hooks";
import { PROBE_INTERVAL_MS, type ProbeLine, type Stall } from "./probe-line.js";

/** Shorter ones are not told one by one. */
const STALL_MS_MIN = 8;

const scheduling = openSync(`/proc/self/task/${process.pid}/schedstat`, "r");
const text = Buffer.alloc(80);

/** Milliseconds that the thread of the loop has run. */
function ranMs(): number {
  return parseInt(text.toString("latin1", 0, readSync(scheduling, text, 0, text.length, 0)), 10) / 1e6;
}

let last = performance.now();
let ranLast = ranMs();
let longestMs = 0;
let collectorLongestMs = 0;
let stalls: Stall[] = [];
/** Pauses of the collector that ended lately: the observer is told of them after the turn. */
let pauses: { readonly begin: number; readonly end: number }[] = [];

new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    collectorLongestMs = Math.max(collectorLongestMs, duration);
    pauses.push({ begin: startTime, end: startTime + duration });
  }
}).observe({ entryTypes: ["gc"] });

setInterval(() => {
  const now = performance.now();
  const tookMs = now - last - 1;
  const ran = ranMs();
  if (tookMs > longestMs) longestMs = tookMs;
  if (tookMs >= STALL_MS_MIN) {
    const [begin, end] = [last, now];
    const profileMicroseconds = Number(process.hrtime.bigint() / 1000n);
    const noted = { endedAt: Date.now(), tookMs, ranMs: ran - ranLast, profileMicroseconds };
    // The observer hears of the pauses in a later turn.
    setTimeout(() => {
      const within = pauses.map((pause) => Math.max(0, Math.min(end, pause.end) - Math.max(begin, pause.begin)));
      stalls.push({ ...noted, collectorMs: within.reduce((sum, ms) => sum + ms, 0) });
    }, 20).unref();
  }
  last = now;
  ranLast = ran;
}, 1).unref();

setInterval(() => {
  const line: ProbeLine = { probe: { at: Date.now(), longestMs, collectorMs: collectorLongestMs, stalls } };
  process.stderr.write(`${JSON.stringify(line)}\n`);
  longestMs = 0;
  collectorLongestMs = 0;
  stalls = [];
  pauses = pauses.filter(({ end }) => end > performance.now() - PROBE_INTERVAL_MS);
}, PROBE_INTERVAL_MS).unref();
