/** A network that is cut, loses packets or is slow costs time, and nothing that was acknowledged. */
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { skipNamespaces, type Wiring } from "../support/netns.js";
import { playScenes, SCENES, type Scene } from "./network.js";

const skip = skipReason() || skipNamespaces();
const scenes = SCENES.filter(({ inShort }) => inShort || process.env["WALNUT_SCENES"] === "all");
const scenesOf = (wiring: Wiring): Scene[] => scenes.filter((scene) => scene.wiring === wiring);
const titles = (wiring: Wiring): string =>
  scenesOf(wiring)
    .map(({ title }) => title)
    .join("; ");

// Two clusters side by side, the scenes of each one after the other: what they judge are elections, and a machine on which fifteen
// processes start at once has elections of its own.
test("three members in three network namespaces", { skip, concurrency: true }, async (t) => {
  await Promise.all(
    (["straight", "proxied"] as const).map(async (wiring) =>
      t.test(`${wiring}: ${titles(wiring)}`, async (wired) => {
        const options = { binaries: [underTest(), underTest(), underTest()], puts: 200 };
        await playScenes(scenesOf(wiring), options, (text) => wired.diagnostic(text));
      }),
    ),
  );
});
