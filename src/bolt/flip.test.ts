import assert from "node:assert/strict";
import { test } from "node:test";
import { runFlips } from "./testing/flip-campaign.js";

const seed = Number(process.env["BOLT_SEED"] ?? 1);
const flips = Number(process.env["BOLT_FLIPS"] ?? 500);

test("a flipped bit gives the right answer or a named error", async (t) => {
  const counts = await runFlips(seed, flips, true);
  assert.ok(counts.namedWhenRead > 0);
  assert.equal(counts.silentPayload, 0);
  t.diagnostic(JSON.stringify({ ...counts, byCode: Object.fromEntries(counts.byCode) }));
});

test("in a file that bbolt wrote, only bits of keys, values and element sizes can flip unseen", async (t) => {
  const counts = await runFlips(seed, Math.ceil(flips / 2), false);
  assert.ok(counts.namedWhenRead > 0);
  t.diagnostic(JSON.stringify({ ...counts, byCode: Object.fromEntries(counts.byCode) }));
});
