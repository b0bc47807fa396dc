/** A system call that fails once stops the member by name, and nothing acknowledged is lost. The command runs every N. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { Stage } from "../support/servers.js";
import { skipWithout } from "../support/tools.js";
import { describeCalls, describeOutcome, KINDS, record, strike, worthStriking, type Kind } from "./strace.js";

const FAULTS_A_KIND = Number(process.env["WALNUT_FAULTS"] ?? 2);
const skip = skipReason() || skipWithout("strace", "strace");

test(
  "a system call that fails once stops the member or refuses a request, and it opens again whole",
  { skip },
  async (t) => {
    const stage = Stage.for(t);
    const binary = underTest();
    const recording = await record(stage, binary);
    t.diagnostic(`${recording.paths.length} files; ${describeCalls(recording)}`);
    let struck = 0;
    for (const kind of Object.keys(KINDS) as Kind[]) {
      for (const nth of spread(worthStriking(recording.calls[kind]), FAULTS_A_KIND)) {
        const outcome = await strike(stage, binary, recording, kind, nth);
        if (outcome.verdict !== "not struck") struck++;
        t.diagnostic(describeOutcome(outcome));
      }
    }
    assert.ok(struck >= 4, `${struck} faults struck`);
  },
);

/** `count` of the numbers, as far from each other as can be: an early call fails in another place than a late one. */
function spread(numbers: readonly number[], count: number): number[] {
  const places = Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * numbers.length) / count));
  return [...new Set(places)].flatMap((place) => numbers[place] ?? []);
}
