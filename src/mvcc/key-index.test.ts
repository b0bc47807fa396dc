import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { KeyIndex, NO_ROW, type KeySpan } from "./key-index.js";
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
  | { readonly kind: "put" | "delete"; readonly key: number; readonly joins: boolean }
  | { readonly kind: "compact"; readonly back: number };

interface Play {
  readonly keys: readonly string[];
  readonly steps: readonly Step[];
}

const character = fc.constantFrom("a", "b", "/", "\0", "\x7f", "\x80", "\xff");
const prefix = fc.constantFrom("", "a", "/registry/pods/", "\xff\xfe", "long/".repeat(60));
/** Few keys, alike in their beginnings, so that they come and go and stand beside each other. */
const keys = fc.uniqueArray(
  fc.tuple(prefix, fc.string({ unit: character, minLength: 1, maxLength: 4 })).map(([prefix, rest]) => prefix + rest),
  { minLength: 6, maxLength: 12 },
);
const key = fc.nat(1000);
const step = fc.oneof(
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("put" as const), key, joins: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("delete" as const), key, joins: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(6) }) },
);
const plays: fc.Arbitrary<Play> = fc.record({ keys, steps: fc.array(step, { maxLength: 80 }) });

function spansOf(keys: readonly string[]): KeySpan[] {
  const [a, b, c] = [...keys].sort().filter((_, i) => i % 3 === 0) as [string, string, string | undefined];
  return [
    { key: a, end: undefined },
    { key: "never there", end: undefined },
    { key: a, end: c ?? b },
    { key: b, end: "" },
    { key: b, end: a },
    { key: `${a}\0`, end: `${b}\0` },
    { key: "", end: "" },
  ];
}

/** One key changes once in a transaction, as the checks of etcd's API have it. */
function play({ keys, steps }: Play): { index: KeyIndex; twin: Twin; current: number } {
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
    const key = keys[step.key % keys.length]!;
    if (step.joins && main > 1 && !touched.has(key) && main > twin.compacted) {
      sub++;
    } else {
      main++;
      sub = 0;
      touched = new Set();
    }
    if (step.kind === "put") {
      const row = put(index, key, main, sub);
      twin.note(key, { main, sub, deleted: false });
      touched.add(key);
      assert.deepEqual({ created: index.createdOf(row), version: index.versionOf(row) }, twin.newest(key));
      continue;
    }
    const row = index.findText(key);
    if (row !== NO_ROW && index.isLive(row)) {
      index.tombstone(row, main, sub);
      twin.note(key, { main, sub, deleted: true });
      touched.add(key);
    }
  }
  return { index, twin, current: main };
}

/** From the midst of a longer buffer, as keys lie in requests and pages. */
function put(index: KeyIndex, key: string, main: number, sub: number): number {
  return index.put(bytesFromLatin1(`<${key}>`), 1, 1 + key.length, main, sub);
}

function textOf(index: KeyIndex, row: number): string {
  return latin1FromBytes(index.keyOf(row));
}

