/** What comes to the peer port is answered as etcd answers it, and hurts nobody. */
import assert from "node:assert/strict";
import test from "node:test";
import { reference, skipReason, underTest } from "../support/binaries.js";
import { Stage } from "../support/servers.js";
import { compareTables, describeDifference, HostileScene, playStricter } from "./hostile.js";
import { COMPARED, DEPOSING, STRICTER } from "./hostile-table.js";

const skip = skipReason();

test("hostile bytes on the peer port are answered as etcd answers them, and change nothing", { skip }, async (t) => {
  const differences = await compareTables([COMPARED, DEPOSING], reference(), underTest(), () => {});
  t.diagnostic(`${COMPARED.length + DEPOSING.length} rows compared`);
  assert.equal(differences.length, 0, differences.map(describeDifference).join("\n"));
});

const dies = skip || (underTest().family === "etcd" ? "real etcd dies of these rows" : false);

test("what real etcd dies of is refused, or stops one member with a named error", { skip: dies }, async (t) => {
  const scene = await HostileScene.start(Stage.for(t), underTest());
  for (const row of STRICTER) t.diagnostic(`${row.title}: ${await playStricter(row, scene)}`);
  await scene.serves();
});
