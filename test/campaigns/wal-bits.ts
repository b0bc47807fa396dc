/**
 * Every bit of a log of several segments flipped, every sector zeroed and filled with ones, every file cut at every byte:
 *
 *     node dist/test/campaigns/wal-bits.js [STEP]       STEP 1 (the default) takes every bit
 */
import { DamageCampaign, noCounts, sampleLog, type Counts } from "../../src/wal/testing/bits-campaign.js";

const step = Number(process.argv[2] ?? 1);
const started = performance.now();
const files = await sampleLog();
const campaign = await DamageCampaign.begin(files);
const bytes = [...files.values()].reduce((sum, file) => sum + file.length, 0);
console.log(`${files.size} segments, ${bytes} bytes, ${bytes * 8} bits`);

async function run(name: string, damage: (path: string, counts: Counts) => Promise<void>): Promise<void> {
  const counts = noCounts();
  for (const path of files.keys()) await damage(path, counts);
  const { refused, flagged, same, neverWritten, codes } = counts;
  const byCode = [...codes].map(([code, count]) => `${code} ${count}`).join(", ");
  const unseen = neverWritten > 0 ? `, ${neverWritten} leave the bytes of a shorter log` : "";
  const total = refused + flagged + same + neverWritten;
  console.log(
    `${name}: ${total} in all: ${refused} refused (${byCode}), ${flagged} flagged, ${same} read the same${unseen}; 0 silent`,
  );
}

await run("bits flipped", (path, counts) => campaign.flipBits(path, counts, step));
await run("sectors zeroed", (path, counts) => campaign.fillSectors(path, counts, 0));
await run("sectors of ones", (path, counts) => campaign.fillSectors(path, counts, 0xff));
await run("files cut", (path, counts) => campaign.cut(path, counts, step));
console.log(`${((performance.now() - started) / 1000).toFixed(1)} s`);
