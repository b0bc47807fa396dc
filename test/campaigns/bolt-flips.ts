/**
 * Flips bits of a database of about 1 MB: `node dist/test/campaigns/bolt-flips.js [FLIPS] [SEED]`; 200,000 and 1 unless told.
 * Afterwards a tenth as many with the seals taken off, as bbolt would have written the file.
 */
import { runFlips } from "../../src/bolt/testing/flip-campaign.js";

const flips = Number(process.argv[2] ?? 200_000);
const seed = Number(process.argv[3] ?? 1);
for (const seals of [true, false]) {
  const counts = await runFlips(seed, seals ? flips : Math.ceil(flips / 10), seals);
  const { byCode, ...figures } = counts;
  console.log(
    seals ? "pages as Walnut writes them:" : "pages as bbolt writes them:",
    figures,
    Object.fromEntries(byCode),
  );
  if (seals && counts.silentPayload > 0) process.exitCode = 1;
}
