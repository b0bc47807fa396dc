import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyIndex, type KeySpan } from "./key-index.js";
import { RevisionSet } from "./revision.js";

/** The simple twin: all that ever happened to a key; nothing is forgotten, the compact revision only hides. */
interface Happened {
  readonly main: number;
  readonly sub: number;
  readonly deleted: boolean;
}

class Twin {
  readonly histories = new Map<string, Happened[]>();
  compacted = -1;

  note(key: string, happened: Happened): void {
    const history = this.histories.get(key) ?? [];
    history.push(happened);
    this.histories.set(key, history);
  }

  at(key: string, revision: number): Happened | undefined {
    const last = (this.histories.get(key) ?? []).findLast(({ main }) => main <= revision);
    return last === undefined || last.deleted ? undefined : last;
  }

  keys({ key, end }: KeySpan): string[] {
    const keys = [...this.histories.keys()].sort();
    if (end === undefined) return keys.filter((candidate) => candidate === key);
    return keys.filter((candidate) => candidate >= key && (end === "" || candidate < end));
  }

  /** Versions and create revisions start again after a deletion. */
  newest(key: string): { readonly created: number; readonly version: number } | undefined {
    const history = this.histories.get(key) ?? [];
    const generation = history.slice(history.findLastIndex(({ deleted }) => deleted) + 1);
    return generation.length === 0 ? undefined : { created: generation[0]!.main, version: generation.length };
  }
}

type Step =
  | { readonly kind: "put" | "delete"; readonly key: string; readonly joins: boolean }
  | { readonly kind: "compact"; readonly back: number };

const key = fc.constantFrom("a", "b", "c", "d", "ab", "\xff");
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ kind: fc.constant("put" as const), key, joins: fc.boolean() }) },
    { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete" as const), key, joins: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(6) }) },
  ),
  { maxLength: 60 },
);
const spans: KeySpan[] = [
  { key: "a", end: undefined },
  { key: "a", end: "c" },
  { key: "b", end: "" },
  { key: "c", end: "b" },
  { key: "", end: "" },
];

/** One key changes once in a transaction, as the checks of etcd's API have it. */
function play(steps: readonly Step[]): { index: KeyIndex; twin: Twin; current: number } {
  const index = new KeyIndex();
  const twin = new Twin();
  let main = 1;
  let sub = 0;
  let touched = new Set<string>();
  for (const step of steps) {
    if (step.kind === "compact") {
      const at = main - step.back;
      if (at > twin.compacted) compact(index, twin, at, main);
      continue;
    }
    if (step.joins && main > 1 && !touched.has(step.key) && main > twin.compacted) {
      sub++;
    } else {
      main++;
      sub = 0;
      touched = new Set();
    }
    if (step.kind === "put") {
      const history = index.put(step.key, main, sub);
      twin.note(step.key, { main, sub, deleted: false });
      touched.add(step.key);
      assert.deepEqual({ created: history.created, version: history.version }, twin.newest(step.key));
      continue;
    }
    const history = index.get(step.key);
    if (history?.live === true) {
      index.tombstone(history, main, sub);
      twin.note(step.key, { main, sub, deleted: true });
      touched.add(step.key);
    }
  }
  return { index, twin, current: main };
}

function compact(index: KeyIndex, twin: Twin, at: number, current: number): void {
  const keep = new RevisionSet();
  for (let low: string | undefined = ""; low !== undefined;) low = index.compactSlice(low, at, keep);
  twin.compacted = at;
  let kept = 0;
  for (const [key, history] of twin.histories) {
    const last = history.findLast(({ main }) => main <= at);
    const stays = last !== undefined && (!last.deleted || last.main === at);
    if (stays) {
      kept++;
      assert.equal(keep.has(last.main, last.sub), true, `${key} keeps ${last.main}/${last.sub}`);
    }
  }
  assert.equal(keep.size, kept);
  assert.ok(current >= at);
}

