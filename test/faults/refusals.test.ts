/** A directory that must not be touched is refused in one sentence, and not touched. */
import assert from "node:assert/strict";
import test from "node:test";
import { etcd, skipReason, underTest } from "../support/binaries.js";
import { runToEnd, Stage } from "../support/servers.js";
import { skipWithout } from "../support/tools.js";
import { play, SCENES } from "./refusals.js";

const skip = skipReason() || skipWithout("strace", "strace") || skipWithout("setpriv", "util-linux");

for (const scene of SCENES) {
  test(`${scene.title} is refused by name and left as it was`, { skip }, async (t) => {
    const stage = Stage.for(t);
    const binary = underTest();
    const refusal = await play(stage, scene, binary);
    t.diagnostic(refusal.sentence);
    if (binary.family === "etcd") {
      assert.equal(refusal.served ? "serves" : "refuses", scene.etcdDoes, "the scene is what it claims to be");
      return;
    }
    const tail = refusal.log.slice(-10).join("\n");
    assert.equal(refusal.served, false, tail);
    assert.notEqual(refusal.exit, "still running", tail);
    assert.ok(refusal.exit !== "still running" && refusal.exit.code !== null && refusal.exit.code !== 0, tail);
    assert.match(refusal.sentence, /\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+: /, `a coded sentence, in:\n${tail}`);
    assert.ok(refusal.sentence.includes(refusal.dataDir), `the sentence names the file: ${refusal.sentence}`);
    assert.equal(refusal.changed, false, "nothing on the disk changed");
  });
}

test("real etcd does not open a directory that a running member holds", { skip }, async (t) => {
  const stage = Stage.for(t);
  const held = await stage.seat();
  const holder = await stage.start(underTest(), held);
  await holder.client.put("held", "yes");
  const { log } = await runToEnd(
    etcd("newest"),
    { ...(await stage.seat()), dataDir: held.dataDir },
    { readyWithinMs: 12_000 },
  );
  assert.ok(!log.some((line) => line.includes("ready to serve client requests")), "etcd did not serve");
  assert.ok(
    log.some((line) => /locked|flocked|taking too long/.test(line)),
    log.slice(-5).join("\n"),
  );
  assert.equal(await holder.client.put("held", "still"), 3);
});
