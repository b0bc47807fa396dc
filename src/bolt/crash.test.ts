import assert from "node:assert/strict";
import { test } from "node:test";
import { runCrashes } from "./testing/crash-campaign.js";

test("whenever power fails, the file opens with the last acknowledged commit or one on its way", async (t) => {
  const commits = Number(process.env["BOLT_CRASH_COMMITS"] ?? 24);
  const counts = await runCrashes(Number(process.env["BOLT_SEED"] ?? 1), commits, 2, 1);
  assert.ok(counts.positions > commits);
  t.diagnostic(
    `${counts.positions} places x ${counts.modes} modes: ${counts.crashes} crashes, ${counts.secondCrashes} second ones`,
  );
});
