/** Samples of the campaigns in `test/campaigns/wal-*.ts`; `WALNUT_WAL_STEP=1` takes every bit here, too. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SimRandom } from "../../sim/index.js";
import { DamageCampaign, noCounts, sampleLog } from "./testing/bits-campaign.js";
import { crashEverywhere, noCrashCounts, tellStory } from "./testing/crash-campaign.js";
import { shapes, tear } from "./testing/torn-campaign.js";

const STEP = Number(process.env["WALNUT_WAL_STEP"] ?? 331);

test("no flipped bit, zeroed sector or cut is silent", async (t) => {
  const files = await sampleLog();
  const campaign = await DamageCampaign.begin(files);
  const counts = noCounts();
  for (const path of files.keys()) {
    await campaign.flipBits(path, counts, STEP, STEP % 8);
    await campaign.fillSectors(path, counts, 0);
    await campaign.fillSectors(path, counts, 0xff);
    await campaign.cut(path, counts, STEP);
  }
  assert.equal(counts.neverWritten, 0);
  assert.ok(counts.refused > 0);
  assert.ok(counts.flagged > 0);
  t.diagnostic(`${counts.refused} refused, ${counts.flagged} flagged, ${counts.same} read the same, none silent`);
});

test("opening for writing comes to the verdict that reading came to, and a refused log is not touched", async () => {
  const files = await sampleLog();
  const campaign = await DamageCampaign.begin(files);
  const random = new SimRandom(5);
  const paths = [...files.keys()];
  for (let i = 0; i < 60; i++) {
    const path = paths[i % 3 === 0 ? paths.length - 1 : random.below(paths.length)]!;
    const bit = random.below(files.get(path)!.length * 8);
    assert.equal(await campaign.openFlipped(path, bit), await campaign.readFlipped(path, bit), `bit ${bit} of ${path}`);
  }
});

test("a torn last save opens right, whatever sectors arrived", async (t) => {
  const counts = { states: 0, none: 0, some: 0, all: 0, flagged: 0 };
  for (const shape of shapes(20, 5, 1)) await tear(shape, counts);
  assert.ok(counts.none > 0);
  assert.ok(counts.some > 0);
  assert.ok(counts.all >= 20);
  t.diagnostic(`${counts.states} states`);
});

test("power may fail at any disk operation, and again while opening", async (t) => {
  const counts = noCrashCounts();
  await crashEverywhere(await tellStory(45, 1), counts, { seed: 1, step: 1, draws: 1, againEvery: 23 });
  assert.ok(counts.repaired > 0);
  t.diagnostic(`${counts.places} places, ${counts.states} states, ${counts.againStates} after a second failure`);
});