test("the index answers at every revision that is not compacted as a list of all that happened does", () => {
  fc.assert(
    fc.property(steps, (steps) => {
      const { index, twin, current } = play(steps);
      index.check();
      for (let at = Math.max(1, twin.compacted); at <= current; at++) {
        for (const span of spans) {
          const expected = twin.keys(span).filter((key) => twin.at(key, at) !== undefined);
          const found: string[] = [];
          index.visitAt(span, at, (history, { main, sub }) => {
            const { main: expectedMain, sub: expectedSub } = twin.at(history.key, at)!;
            assert.deepEqual([main, sub], [expectedMain, expectedSub]);
            return found.push(history.key) > 0;
          });
          assert.deepEqual(found, expected);
          assert.equal(index.countAt(span, at, false), expected.length);
          if (at === current) assert.equal(index.countAt(span, at, true), expected.length);
        }
      }
    }),
    { numRuns: 400 },
  );
});

test("what is kept for a hash is what a read at that revision sees", () => {
  fc.assert(
    fc.property(steps, fc.nat(8), (steps, back) => {
      const { index, twin, current } = play(steps);
      const at = Math.max(1, twin.compacted, current - back);
      const keep = new RevisionSet();
      for (let low: string | undefined = ""; low !== undefined;) low = index.keepSlice(low, at, keep);
      const expected = [...twin.histories.keys()].map((key) => twin.at(key, at)).filter((seen) => seen !== undefined);
      assert.equal(keep.size, expected.length);
      for (const { main, sub } of expected) assert.equal(keep.has(main, sub), true);
    }),
    { numRuns: 200 },
  );
});

test("all revisions of a span since one are found, tombstones included", () => {
  fc.assert(
    fc.property(steps, fc.nat(8), fc.constantFrom(...spans), (steps, back, span) => {
      const { index, twin, current } = play(steps);
      const from = Math.max(1, twin.compacted + 1, current - back);
      const expected = twin
        .keys(span)
        .flatMap((key) => twin.histories.get(key)!)
        .filter(({ main }) => main >= from)
        .map(({ main, sub }) => ({ main, sub }))
        .sort((a, b) => a.main - b.main || a.sub - b.sub);
      assert.deepEqual(index.since(span, from), expected);
    }),
    { numRuns: 200 },
  );
});

test("a history that is restored from its revisions is the one that was written", () => {
  fc.assert(
    fc.property(steps, (steps) => {
      const { index, twin, current } = play(steps.filter(({ kind }) => kind !== "compact"));
      const restored = new KeyIndex();
      const versions = new Map<string, { created: number; version: number }>();
      const all = [...twin.histories].flatMap(([key, history]) => history.map((happened) => ({ key, ...happened })));
      for (const { key, main, sub, deleted } of all.sort((a, b) => a.main - b.main || a.sub - b.sub)) {
        if (deleted) {
          restored.restoreTombstone(key, main, sub);
          versions.delete(key);
          continue;
        }
        const { created, version } = versions.get(key) ?? { created: main, version: 0 };
        versions.set(key, { created, version: version + 1 });
        restored.restorePut(key, main, sub, created, version + 1);
      }
      for (const [key] of twin.histories) {
        const { created, version, live } = index.get(key)!;
        const again = restored.get(key)!;
        assert.equal(again.live, live);
        if (live) assert.deepEqual([again.created, again.version], [created, version]);
      }
      assert.equal(restored.liveCount, index.liveCount);
      assert.ok(current > 0);
    }),
    { numRuns: 100 },
  );
});

test("a revision that does not ascend is a bug, and is told as one", () => {
  const index = new KeyIndex();
  index.put("a", 5, 1);
  assert.throws(() => index.put("a", 5, 1), /revision 5\/1 after 5\/1/);
  assert.throws(() => index.put("a", 4, 0), /revision 4\/0 after 5\/1/);
});
