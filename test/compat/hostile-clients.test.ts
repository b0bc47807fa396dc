/** Hostile clients of a member, a little of each kind. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { chooseSeed } from "../support/random.js";
import { playHostileClients } from "./hostile-clients.js";

test("hostile clients leave a member as it was, and the good ones are served", { skip: skipReason() }, async (t) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  const told: string[] = [];
  await playHostileClients({ binary: underTest(), seed, scale: 0.02, only: "" }, (text) => told.push(text));
  for (const line of told) t.diagnostic(`seed ${seed}: ${line}`);
  assert.ok(told.length > 0);
});
