/** Members change their program one by one and nothing is lost. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { describeReport, roll } from "./rolling.js";

test(
  "three members go from real etcd to Walnut and back under load, and nothing is lost",
  { skip: skipReason() },
  async (t) => {
    const options = {
      from: etcd("newest"),
      to: underTest(),
      members: 3,
      puts: Number(process.env["WALNUT_PUTS"] ?? 3_000),
      snapshotCount: 500,
      seed: chooseSeed(process.env["WALNUT_SEED"]),
    };
    t.diagnostic(`seed ${options.seed}`);
    const report = await roll(options, (text) => t.diagnostic(text));
    t.diagnostic(describeReport(report));
    assert.equal(report.changes, 2 * options.members);
  },
);
