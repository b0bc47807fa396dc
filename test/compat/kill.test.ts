/** What was acknowledged survives SIGKILL. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { describeReport, killUnderLoad } from "./kill.js";

test(
  "killed under load, a member has every acknowledged put and no gap in its revisions",
  { skip: skipReason() },
  async (t) => {
    const seed = chooseSeed(process.env["WALNUT_SEED"]);
    const report = await killUnderLoad(
      {
        binary: underTest(),
        kills: Number(process.env["WALNUT_KILLS"] ?? 5),
        puts: 600,
        inFlight: 50,
        snapshotCount: 400,
        seed,
      },
      () => {},
    );
    t.diagnostic(`seed ${seed}: ${describeReport(report)}`);
    assert.ok(report.acknowledged > 0);
  },
);
