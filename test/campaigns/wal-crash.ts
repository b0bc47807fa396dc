/**
 * Power fails at every disk operation of a scripted run, and again during the opening that follows:
 *
 *     node dist/test/campaigns/wal-crash.js [SAVES] [DRAWS] [SEED]       200 saves, 3 draws a mode, seed 1 when left out
 */
import { crashEverywhere, noCrashCounts, tellStory } from "../../src/wal/testing/crash-campaign.js";

const [saves, draws, seed] = [2, 3, 4].map((i) => Number(process.argv[i] ?? [0, 0, 200, 3, 1][i]));
const started = performance.now();
const story = await tellStory(saves!, seed!);
const counts = noCrashCounts();
await crashEverywhere(story, counts, { seed: seed!, step: 1, draws: draws!, againEvery: 17 });
const labels = new Set(story.disk.journal.map((_, i) => story.disk.label(i)));
console.log(
  `${story.saves.length} saves, ${story.snapshots.length} snapshots, ${story.disk.journal.length} disk operations`,
);
console.log(
  `${counts.places} places x 3 modes, ${counts.states} states opened right (${labels.size} distinct operations)`,
);
console.log(`${counts.flagged} with a flagged end, ${counts.repaired} repaired`);
console.log(
  `power failed again at ${counts.againPlaces} places of openings; ${counts.againStates} states opened right`,
);
console.log(`seed ${seed}, ${((performance.now() - started) / 1000).toFixed(1)} s`);
