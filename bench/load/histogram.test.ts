/** What the histogram says of times, against the sorted times themselves. */
import assert from "node:assert/strict";
import test from "node:test";
import { chooseSeed, SeededRandom } from "../../test/support/random.js";
import { Histogram } from "./histogram.js";

test("nothing recorded is told as zero", () => {
  const histogram = new Histogram();
  assert.equal(histogram.percentileMs(0.99), 0);
  assert.equal(histogram.maxMs, 0);
  assert.equal(histogram.meanMs, 0);
});

test("a percentile is not below the true one and at most a sixty-fourth above it", (t) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  t.diagnostic(`seed ${seed}`);
  const random = new SeededRandom(seed);
  const histogram = new Histogram();
  // Whole microseconds, as likely small as large: from 1 µs to 67 s.
  const times = Array.from({ length: 20_000 }, () => random.between(1, 2 ** random.between(1, 27)) / 1000);
  for (const ms of times) histogram.record(ms);
  times.sort((a, b) => a - b);
  for (const share of [0.0001, 0.01, 0.5, 0.9, 0.99, 0.999, 1]) {
    const truth = times[Math.ceil(times.length * share) - 1]!;
    const told = histogram.percentileMs(share);
    assert.ok(told >= truth - 1e-9, `${share}: told ${told}, was ${truth}`);
    assert.ok(told <= truth * (1 + 1 / 64) + 1e-9, `${share}: told ${told}, was ${truth}`);
  }
  assert.equal(histogram.maxMs, times.at(-1));
  assert.equal(histogram.count, times.length);
});

test("every edge between two buckets keeps its value", () => {
  for (const microseconds of [0, 1, 63, 64, 127, 128, 129, 255, 256, 4095, 4096, 2 ** 31, 2 ** 32 - 1]) {
    const histogram = new Histogram();
    histogram.record(microseconds / 1000);
    histogram.record(2 ** 33); // so that the largest value does not mend what the bucket says
    const told = histogram.percentileMs(0.5) * 1000;
    assert.ok(told >= microseconds - 1e-3, `${microseconds} was told as ${told}`);
    assert.ok(told <= microseconds * (1 + 1 / 64) + 1e-3, `${microseconds} was told as ${told}`);
  }
});

test("a cleared histogram has forgotten all", () => {
  const histogram = new Histogram();
  histogram.record(5);
  histogram.clear();
  histogram.record(1);
  assert.equal(histogram.count, 1);
  assert.equal(histogram.maxMs, 1);
  assert.equal(histogram.percentileMs(1), 1);
});
