/**
 * Times of many requests in little memory: a histogram with log-linear buckets, and what it says of its percentiles.
 *
 * Laws: recording allocates nothing; a value is told to within 1/64 of itself, and a percentile is never told smaller than it was;
 * the largest value is kept as it is.
 *
 * Buckets, for whole microseconds: below 128 each value has its own; from there every doubling is cut into 64 of equal width.
 */

/** Two to this power of buckets for each doubling. */
const PRECISION_BITS = 6;
const PER_DOUBLING = 2 ** PRECISION_BITS;
/** 2^32 µs are more than an hour: 26 doublings above the first 64 values. */
const BUCKETS = (32 - PRECISION_BITS + 1) * PER_DOUBLING;
const MICROSECONDS_MAX = 2 ** 32 - 1;

export class Histogram {
  readonly #counts = new Uint32Array(BUCKETS);
  #count = 0;
  #maxMs = 0;
  #sumMs = 0;

  /** @param ms a time, not negative */
  record(ms: number): void {
    this.#counts[bucketOf(Math.min(MICROSECONDS_MAX, Math.round(ms * 1000)))]!++;
    this.#count++;
    this.#sumMs += ms;
    if (ms > this.#maxMs) this.#maxMs = ms;
  }

  clear(): void {
    this.#counts.fill(0);
    this.#count = 0;
    this.#maxMs = 0;
    this.#sumMs = 0;
  }

  get count(): number {
    return this.#count;
  }

  /** The largest time; 0 where nothing was recorded. */
  get maxMs(): number {
    return this.#maxMs;
  }

  /** 0 where nothing was recorded. */
  get meanMs(): number {
    return this.#count === 0 ? 0 : this.#sumMs / this.#count;
  }

  /** The time within which `share` of all ended; 0 where nothing was recorded. @param share in (0, 1] */
  percentileMs(share: number): number {
    const wanted = Math.ceil(this.#count * share);
    if (wanted === 0) return 0;
    let seen = 0;
    let bucket = 0;
    while ((seen += this.#counts[bucket]!) < wanted) bucket++;
    return Math.min(this.#maxMs, largestOf(bucket) / 1000);
  }
}

function bucketOf(microseconds: number): number {
  const doublings = Math.max(0, 31 - Math.clz32(microseconds) - PRECISION_BITS);
  return doublings * PER_DOUBLING + (microseconds >>> doublings);
}

/** The largest value that falls into a bucket. */
function largestOf(bucket: number): number {
  const doublings = Math.max(0, Math.floor(bucket / PER_DOUBLING) - 1);
  const low = bucket - doublings * PER_DOUBLING;
  return (low + 1) * 2 ** doublings - 1;
}
