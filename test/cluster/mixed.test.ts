/** Real etcd and Walnut are members of one cluster. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { describeReport, playMixed } from "./mixed.js";

const small = () => ({
  puts: Number(process.env["WALNUT_PUTS"] ?? 5_000),
  seed: chooseSeed(process.env["WALNUT_SEED"]),
});

test(
  "two members of etcd and one of Walnut: either leads, all restart, Walnut catches up by a snapshot, joins and leaves",
  { skip: skipReason() },
  async (t) => {
    const options = { ...small(), reference: [etcd("3.5.16"), etcd("newest")], judged: [underTest()] };
    t.diagnostic(`seed ${options.seed}`);
    const report = await playMixed({ ...options, away: ["judged"], guests: [underTest()] }, (text) =>
      t.diagnostic(text),
    );
    t.diagnostic(describeReport(report));
    assert.ok(report.acknowledged >= options.puts);
  },
);

test(
  "so it is with one of etcd and two of Walnut, where etcd catches up, joins and leaves",
  { skip: skipReason() },
  async (t) => {
    const options = { ...small(), reference: [etcd("newest")], judged: [underTest(), underTest()] };
    t.diagnostic(`seed ${options.seed}`);
    const report = await playMixed({ ...options, away: ["reference"], guests: [etcd("3.5.16")] }, (text) =>
      t.diagnostic(text),
    );
    t.diagnostic(describeReport(report));
    assert.ok(report.acknowledged >= options.puts);
  },
);
