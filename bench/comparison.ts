/**
 * Servers compared in turns: what every bench of this folder does, whatever it measures.
 *
 * Laws: one server runs at a time; the servers change places every round, since who goes first meets a colder machine; where
 * something must be there before, a round that does not count goes before the first one and makes it.
 */
import type { ServerBinary } from "../test/support/binaries.js";
import type { Seat, Server, Stage, StartOptions } from "../test/support/servers.js";
import { readable, spread, type Spread } from "./figures.js";

/** One side of a comparison: a server, or a cluster of them, that is started for each round anew. */
export interface Contestant {
  readonly name: string;
  /** Starts it and gives the server that is to be asked: the leader, where there are several. */
  begin(): Promise<Server>;
  /** Stops it; checks first what must hold after a round. */
  end(): Promise<void>;
}

/** One server, on a seat of its own that stays the same over the rounds. */
export class SeatedContestant implements Contestant {
  readonly name: string;
  readonly seat: Seat;
  readonly #start: () => Promise<Server>;
  #server: Server | undefined;
  #begunAtMs = 0;

  constructor(stage: Stage, binary: ServerBinary, seat: Seat, options: StartOptions = {}) {
    this.name = binary.name;
    this.seat = seat;
    this.#start = async () => stage.start(binary, seat, options);
  }

  /** When its process was started last, as `performance.now()` tells. */
  get begunAtMs(): number {
    return this.#begunAtMs;
  }

  async begin(): Promise<Server> {
    this.#begunAtMs = performance.now();
    return (this.#server = await this.#start());
  }

  async end(): Promise<void> {
    await this.#server?.stop();
  }
}

/** What is played in each round. */
export interface Play<Round, Side extends Contestant = Contestant> {
  /** Makes what must be there before; without it there is no round before the first. */
  rehearse?(contestant: Side, server: Server): Promise<void>;
  measure(contestant: Side, server: Server): Promise<Round>;
}

/** Lets the contestants take turns; gives the rounds of each, in the order of the contestants. */
export async function inTurns<Round, Side extends Contestant>(
  contestants: readonly Side[],
  rounds: number,
  play: Play<Round, Side>,
): Promise<Round[][]> {
  const results: Round[][] = contestants.map(() => []);
  for (let round = play.rehearse === undefined ? 0 : -1; round < rounds; round++) {
    const order = [...contestants.entries()];
    if (round % 2 === 0) order.reverse();
    for (const [i, contestant] of order) {
      const server = await contestant.begin();
      if (round === -1) await play.rehearse!(contestant, server);
      else results[i]!.push(await play.measure(contestant, server));
      await contestant.end();
    }
  }
  return results;
}

/** A figure over the best of the others. */
export interface Ratio {
  readonly against: string;
  readonly value: number;
}

/**
 * A side's median over that of the best of the others; `undefined` where there are none.
 * @param best which of two medians is the better one: `Math.max` or `Math.min`
 */
export function ratio(
  judged: Spread,
  others: readonly (readonly [name: string, figure: Spread])[],
  best: (a: number, b: number) => number,
): Ratio | undefined {
  if (others.length === 0) return undefined;
  const [name, { median }] = others.reduce((a, b) => (best(a[1].median, b[1].median) === a[1].median ? a : b));
  return { against: name, value: judged.median / median };
}

/** Prints each side's rounds and the ratio of the judged one to the fastest other. @param judged its place */
export function printSpeeds(
  names: readonly string[],
  speeds: readonly (readonly number[])[],
  judged: number,
  describe: (side: number) => string,
): void {
  for (const [i, name] of names.entries()) console.log(`  ${name.padEnd(12)} ${describe(i)}`);
  const figures = names.map((name, i) => [name, spread(speeds[i]!)] as const);
  const found = ratio(
    figures[judged]![1],
    figures.filter((_, i) => i !== judged),
    Math.max,
  );
  if (found !== undefined) console.log(`  ratio ${names[judged]} / ${found.against}: ${readable(found.value)}`);
}
