/**
 * Power fails at every disk operation of a scripted run, in each loss mode, and once more during the opening:
 * `node dist/test/campaigns/bolt-crashes.js [COMMITS] [SEEDS] [DRAWS]`; 100, 3 and 4 unless told.
 */
import { runCrashes } from "../../src/bolt/testing/crash-campaign.js";

const commits = Number(process.argv[2] ?? 100);
const seeds = Number(process.argv[3] ?? 3);
const draws = Number(process.argv[4] ?? 4);
let places = 0;
let crashes = 0;
let again = 0;
for (let seed = 1; seed <= seeds; seed++) {
  const counts = await runCrashes(seed, commits, draws, 1);
  places += counts.positions;
  crashes += counts.crashes;
  again += counts.secondCrashes;
  console.log(
    `seed ${seed}: ${counts.positions} places x ${counts.modes} modes, ${counts.crashes} crashes, all recovered`,
  );
}
console.log(
  `${places} places x 3 modes: ${crashes} crashes and ${again} second ones, each opened with the right state`,
);
