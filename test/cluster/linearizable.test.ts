/** Members are killed and stopped, and the cluster is one store all the same. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { describeReport, judgeCluster } from "./linearizable.js";

test(
  "with members killed and stopped at random, every answer to five clients fits one order of their requests",
  { skip: skipReason() },
  async (t) => {
    const seed = chooseSeed(process.env["WALNUT_SEED"]);
    const report = await judgeCluster(
      {
        binaries: [underTest(), underTest(), underTest()],
        seconds: Number(process.env["WALNUT_SECONDS"] ?? 14),
        clients: 5,
        perSecond: 300,
        snapshotCount: 200,
        seed,
      },
      (text) => t.diagnostic(text),
    );
    t.diagnostic(`seed ${seed}: ${describeReport(report)}`);
    assert.ok(report.answered > 100, `${report.answered} answered`);
  },
);
