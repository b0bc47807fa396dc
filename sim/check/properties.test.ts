import assert from "node:assert/strict";
import test from "node:test";
import { SimRandom } from "../random.js";
import { checkHistory, describeVerdict } from "./check-history.js";
import { historyFromLines, historyToLines, isSerializable, type History } from "./history.js";
import { randomHistory, spoil, spoilLog } from "./random-history.js";
import { describeViolation } from "./report.js";
import { checkByRevisions } from "./revision-witness.js";
import { searchLinearization } from "./search.js";
import { pair } from "./testing/plays.js";

const SEEDS = 400;

/** Runs a check for many seeds; a failure names its seed. */
function forSeeds(count: number, check: (random: SimRandom, seed: number) => void): void {
  for (let seed = 1; seed <= count; seed++) {
    try {
      check(new SimRandom(seed), seed);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
  }
}

const linearizableOnly = (history: History): History => ({
  ...history,
  operations: history.operations.filter(({ request }) => !isSerializable(request)),
});

test("right histories pass every checker, with and without the servers' log", () => {
  forSeeds(SEEDS, (random, seed) => {
    const history = randomHistory(random, { operations: 10 + random.below(60), log: seed % 2 === 0 });
    const verdict = checkHistory(history, { search: true });
    assert.equal(
      verdict.kind,
      "right",
      [...verdict.undecided, ...verdict.violations.map(describeViolation)].join("\n"),
    );
  });
});

test("a history is the same after it was written and read", () => {
  forSeeds(20, (random) => {
    const history = randomHistory(random, { operations: 100, log: true });
    assert.deepEqual(historyFromLines(historyToLines(history)), history);
  });
});

test("where revisions are compared, the witness and the search say the same of right and of spoiled histories", () => {
  const verdicts = { right: 0, violated: 0 };
  forSeeds(3 * SEEDS, (random, seed) => {
    const right = linearizableOnly(
      randomHistory(random, { operations: 4 + random.below(12), clients: 3, keys: 2, lostOneIn: 6 }),
    );
    const spoiled = seed % 3 === 0 ? right : (spoil(right, random)?.history ?? right);
    // The search leaves open when the header of a compaction's answer was made; the witness uses it as any later one.
    const history = equalCompactions(right, spoiled) ? spoiled : right;
    const byRevisions = checkByRevisions(history);
    const bySearch = searchLinearization(history, { revisions: "compared" });
    const violations = [...byRevisions.violations, ...bySearch.violations].map(describeViolation).join("\n");
    assert.equal(bySearch.kind, byRevisions.violations.length > 0 ? "violated" : "linearizable", violations);
    assert.equal(byRevisions.undecided, undefined);
    verdicts[byRevisions.violations.length > 0 ? "violated" : "right"]++;
    // The search that counts nothing sees less, and nothing that is not there.
    const observed = searchLinearization(history, { revisions: "observed" });
    if (observed.kind === "violated") assert.ok(byRevisions.violations.length > 0, "only the search objects");
  });
  assert.ok(verdicts.right > SEEDS, `${verdicts.right} were right`);
  assert.ok(verdicts.violated > SEEDS, `${verdicts.violated} were violated`);
});

function equalCompactions(a: History, b: History): boolean {
  const compactions = ({ operations }: History): string =>
    JSON.stringify(operations.filter(({ request }) => request.kind === "compact").map(({ outcome }) => outcome));
  return compactions(a) === compactions(b);
}

test("a spoiled answer is caught; what is not caught is a history that could have been", (t) => {
  const counts = new Map<string, { caught: number; tried: number }>();
  forSeeds(6 * SEEDS, (random) => {
    const right = randomHistory(random, { operations: 20 + random.below(20), clients: 3, keys: 3 });
    const spoiled = spoil(right, random);
    if (spoiled === undefined) return;
    const caught = checkHistory(spoiled.history).kind === "violated";
    if (!caught) {
      // Then it must be one that could have been.
      const search = searchLinearization(linearizableOnly(spoiled.history), { revisions: "compared" });
      assert.notEqual(search.kind, "violated", search.violations.map(describeViolation).join("\n"));
    }
    const count = counts.get(spoiled.kind) ?? { caught: 0, tried: 0 };
    counts.set(spoiled.kind, { caught: count.caught + (caught ? 1 : 0), tried: count.tried + 1 });
  });
  for (const [kind, { caught, tried }] of counts) t.diagnostic(`${kind}: ${caught} of ${tried} caught`);
  for (const kind of ["value", "version", "mod revision", "create revision", "lease", "count", "more"]) {
    const { caught, tried } = counts.get(kind)!;
    assert.equal(caught, tried, `a changed ${kind} passed`);
  }
  // An answer may as well be one revision older or younger where it overlaps a write that does not concern it.
  const header = counts.get("header revision")!;
  assert.ok(header.caught / header.tried > 0.85, `${header.caught} of ${header.tried} changed header revisions caught`);
});

test("a history that begins on a store with content is judged from there on; reads of what was before are counted", () => {
  const start = { revision: 9, kvs: [pair("a", "old", 7, 3, 2), pair("c", "older", 5)] };
  let skipped = 0;
  forSeeds(50, (random) => {
    const history = randomHistory(random, { operations: 60, start });
    const verdict = checkHistory(history);
    assert.equal(verdict.kind, "right", describeVerdict(verdict));
    skipped += verdict.skipped;
    assert.equal(checkHistory({ ...history, start: { revision: 9, kvs: [] } }).kind, "violated");
  });
  assert.ok(skipped > 0, "no read reached before the start");
});

test("a changed log is caught", () => {
  forSeeds(50, (random) => {
    const history = randomHistory(random, { operations: 60, log: true });
    if (history.log === undefined) return;
    assert.equal(checkHistory(spoilLog(history, random)).kind, "violated");
  });
});

test("a violation is told in the same words every time", () => {
  const text = (): string => {
    const random = new SimRandom(7);
    for (;;) {
      const spoiled = spoil(randomHistory(random, { operations: 30 }), random);
      const violations = spoiled === undefined ? [] : checkByRevisions(spoiled.history).violations;
      if (violations.length > 0) return violations.map(describeViolation).join("\n");
    }
  };
  assert.equal(text(), text());
});
