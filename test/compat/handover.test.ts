/** Real etcd's directory is Walnut's, and Walnut's is real etcd's. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { handover, type HandoverOptions } from "./handover.js";

const SWAPS = Number(process.env["WALNUT_SWAPS"] ?? 4);

const small = (): HandoverOptions => ({
  puts: Number(process.env["WALNUT_PUTS"] ?? 2_000),
  keys: 300,
  keyBytes: 40,
  valueBytes: 256,
  inFlight: 50,
  chain: [etcd("3.5.16"), underTest(), etcd("newest"), underTest()],
  swaps: SWAPS,
  stop: "clean",
  snapshotCount: 500,
  more: 300,
  seed: chooseSeed(process.env["WALNUT_SEED"]),
});

test(
  "a directory goes from etcd 3.5.16 to Walnut to 3.5.30 and on, and nothing is lost",
  { skip: skipReason() },
  async (t) => {
    const options = small();
    t.diagnostic(`seed ${options.seed}`);
    const steps = await handover(options, (text) => t.diagnostic(text));
    assert.equal(steps.length, SWAPS + 1);
    assert.ok(
      steps.every(({ snapshots }) => snapshots > 0),
      "each directory held a .snap",
    );
  },
);

test(
  "so does a directory whose server was killed while it wrote, Walnut's own first",
  { skip: skipReason() },
  async (t) => {
    const options = {
      ...small(),
      stop: "kill",
      chain: [underTest(), etcd("newest"), underTest(), etcd("3.5.16")],
    } as const;
    t.diagnostic(`seed ${options.seed}`);
    const steps = await handover(options, (text) => t.diagnostic(text));
    assert.equal(steps.length, SWAPS + 1);
  },
);
