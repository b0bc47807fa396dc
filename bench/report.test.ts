/** What a report says of its figures, in words and as a picture. */
import assert from "node:assert/strict";
import test from "node:test";
import { ratio } from "./comparison.js";
import { describeSpread, median, readable, spread } from "./figures.js";
import type { LoadFigures } from "./load-play.js";
import { picture } from "./picture.js";
import { BEGIN_MARK, END_MARK, markdown, placeReport, type Report } from "./report.js";

const figures = (perSecond: number): LoadFigures => ({
  perSecond: spread([perSecond, perSecond * 1.1, perSecond * 0.9]),
  latencyMs: { p50: spread([1.5]), p99: spread([9]), max: 31 },
  serverCpuSeconds: spread([4.25]),
  generatorCpuSeconds: spread([0.5]),
});

const report: Report = {
  machine: "2026-11-25, a machine; quiet",
  rounds: 3,
  seconds: 2,
  settleSeconds: 0.2,
  servers: ["etcd-3.5.16", "etcd-3.5.30", "walnut"],
  judged: "walnut",
  ceilings: [{ inFlight: 100, generatorPerSecond: 300_000, h2loadPerSecond: 150_000, generatorMicroseconds: 1.5 }],
  loads: [
    {
      name: "put",
      title: "put <one key>",
      of: { "etcd-3.5.16": figures(20_000), "etcd-3.5.30": figures(10_000), walnut: figures(50_000) },
    },
  ],
  h2loads: [{ title: "put", of: { "etcd-3.5.16": spread([1]), "etcd-3.5.30": spread([2]), walnut: spread([3]) } }],
  sizes: [
    {
      name: "boot",
      title: "boot on `db`",
      unit: "s",
      of: { "etcd-3.5.16": spread([4]), "etcd-3.5.30": spread([2]), walnut: spread([40]) },
    },
  ],
};

test("a ratio is against the better of the others", () => {
  const others = [["slow", spread([10])] as const, ["fast", spread([20])] as const];
  assert.deepEqual(ratio(spread([50]), others, Math.max), { against: "fast", value: 2.5 });
  assert.deepEqual(ratio(spread([50]), others, Math.min), { against: "slow", value: 5 });
  assert.equal(ratio(spread([50]), [], Math.max), undefined);
});

test("the tables hold every figure", () => {
  const text = markdown(report, "bench.svg");
  for (const line of [
    "![Walnut beside etcd](bench.svg)",
    "| put <one key> | 20,000 (18,000 to 22,000) | 10,000 (9,000 to 11,000) | 50,000 (45,000 to 55,000) | 2.50 |",
    "| put <one key> | 1.50 / 9.00 / 31.0 | 1.50 / 9.00 / 31.0 | 1.50 / 9.00 / 31.0 |",
    "| put <one key> | 4.25 | 4.25 | 4.25 | 0.500 |",
    "| put | 1.00 | 2.00 | 3.00 | 1.50 |",
    "| boot on `db`, s | 4.00 | 2.00 | 40.0 | 20.00 |",
    "| 100 | 300,000 | 1.50 | 150,000 |",
  ]) {
    assert.ok(text.split("\n").includes(line), `${line}\nis not in\n${text}`);
  }
});

test("the picture has a bar for each server in each row, cut at the scale's end, and is well-formed", () => {
  const svg = picture(report);
  const bars = [...svg.matchAll(/<rect x="326" y="[\d.]+" width="([\d.]+)"/g)].map((match) => Number(match[1]));
  assert.equal(bars.length, 6);
  const [one, half, judged, slower, base, cut] = bars;
  const close = (a: number, b: number): void => assert.ok(Math.abs(a - b) <= 0.2, `${a} is not about ${b}`);
  close(half!, one! / 2);
  close(judged!, one! * 2.5);
  close(base!, one!);
  close(slower!, base! * 2);
  close(cut!, base! * 4);
  assert.match(svg, /put &lt;one key&gt;/);
  const open: string[] = [];
  for (const [, closing, name, , alone] of svg.matchAll(/<(\/?)([a-z]+)([^>]*?)(\/?)>/g)) {
    if (closing === "/") assert.equal(open.pop(), name);
    else if (alone !== "/") open.push(name!);
  }
  assert.deepEqual(open, []);
});

test("a report takes the place of the last one, and nothing else", () => {
  const page = `# Title\n\n${BEGIN_MARK}\n\nold\n\n${END_MARK}\n\n## After\n`;
  assert.equal(placeReport(page, "new\n"), page.replace("old", "new"));
  assert.throws(() => placeReport("# Title\n", "new\n"), /the page needs the lines/);
});

test("figures are told with three digits", () => {
  const told = [0, 0.0123, 0.5, 1.234, 12.34, 123.4, 12_345.6].map(readable).join(" ");
  assert.equal(told, "0 0.012 0.500 1.23 12.3 123 12,346");
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.equal(describeSpread(spread([5, 5])), "5.00");
  assert.equal(describeSpread(spread([5, 7, 6])), "6.00 (5.00 to 7.00)");
});
