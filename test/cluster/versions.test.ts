/** Members of other minor versions, and one that is no member any more, are met as etcd meets them. */
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { playScene, SCENES, skipWithoutOlder } from "./versions.js";

const skip = skipReason() || skipWithoutOlder();

for (const scene of SCENES) {
  test(scene.title, { skip }, async (t) => {
    t.diagnostic(await playScene(scene, underTest()));
  });
}
