/**
 * Every subset of the sectors of a torn last save:
 *
 *     node dist/test/campaigns/wal-torn.js [SHAPES] [SECTORS] [SEED]       20 shapes of up to 12 sectors when left out
 */
import { shapes, tear, type TornCounts } from "../../src/wal/testing/torn-campaign.js";

const [count, sectors, seed] = [2, 3, 4].map((i) => Number(process.argv[i] ?? [0, 0, 20, 12, 1][i]));
const started = performance.now();
const counts: TornCounts = { states: 0, none: 0, some: 0, all: 0, flagged: 0 };
for (const shape of shapes(count!, sectors!, seed!)) {
  const before = counts.states;
  await tear(shape, counts);
  console.log(`${shape.name}: ${counts.states - before} subsets`);
}
const { states, none, some, all, flagged } = counts;
console.log(
  `${states} states opened right: ${none} without the torn save, ${some} with a part, ${all} with all of it; ${flagged} flagged`,
);
console.log(`seed ${seed}, ${((performance.now() - started) / 1000).toFixed(1)} s`);
