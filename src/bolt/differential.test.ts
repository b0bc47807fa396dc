import assert from "node:assert/strict";
import { test } from "node:test";
import { findGoBolt } from "./testing/go-bolt.js";
import { runDifferential } from "./testing/go-differential.js";

const go = findGoBolt();
if (go.kind === "missing") {
  console.log(`differential tests against Go's bbolt are left out: ${go.why}`);
} else {
  test("Go's bbolt and Walnut read and change each other's files alike", async (t) => {
    const seeds = Number(process.env["BOLT_SEEDS"] ?? 6);
    let keys = 0;
    for (let seed = 1; seed <= seeds; seed++) keys += (await runDifferential(go.tool, seed, 6)).keysCompared;
    assert.ok(keys > 0);
    t.diagnostic(`${seeds} files of 6 rounds, ${keys} keys compared`);
  });
}