function compact(index: KeyIndex, twin: Twin, at: number, current: number): void {
  const keep = compactAll(index, at);
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

function compactAll(index: KeyIndex, at: number): RevisionSet {
  const keep = new RevisionSet();
  for (let low: string | undefined = ""; low !== undefined;) low = index.compactSlice(low, at, keep);
  return keep;
}

test("the index answers at every revision that is not compacted as a list of all that happened does", () => {
  fc.assert(
    fc.property(plays, (played) => {
      const { index, twin, current } = play(played);
      index.check();
      for (let at = Math.max(1, twin.compacted); at <= current; at++) {
        for (const span of spansOf(played.keys)) {
          const expected = twin.keys(span).filter((key) => twin.at(key, at) !== undefined);
          const found: string[] = [];
          index.visitAt(span, at, (row, main, sub) => {
            const key = textOf(index, row);
            assert.deepEqual([main, sub], [twin.at(key, at)!.main, twin.at(key, at)!.sub]);
            return found.push(key) > 0;
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

test("a walk in slices between which keys come and go, and are compacted up to its revision, sees the state at its revision", () => {
  fc.assert(
    fc.property(plays, fc.array(step, { maxLength: 40 }), fc.integer({ min: 1, max: 3 }), (played, later, keysMax) => {
      const { index, twin, current } = play(played);
      const span = { key: "", end: "" };
      const at = Math.max(current, twin.compacted);
      const expected = twin.keys(span).filter((key) => twin.at(key, at) !== undefined);
      const found: string[] = [];
      let main = current;
      const rest = [...later];
      for (let low: string | undefined = ""; low !== undefined;) {
        low = index.visitSliceAt(low, span, at, keysMax, (row) => void found.push(textOf(index, row)));
        for (const step of rest.splice(0, 3)) {
          if (step.kind === "compact") {
            compactAll(index, at);
            continue;
          }
          const key = played.keys[step.key % played.keys.length]!;
          const row = index.findText(key);
          if (step.kind === "put") put(index, key, ++main, 0);
          else if (row !== NO_ROW && index.isLive(row)) index.tombstone(row, ++main, 0);
        }
      }
      index.check();
      assert.deepEqual(found, expected);
    }),
    { numRuns: 200 },
  );
});

test("what is kept for a hash is what a read at that revision sees", () => {
  fc.assert(
    fc.property(plays, fc.nat(8), (played, back) => {
      const { index, twin, current } = play(played);
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

test("a history that is restored from its revisions is the one that was written", () => {
  fc.assert(
    fc.property(plays, ({ keys, steps }) => {
      const { index, twin, current } = play({ keys, steps: steps.filter(({ kind }) => kind !== "compact") });
      const restored = new KeyIndex();
      const versions = new Map<string, { created: number; version: number }>();
      const all = [...twin.histories].flatMap(([key, history]) => history.map((happened) => ({ key, ...happened })));
      for (const { key, main, sub, deleted } of all.sort((a, b) => a.main - b.main || a.sub - b.sub)) {
        const bytes = bytesFromLatin1(`0${key}`);
        if (deleted) {
          restored.restoreTombstone(bytes, 1, bytes.length, main, sub);
          versions.delete(key);
          continue;
        }
        const { created, version } = versions.get(key) ?? { created: main, version: 0 };
        versions.set(key, { created, version: version + 1 });
        restored.restorePut(bytes, 1, bytes.length, main, sub, created, version + 1);
      }
      restored.check();
      for (const [key] of twin.histories) {
        const row = index.findText(key);
        const again = restored.findText(key);
        assert.equal(restored.isLive(again), index.isLive(row));
        if (!index.isLive(row)) continue;
        assert.equal(restored.createdOf(again), index.createdOf(row));
        assert.equal(restored.versionOf(again), index.versionOf(row));
      }
      for (let at = 1; at <= current; at++) {
        const span = { key: "", end: "" };
        assert.equal(restored.countAt(span, at, false), index.countAt(span, at, false));
      }
      assert.equal(restored.liveCount, index.liveCount);
    }),
    { numRuns: 100 },
  );
});

test("30,000 keys that come and go ten times over leave no more room taken than once", () => {
  const index = new KeyIndex();
  const keyOf = (i: number, round: number): string =>
    `/churn/${(i * 7919) % 30_000}/${"x".repeat((i + round * 7) % 50)}`;
  let main = 1;
  let once = 0;
  for (let round = 0; round < 10; round++) {
    for (let i = 0; i < 30_000; i++) put(index, keyOf(i, round), ++main, 0);
    for (let i = 0; i < 30_000; i++) put(index, keyOf(i, round), ++main, 0);
    if (round === 0) once = index.blockBytes;
    // Every tenth key stays for a round.
    for (let i = 0; i < 30_000; i++) if (i % 10 !== 0) index.tombstone(index.findText(keyOf(i, round)), ++main, 0);
    if (round > 0) {
      for (let i = 0; i < 30_000; i += 10) index.tombstone(index.findText(keyOf(i, round - 1)), ++main, 0);
    }
    compactAll(index, ++main);
    assert.equal(index.size, 3_000);
    assert.equal(index.liveCount, 3_000);
  }
  index.check();
  for (let i = 0; i < 30_000; i += 10) {
    const row = index.findText(keyOf(i, 9));
    assert.equal(textOf(index, row), keyOf(i, 9));
    assert.equal(index.versionOf(row), 2);
  }
  for (let i = 0; i < 30_000; i += 10) index.tombstone(index.findText(keyOf(i, 9)), ++main, 0);
  compactAll(index, ++main);
  index.check();
  assert.equal(index.size, 0);
  assert.ok(index.blockBytes < once / 2, `${index.blockBytes} of ${once}`);
});

test("a key with 20,000 revisions is read at each of them, and compacted bit by bit", () => {
  const index = new KeyIndex();
  for (let main = 2; main <= 20_000; main++) put(index, "hot", main * 2, 0);
  const seenAt = (at: number): number | undefined => {
    let seen: number | undefined;
    index.visitAt({ key: "hot", end: undefined }, at, (_, main) => {
      seen = main;
      return true;
    });
    return seen;
  };
  for (let compacted = 0; compacted < 40_000; compacted += 777) {
    for (let at = compacted + 1; at <= 40_000; at += 997) assert.equal(seenAt(at), at < 4 ? undefined : at - (at % 2));
    if (compacted > 0) compactAll(index, compacted);
    index.check();
  }
  assert.equal(index.versionOf(index.findText("hot")), 19_999);
});

test("a revision that does not ascend is a bug, and is told as one", () => {
  const index = new KeyIndex();
  put(index, "a", 5, 1);
  assert.throws(() => put(index, "a", 5, 1), /revision 5\/1 after 5\/1/);
  assert.throws(() => put(index, "a", 4, 0), /revision 4\/0 after 5\/1/);
  index.tombstone(index.findText("a"), 5, 2);
  assert.throws(() => put(index, "a", 5, 2), /revision 5\/2 after 5\/2/);
});

test("revisions up to 2^53-1 are kept as they are", () => {
  const index = new KeyIndex();
  put(index, "a", Number.MAX_SAFE_INTEGER - 1, 2 ** 40);
  index.tombstone(index.findText("a"), Number.MAX_SAFE_INTEGER, 2 ** 40 + 1);
  const seen: number[] = [];
  index.visitAt({ key: "", end: "" }, Number.MAX_SAFE_INTEGER - 1, (_, main, sub) => seen.push(main, sub) > 0);
  assert.deepEqual(seen, [Number.MAX_SAFE_INTEGER - 1, 2 ** 40]);
  assert.equal(index.subOf(index.findText("a")), -1 - (2 ** 40 + 1));
});
