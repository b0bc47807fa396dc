/**
 * What a run of the bench found, as Markdown: the tables of `docs/performance.md`, between two marks.
 */
import type { LoadFigures } from "./load-play.js";
import type { Ceiling } from "./load/ceiling.js";
import type { SizeRow } from "./large-stores.js";
import { ratio } from "./comparison.js";
import { describeSpread, readable, type Spread } from "./figures.js";

export interface LoadRow {
  readonly name: string;
  readonly title: string;
  readonly of: Readonly<Record<string, LoadFigures>>;
}

/** Throughput by `h2load`, more is better. */
export interface H2loadRow {
  readonly title: string;
  readonly of: Readonly<Record<string, Spread>>;
}

/** Plain data: it can be kept as JSON. */
export interface Report {
  readonly machine: string;
  readonly rounds: number;
  readonly seconds: number;
  /** The first seconds of a round, which did not count. */
  readonly settleSeconds: number;
  readonly servers: readonly string[];
  /** The one whose ratios are told. */
  readonly judged: string;
  readonly ceilings: readonly Ceiling[];
  readonly loads: readonly LoadRow[];
  readonly h2loads: readonly H2loadRow[];
  readonly sizes: readonly SizeRow[];
}

export const BEGIN_MARK = "<!-- bench: what follows is written by `npm run bench -- --write` -->";
export const END_MARK = "<!-- bench: end -->";

/** The page with the report where the last one was. @throws when the page has no place for it */
export function placeReport(page: string, report: string): string {
  const begin = page.indexOf(BEGIN_MARK);
  const end = page.indexOf(END_MARK);
  if (begin < 0 || end < begin) throw new Error(`the page needs the lines '${BEGIN_MARK}' and '${END_MARK}'`);
  return `${page.slice(0, begin + BEGIN_MARK.length)}\n\n${report}\n${page.slice(end)}`;
}

/** @param picture where the picture lies, from the page */
export function markdown(report: Report, picture: string): string {
  const { machine, rounds, seconds, settleSeconds, ceilings, loads, h2loads, sizes } = report;
  const parts = [
    `${machine}. ${rounds === 1 ? "One round" : `Medians (lowest to highest) of ${rounds} rounds`} of ${seconds} s after ${settleSeconds} that do not count, the servers in turns.`,
    `![Walnut beside etcd](${picture})`,
  ];
  if (loads.length > 0) {
    parts.push("Calls a second:", throughput(report));
    parts.push(
      "Latency in milliseconds, p50 / p99 / largest (medians of the rounds, the largest of all):",
      latencies(report),
    );
    parts.push("Processor seconds for 100,000 calls:", processorTime(report));
  }
  if (h2loads.length > 0) parts.push("By `h2load`, calls a second:", spreads(report, h2loads, Math.max));
  if (sizes.length > 0) {
    const titled = sizes.map((row) => ({ ...row, title: `${row.title}, ${row.unit}` }));
    parts.push("Less is better:", spreads(report, titled, Math.min));
  }
  if (ceilings.length > 0) {
    parts.push(
      "What the generators get out of a server that does nothing, puts of 256 bytes a second:",
      table(
        ["in flight", "this generator", "µs of a core a call", "`h2load`"],
        ceilings.map(({ inFlight, generatorPerSecond, generatorMicroseconds, h2loadPerSecond }) => [
          inFlight.toLocaleString("en-US"),
          ...[generatorPerSecond, generatorMicroseconds, h2loadPerSecond].map(readable),
        ]),
      ),
    );
  }
  return `${parts.join("\n\n")}\n`;
}

function throughput(report: Report): string {
  const rows = report.loads.map(({ title, of }) => ({ title, of: pick(of, ({ perSecond }) => perSecond) }));
  return spreads(report, rows, Math.max);
}

function latencies({ loads, servers }: Report): string {
  const cell = ({ latencyMs: { p50, p99, max } }: LoadFigures): string =>
    [p50.median, p99.median, max].map(readable).join(" / ");
  return table(
    ["", ...servers],
    loads.map(({ title, of }) => [title, ...servers.map((server) => cell(of[server]!))]),
  );
}

function processorTime({ loads, servers }: Report): string {
  return table(
    ["", ...servers, "generator beside them"],
    loads.map(({ title, of }) => {
      const own = servers.map((server) => of[server]!.generatorCpuSeconds.median);
      const range = [Math.min(...own), Math.max(...own)].map(readable);
      const cells = servers.map((server) => readable(of[server]!.serverCpuSeconds.median));
      return [title, ...cells, range[0] === range[1] ? range[0]! : range.join(" to ")];
    }),
  );
}

function spreads(
  { servers, judged }: Report,
  rows: readonly H2loadRow[],
  best: (a: number, b: number) => number,
): string {
  return table(
    ["", ...servers, "ratio"],
    rows.map(({ title, of }) => {
      const others = Object.entries(of).filter(([server]) => server !== judged);
      const found = of[judged] === undefined ? undefined : ratio(of[judged], others, best);
      const cells = servers.map((server) => (of[server] === undefined ? "" : describeSpread(of[server])));
      return [title, ...cells, found === undefined ? "" : found.value.toFixed(2)];
    }),
  );
}

/** One figure of each server. */
export function pick<T>(of: Readonly<Record<string, T>>, figure: (of: T) => Spread): Readonly<Record<string, Spread>> {
  return Object.fromEntries(Object.entries(of).map(([server, figures]) => [server, figure(figures)]));
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
}
