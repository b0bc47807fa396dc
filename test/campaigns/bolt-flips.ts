/**
 * Flips bits of databases of about 1 MB: `node dist/test/campaigns/bolt-flips.js [FLIPS] [SEED]`; 200,000 and 1 unless told, a new
 * database after each 10,000. A tenth as many with the seals taken off, as bbolt would have written the file.
 */
import { installFastChecksum } from "../../src/platform/node/index.js";
import { runFlips } from "../../src/bolt/testing/flip-campaign.js";

const FLIPS_PER_DATABASE = 10_000;
const flips = Number(process.argv[2] ?? 200_000);
const firstSeed = Number(process.argv[3] ?? 1);
installFastChecksum();
let done = 0;
let silent = 0;
for (let seed = firstSeed; done < flips; seed++) {
  const count = Math.min(FLIPS_PER_DATABASE, flips - done);
  const { byCode, ...figures } = await runFlips(seed, count, true);
  done += count;
  silent += figures.silentPayload;
  console.log(`seed ${seed}: ${JSON.stringify(figures)} ${JSON.stringify(Object.fromEntries(byCode))}`);
  const { byCode: codes, ...bare } = await runFlips(seed, Math.ceil(count / 10), false);
  console.log(`  as bbolt writes it: ${JSON.stringify(bare)} ${JSON.stringify(Object.fromEntries(codes))}`);
}
console.log(`${done} flips in pages as Walnut writes them: ${silent} wrong answers that nothing told`);
process.exitCode = silent === 0 ? 0 : 1;
