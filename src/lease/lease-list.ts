/**
 * All leases in the order in which they run out, for any number of them: gathered, sorted and named in slices of a few milliseconds.
 * Leases may come and go in between; what is answered was there at some moment of the walk.
 *
 * A lease is sorted as one number, when it runs out and its row: runs by the typed array's own sort, then two runs at a time into one.
 */
import type { LeaseExpiry } from "./lease-expiry.js";
import type { LeaseRows } from "./lease-rows.js";

/** Rows, or numbers to sort or merge, between two pauses. */
const SLICE = 16_384;
const ROWS_MAX = 2 ** 27;
/** Of so many milliseconds each, beginning now; what runs out behind the last one (77 days) is in the order of rows. */
const MOMENT_MS = 100;
const MOMENTS_MAX = 2 ** 26 - 1;

/** @param pause resolves when the loop has had its turn */
export async function listLeases(
  rows: LeaseRows,
  expiry: LeaseExpiry,
  now: number,
  pause: () => Promise<void>,
): Promise<BigInt64Array> {
  const sorted = await sortInSlices(await gather(rows, expiry, now, pause), pause);
  const ids = new BigInt64Array(sorted.length);
  let count = 0;
  for (let at = 0; at < sorted.length; at++) {
    const row = sorted[at]! % ROWS_MAX;
    if (rows.isTaken(row)) ids[count++] = rows.idOf(row);
    if (at % SLICE === SLICE - 1) await pause();
  }
  return ids.subarray(0, count);
}

async function gather(
  rows: LeaseRows,
  expiry: LeaseExpiry,
  now: number,
  pause: () => Promise<void>,
): Promise<Float64Array> {
  const { end } = rows;
  const numbers = new Float64Array(end);
  let count = 0;
  for (let row = 0; row < end; row++) {
    if (rows.isTaken(row)) {
      const moment = Math.max(0, Math.min(Math.floor(expiry.leftMs(row, now) / MOMENT_MS), MOMENTS_MAX));
      numbers[count++] = moment * ROWS_MAX + row;
    }
    if (row % SLICE === SLICE - 1) await pause();
  }
  return numbers.subarray(0, count);
}

async function sortInSlices(numbers: Float64Array, pause: () => Promise<void>): Promise<Float64Array> {
  const size = numbers.length;
  for (let from = 0; from < size; from += SLICE) {
    numbers.subarray(from, Math.min(size, from + SLICE)).sort();
    if (from + SLICE < size) await pause();
  }
  let source = numbers;
  let target: Float64Array = new Float64Array(size > SLICE ? size : 0);
  for (let run = SLICE; run < size; run *= 2) {
    for (let from = 0; from < size; from += 2 * run) {
      await mergeRuns(source, target, from, Math.min(size, from + run), Math.min(size, from + 2 * run), pause);
    }
    [source, target] = [target, source];
  }
  return source;
}

/** Merges the runs `[from, middle)` and `[middle, to)`. */
async function mergeRuns(
  source: Float64Array,
  target: Float64Array,
  from: number,
  middle: number,
  to: number,
  pause: () => Promise<void>,
): Promise<void> {
  let left = from;
  let right = middle;
  for (let at = from; at < to; at++) {
    const takesLeft = right === to || (left < middle && source[left]! <= source[right]!);
    target[at] = takesLeft ? source[left++]! : source[right++]!;
    if (at % (4 * SLICE) === 0) await pause();
  }
}
