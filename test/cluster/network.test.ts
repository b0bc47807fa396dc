/** A network that is cut, loses packets or is slow costs time, and nothing that was acknowledged. */
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { skipNamespaces } from "../support/netns.js";
import { playScenes, SCENES } from "./network.js";

const skip = skipReason() || skipNamespaces();
const scenes = SCENES.filter(({ inShort }) => inShort || process.env["WALNUT_SCENES"] === "all");

// Each scene mostly waits for clocks, so they run side by side, each on a network and a cluster of its own.
test("three members in three network namespaces", { skip, concurrency: true }, async (t) => {
  await Promise.all(
    scenes.map(async (scene) =>
      t.test(scene.title, async (scened) => {
        const options = { binaries: [underTest(), underTest(), underTest()], puts: 200 };
        await playScenes([scene], options, (text) => scened.diagnostic(text));
      }),
    ),
  );
});
