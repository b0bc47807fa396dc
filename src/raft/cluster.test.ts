/**
 * Random runs of a whole cluster. `RAFT_RUNS=1000` for a campaign, `RAFT_SEED=n` for one run; a failure prints its seed and what
 * happened last.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { describeError } from "../base/errors.js";
import { Cluster } from "./testing/cluster.js";

const RUNS_DEFAULT = 160;
const STEPS = 6_000;

function runSeed(seed: number): Cluster["seen"] {
  const cluster = new Cluster({
    seed,
    members: 5,
    preVote: (seed & 1) !== 0,
    checkQuorum: (seed & 2) !== 0,
    asyncStorageWrites: (seed & 4) !== 0,
    reconfigure: (seed & 8) !== 0,
  });
  try {
    cluster.run(STEPS);
    cluster.settle();
  } catch (error) {
    const story = cluster.lines.join("\n");
    const again = `RAFT_SEED=${seed} node --test dist/src/raft/cluster.test.js`;
    throw new Error(`seed ${seed}: ${describeError(error)}\n${story}\nrepeat with: ${again}`, { cause: error });
  }
  return cluster.seen;
}

test("random runs keep every law of the paper, and settle when the faults end", (t) => {
  const only = process.env["RAFT_SEED"];
  const runs = Number(process.env["RAFT_RUNS"] ?? RUNS_DEFAULT);
  const seeds = only === undefined ? Array.from({ length: runs }, (_, at) => at) : [Number(only)];
  const sum = { leaders: 0, crashes: 0, snapshots: 0, reads: 0, confChanges: 0, applied: 0 };
  for (const seed of seeds) {
    const seen = runSeed(seed);
    for (const key of Object.keys(sum) as (keyof typeof sum)[]) sum[key] += seen[key];
  }
  t.diagnostic(`${seeds.length} runs: ${JSON.stringify(sum)}`);
  if (only !== undefined) return;
  for (const [what, count] of Object.entries(sum)) assert.ok(count > 0, `no ${what} in any run: they prove little`);
});

test("a seed repeats its run exactly", () => {
  assert.deepEqual(runSeed(13), runSeed(13));
});
