/** Who plays when. */
import assert from "node:assert/strict";
import test from "node:test";
import type { Server } from "../test/support/servers.js";
import { inTurns, type Contestant } from "./comparison.js";

test("one runs at a time, places change every round, and the rehearsal does not count", async () => {
  const seen: string[] = [];
  let running = 0;
  const side = (name: string): Contestant => ({
    name,
    begin: async () => {
      assert.equal(++running, 1);
      seen.push(name);
      return {} as Server;
    },
    end: async () => void running--,
  });
  const rehearsed: string[] = [];
  let played = 0;
  const results = await inTurns([side("a"), side("b"), side("c")], 3, {
    rehearse: async ({ name }) => void rehearsed.push(name),
    measure: async ({ name }) => `${name}${++played}`,
  });
  assert.equal(running, 0);
  assert.equal(rehearsed.length, 3);
  assert.equal(seen.slice(3).join(" "), "c b a a b c c b a");
  assert.deepEqual(results, [
    ["a3", "a4", "a9"],
    ["b2", "b5", "b8"],
    ["c1", "c6", "c7"],
  ]);

  seen.length = 0;
  await inTurns([side("a"), side("b")], 2, { measure: async () => undefined });
  assert.equal(seen.join(" "), "b a a b", "where nothing is to be made, no round is played for it");
});
