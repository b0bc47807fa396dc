/** The command of a play that asks two servers the same: `[--seed N] [--requests N] [--left SERVER] [--right SERVER]`. */
import { parseArgs } from "node:util";
import { reference, serverNamed, underTest, type ServerBinary } from "./binaries.js";
import { chooseSeed } from "./random.js";

/** Two servers answered differently. */
export class Disagreement extends Error {
  /** @param run what repeats it: the play's file, its seed, and as many requests as it took */
  constructor(
    { play, seed, requests }: { readonly play: string; readonly seed: number; readonly requests: number },
    what: string,
    left: string,
    right: string,
  ) {
    super(
      [
        `request ${requests} of seed ${seed}: the servers differ.`,
        `repeat: node dist/test/compat/${play}.js --seed ${seed} --requests ${requests}`,
        what,
        `reference:  ${left}`,
        `under test: ${right}`,
      ].join("\n"),
    );
  }
}

/** What the command's line asks for. */
export interface Comparison {
  readonly seed: number;
  readonly requests: number;
  /** The server that is right, by default real etcd. */
  readonly left: ServerBinary;
  /** The server that is judged. */
  readonly right: ServerBinary;
  /** The value of an option that the play has for itself. */
  readonly own: (name: string) => string;
}

/**
 * Runs the command and prints what the comparison tells. What it throws is printed, and makes the exit code 1.
 * @param own options of the play's own, with their defaults
 */
export async function runComparison(
  defaults: { readonly requests: number; readonly own?: Readonly<Record<string, string>> },
  compare: (comparison: Comparison) => Promise<readonly string[]>,
): Promise<void> {
  const names = ["seed", "requests", "left", "right", ...Object.keys(defaults.own ?? {})];
  const { values } = parseArgs({ options: Object.fromEntries(names.map((name) => [name, { type: "string" }])) });
  const given = values as Readonly<Record<string, string | undefined>>;
  const comparison: Comparison = {
    seed: chooseSeed(given["seed"] ?? process.env["WALNUT_SEED"]),
    requests: Number(given["requests"] ?? defaults.requests),
    left: given["left"] === undefined ? reference() : serverNamed(given["left"]),
    right: given["right"] === undefined ? underTest() : serverNamed(given["right"]),
    own: (name) => given[name] ?? defaults.own![name]!,
  };
  const { seed, requests, left, right } = comparison;
  console.log(`${requests} requests of seed ${seed}: ${left.name} (right) against ${right.name} (under test)`);
  try {
    for (const line of await compare(comparison)) console.log(line);
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  }
}

/** What was refused alike, a line for each text with its count. */
export function describeRefusals(refusals: ReadonlyMap<string, number>): string[] {
  return [...refusals].sort(([a], [b]) => (a < b ? -1 : 1)).map(([text, count]) => `  ${count} x ${text}`);
}
