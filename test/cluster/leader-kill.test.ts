/** What a cluster acknowledged outlives its leaders. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { describeReport, killLeaders, killLeadersThroughEtcdctl } from "./leader-kill.js";

const three = () => Array.from({ length: 3 }, () => underTest());

test(
  "the leader of three is killed under load: every acknowledged put is there, and all members hold the same",
  { skip: skipReason() },
  async (t) => {
    const seed = chooseSeed(process.env["WALNUT_SEED"]);
    const report = await killLeaders(
      {
        binaries: three(),
        kills: Number(process.env["WALNUT_KILLS"] ?? 4),
        puts: 400,
        perSecond: 1_000,
        snapshotCount: 400,
        checkEvery: 2,
        seed,
      },
      (text) => t.diagnostic(text),
    );
    t.diagnostic(`seed ${seed}: ${describeReport(report)}`);
    assert.ok(report.acknowledged > 0);
  },
);

test("so is every put for which etcdctl ended with 0", { skip: skipReason() }, async (t) => {
  const report = await killLeadersThroughEtcdctl({ binaries: three(), kills: 1, puts: 10 }, (text) =>
    t.diagnostic(text),
  );
  assert.ok(report.acknowledged > 10);
});
