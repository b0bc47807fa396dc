/** A learner is brought up beside a cluster that goes on. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { describeReport, joinLearner } from "./learner.js";

test(
  "a learner behind a slow wire is sent the database, catches up with the writes and becomes a voter",
  { skip: skipReason() },
  async (t) => {
    const report = await joinLearner(
      { binary: underTest(), megabytes: 12, perSecond: 1_000, seconds: 2, wireMegabytes: 5 },
      (text) => t.diagnostic(text),
    );
    t.diagnostic(describeReport(report));
    assert.equal(report.before.failed + report.during.failed + report.after.failed, 0, "no put failed");
    assert.ok(report.wireMegabytes >= report.megabytes, "the database went over the wire");
  },
);
