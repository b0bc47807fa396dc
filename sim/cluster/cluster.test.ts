/** The simulated cluster itself: that it repeats, that a healthy server passes, and that it sees what is wrong with a sick one. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { test } from "node:test";
import { CANARIES, checkApplies } from "./canaries.js";
import { patched } from "./canary-hooks.js";
import { runSeed } from "./run-seed.js";

const SEEDS = Number(process.env["WALNUT_SIM_SEEDS"] ?? 12);
/** Seeds by which every canary is found at the latest (`npm run sim:canaries`). */
const CANARY_SEEDS = 200;

test("seeds break no law, and each gives the same trace twice", async (t) => {
  let operations = 0;
  for (let seed = 1; seed <= SEEDS; seed++) {
    const first = await runSeed(seed);
    assert.equal(first.violation, undefined, `npm run sim -- --seed ${seed}: ${first.violation?.text}`);
    operations += first.counts["operations"] ?? 0;
    if (seed % 4 !== 0) continue;
    const second = await runSeed(seed);
    assert.equal(second.traceHash, first.traceHash, `seed ${seed} does not repeat`);
    assert.deepEqual(second.counts, first.counts);
  }
  t.diagnostic(`${SEEDS} seeds, ${operations} operations`);
  assert.ok(operations > 50 * SEEDS, `only ${operations} operations were tried`);
});

test("different seeds give different traces", async () => {
  const [first, second] = [await runSeed(1, { members: 1 }), await runSeed(2, { members: 1 })];
  assert.notEqual(first.traceHash, second.traceHash);
});

test("every canary applies to the server as it is", () => {
  for (const canary of CANARIES) checkApplies(canary);
  assert.equal(new Set(CANARIES.map(({ name }) => name)).size, CANARIES.length);
});

test("a canary whose place is gone, or is there twice, is told", () => {
  assert.equal(patched("a b c", "b", "x", "here"), "a x c");
  assert.throws(() => patched("a c", "b", "x", "here"), /no longer applies.* 0 times/);
  assert.throws(() => patched("b b", "b", "x", "here"), /no longer applies.* 2 times/);
});

for (const canary of ["ack-before-fsync", "read-before-applied"]) {
  test(`a server with the mistake "${canary}" is found out`, () => {
    const main = fileURLToPath(new URL("./main.js", import.meta.url));
    const args = [main, "--canary", canary, "--seeds", String(CANARY_SEEDS)];
    const { status, stdout } = spawnSync(process.execPath, args, { encoding: "utf8" });
    assert.match(stdout, new RegExp(`^${canary}: found by seed \\d+`));
    assert.equal(status, 0);
  });
}
