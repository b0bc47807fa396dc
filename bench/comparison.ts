/**
 * Servers compared in turns: what every bench of this folder does, whatever it measures.
 *
 * Laws: one server runs at a time; the servers change places every round, since who goes first meets a colder machine; the round
 * before the first one that counts is a rehearsal, in which whatever must be there before is made.
 */
import { readable, spread, type Spread } from "./figures.js";
import type { Server } from "../test/support/servers.js";

/** One side of a comparison: a server, or a cluster of them, that is started for each round anew. */
export interface Contestant {
  readonly name: string;
  /** Starts it and gives the server that is to be asked: the leader, where there are several. */
  begin(): Promise<Server>;
  /** Stops it; checks first what must hold after a round. */
  end(): Promise<void>;
}

/** What is played in each round. */
export interface Play<Round> {
  rehearse(contestant: Contestant, server: Server): Promise<void>;
  measure(contestant: Contestant, server: Server): Promise<Round>;
}

/** Lets the contestants take turns; gives the rounds of each, in the order of the contestants. */
export async function inTurns<Round>(
  contestants: readonly Contestant[],
  rounds: number,
  play: Play<Round>,
): Promise<Round[][]> {
  const results: Round[][] = contestants.map(() => []);
  for (let round = -1; round < rounds; round++) {
    const order = [...contestants.entries()];
    if (round % 2 === 0) order.reverse();
    for (const [i, contestant] of order) {
      const server = await contestant.begin();
      if (round === -1) await play.rehearse(contestant, server);
      else results[i]!.push(await play.measure(contestant, server));
      await contestant.end();
    }
  }
  return results;
}

/** The judged side's figure over that of the best of the others. @param best which of two medians is the better one */
export function ratio(
  judged: string,
  figures: ReadonlyMap<string, Spread>,
  best: (a: number, b: number) => number,
): { readonly against: string; readonly value: number } | undefined {
  const others = [...figures].filter(([name]) => name !== judged);
  const own = figures.get(judged);
  if (own === undefined || others.length === 0) return undefined;
  const against = others.reduce((a, b) => (best(a[1].median, b[1].median) === a[1].median ? a : b));
  return { against: against[0], value: own.median / against[1].median };
}

/** Prints each side's rounds and the ratio of the judged one to the fastest other. */
export function printSpeeds(
  names: readonly string[],
  speeds: readonly (readonly number[])[],
  judged: string,
  describe: (side: number) => string,
): void {
  for (const [i, name] of names.entries()) console.log(`  ${name.padEnd(12)} ${describe(i)}`);
  const figures = new Map(names.map((name, i) => [name, spread(speeds[i]!)]));
  const found = ratio(judged, figures, Math.max);
  if (found !== undefined) console.log(`  ratio ${judged} / ${found.against}: ${readable(found.value)}`);
}
