import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { WATCH_DELIVERIES_PER_TURN_MAX, WATCH_WALK_ROWS_MAX } from "../base/limits.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { Event } from "../proto/generated/mvccpb/kv.js";
import type { KeySpan } from "./key-index.js";
import { makeBoltEngine } from "./bolt-engine.js";
import type { Observer } from "./store.js";
import { ALL, one, StoreFixture, storeFixture } from "./testing/fixture.js";
import type { WatchEvent } from "./watch-event.js";
import { Watcher, Watchers, type WatchedStore, type WatcherOptions, type WatchReceiver } from "./watchers.js";

const PLAIN: WatcherOptions = {
  startRevision: 0,
  withoutPuts: false,
  withoutDeletes: false,
  withPrevious: false,
  inFragments: false,
  reportsProgress: false,
};

/** `+a=1@2` for a put, `-a@3` for a deletion, with `(was 1@2)` behind it where the pair before was asked for and is known. */
function show(event: WatchEvent, withPrevious: boolean): string {
  const { type, kv, prevKv } = Event.decode(event.encoded(withPrevious));
  const key = latin1FromBytes(kv!.key);
  const before = prevKv === undefined ? "" : ` (was ${latin1FromBytes(prevKv.value)}@${prevKv.modRevision})`;
  assert.equal(kv!.modRevision, event.revision);
  if (type === 1) return `-${key}@${kv!.modRevision}${before}`;
  return `+${key}=${latin1FromBytes(kv!.value)}@${kv!.modRevision}${before}`;
}

/** What came of watchers, an answer a line. */
class Seen implements WatchReceiver {
  isReady = true;
  readonly answers: string[] = [];
  /** Takes so many more answers, then none until told. */
  takes = Infinity;

  onEvents({ options }: Watcher, events: readonly WatchEvent[]): void {
    this.answers.push(events.map((event) => show(event, options.withPrevious)).join(" "));
    if (--this.takes <= 0) this.isReady = false;
  }

  onCompacted(_: Watcher, compactRevision: number): void {
    this.answers.push(`compacted ${compactRevision}`);
  }
}

function watch(watchers: Watchers, span: KeySpan, seen: WatchReceiver, options: Partial<WatcherOptions> = {}): Watcher {
  const watcher = new Watcher(0, span, seen, { ...PLAIN, ...options });
  watchers.add(watcher);
  return watcher;
}

function catchUp(watchers: Watchers): void {
  while (watchers.hasWork) watchers.catchUp();
  watchers.check();
}

function watchersOf(store: WatchedStore): Watchers {
  const watchers = new Watchers(() => undefined);
  watchers.attach(store);
  return watchers;
}

test("a watcher is told of its key as it happens, and of no other", async (t) => {
  const s = await storeFixture(t);
  s.put("a", "0");
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  watch(watchers, one("a"), seen);
  s.put("a", "1");
  s.put("b", "1");
  s.store.putAlone(bytesFromLatin1("a"), bytesFromLatin1("2"), 0n);
  s.delete("a");
  s.delete("a");
  assert.deepEqual(seen.answers, ["+a=1@3", "+a=2@5", "-a@6"]);
  catchUp(watchers);
  assert.equal(seen.answers.length, 3);
});

test("spans, prefixes and everything from a key on are told of what lies in them", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const spans = [{ key: "b", end: "d" }, { key: "c", end: "" }, one("c"), { key: "c", end: "c\0" }];
  const seen = spans.map((span) => {
    const seen = new Seen();
    watch(watchers, span, seen);
    return seen;
  });
  for (const key of ["a", "b", "c", "cc", "d", "\xff"]) s.put(key);
  assert.deepEqual(
    seen.map(({ answers }) => answers.join(" ")),
    ["+b=@3 +c=@4 +cc=@5", "+c=@4 +cc=@5 +d=@6 +\xff=@7", "+c=@4", "+c=@4"],
  );
});

test("the changes of a transaction come together, those of keys that are watched", async (t) => {
  const s = await storeFixture(t);
  s.put("old", "1");
  const watchers = watchersOf(s.store);
  const [all, some] = [new Seen(), new Seen()];
  watch(watchers, ALL, all);
  watch(watchers, { key: "n", end: "o" }, some);
  const txn = s.store.write();
  txn.put(bytesFromLatin1("new"), bytesFromLatin1("1"), 0n);
  txn.deleteRange(one("old"));
  txn.put(bytesFromLatin1("next"), bytesFromLatin1("2"), 0n);
  txn.end();
  assert.deepEqual(all.answers, ["+new=1@3 -old@3 +next=2@3"]);
  assert.deepEqual(some.answers, ["+new=1@3 +next=2@3"]);
});

test("from a past revision on the history comes first, then what happens; never in the turn of the request", async (t) => {
  const s = await storeFixture(t, { engine: makeBoltEngine() });
  for (const value of ["1", "2", "3"]) s.put("a", value);
  s.delete("a");
  await s.during(s.backend.commitNow());
  s.put("b", "1");
  const watchers = watchersOf(s.store);
  const [early, late] = [new Seen(), new Seen()];
  watch(watchers, one("a"), early, { startRevision: 3 });
  watch(watchers, ALL, late, { startRevision: 6 });
  assert.deepEqual([early.answers, late.answers], [[], []]);
  s.put("a", "4");
  assert.deepEqual([early.answers, late.answers], [[], []]);
  catchUp(watchers);
  s.put("a", "5");
  assert.deepEqual(early.answers, ["+a=2@3 +a=3@4 -a@5 +a=4@7", "+a=5@8"]);
  assert.deepEqual(late.answers, ["+b=1@6 +a=4@7", "+a=5@8"]);
  assert.equal(watchers.behindCount, 0);
});

test("from a future revision on nothing earlier comes", async (t) => {
  const s = await storeFixture(t);
  s.put("a", "1");
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  const watcher = watch(watchers, one("a"), seen, { startRevision: 5 });
  for (const value of ["2", "3"]) {
    s.put("a", value);
    assert.equal(watchers.isCurrent(watcher), false);
  }
  s.put("b");
  assert.equal(watchers.isCurrent(watcher), true);
  const txn = s.store.write();
  txn.put(bytesFromLatin1("a"), bytesFromLatin1("4"), 0n);
  txn.put(bytesFromLatin1("b"), bytesFromLatin1("4"), 0n);
  txn.end();
  assert.deepEqual(seen.answers, ["+a=4@6"]);
});

test("kinds of change that are not wanted are left out; where nothing is left nothing comes", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const seen = [{ withoutPuts: true }, { withoutDeletes: true }, { withoutPuts: true, withoutDeletes: true }].flatMap(
    (options) =>
      [0, 2].map((startRevision) => {
        const seen = new Seen();
        watch(watchers, ALL, seen, { ...options, startRevision });
        return seen;
      }),
  );
  s.put("a", "1");
  s.delete("a");
  catchUp(watchers);
  s.put("a", "2");
  catchUp(watchers);
  assert.deepEqual(
    seen.map(({ answers }) => answers.join(" ")),
    ["-a@3", "-a@3", "+a=1@2 +a=2@4", "+a=1@2 +a=2@4", "", ""],
  );
});

test("the pair before a change comes with it, unless the change made the key or the pair is compacted", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const [now, later] = [new Seen(), new Seen()];
  watch(watchers, ALL, now, { withPrevious: true });
  s.put("a", "1");
  s.put("a", "2");
  s.delete("a");
  s.put("a", "3");
  const expected = ["+a=1@2", "+a=2@3 (was 1@2)", "-a@4 (was 2@3)", "+a=3@5"];
  assert.deepEqual(now.answers, expected);
  watch(watchers, ALL, later, { startRevision: 2, withPrevious: true });
  catchUp(watchers);
  assert.deepEqual(later.answers, [expected.join(" ")]);
  await s.compact(4);
  const compacted = new Seen();
  watch(watchers, ALL, compacted, { startRevision: 4, withPrevious: true });
  s.put("a", "4");
  catchUp(watchers);
  assert.deepEqual(compacted.answers, ["-a@4 +a=3@5 +a=4@6 (was 3@5)"]);
});

test("whose history is compacted is told so, and nothing else any more", async (t) => {
  const s = await storeFixture(t);
  for (const value of ["1", "2", "3"]) s.put("a", value);
  await s.compact(3);
  const watchers = watchersOf(s.store);
  const [gone, there] = [new Seen(), new Seen()];
  const watcher = watch(watchers, one("a"), gone, { startRevision: 2 });
  watch(watchers, one("a"), there, { startRevision: 3 });
  catchUp(watchers);
  s.put("a", "4");
  catchUp(watchers);
  assert.deepEqual(gone.answers, ["compacted 3"]);
  assert.deepEqual(there.answers, ["+a=2@3 +a=3@4", "+a=4@5"]);
  assert.equal(watchers.isCurrent(watcher), false);
  watchers.cancel(watcher);
  assert.equal(watchers.size, 1);
});

test("a watcher in step loses nothing to a compaction, though its keys did not change for long", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  watch(watchers, one("quiet"), seen);
  for (let i = 0; i < 10; i++) s.put("busy");
  await s.compact(s.store.revision);
  watchers.detach();
  watchers.attach(s.store);
  s.put("quiet", "1");
  catchUp(watchers);
  assert.deepEqual(seen.answers, ["+quiet=1@12"]);
});

test("who takes nothing is served from the store when it takes more, and holds up nobody", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const [slow, fast] = [new Seen(), new Seen()];
  for (const span of [one("a"), ALL]) watch(watchers, span, slow);
  watch(watchers, ALL, fast);
  s.put("a", "1");
  slow.isReady = false;
  s.put("a", "2");
  s.put("b", "2");
  catchUp(watchers);
  assert.deepEqual(slow.answers, ["+a=1@2", "+a=1@2"]);
  assert.deepEqual(fast.answers, ["+a=1@2", "+a=2@3", "+b=2@4"]);
  assert.equal(watchers.behindCount, 2);
  slow.isReady = true;
  watchers.resume(slow);
  catchUp(watchers);
  assert.deepEqual(slow.answers.slice(2).sort(), ["+a=2@3", "+a=2@3 +b=2@4"]);
  assert.equal(watchers.behindCount, 0);
});

test("a receiver that is full after one watcher's share gets the others' later, once", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 3; i++) s.put("a", String(i));
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  seen.takes = 1;
  for (let i = 0; i < 3; i++) watch(watchers, one("a"), seen, { startRevision: 2 });
  for (let round = 1; round <= 3; round++) {
    catchUp(watchers);
    assert.equal(seen.answers.length, round);
    seen.isReady = true;
    seen.takes = 1;
    watchers.resume(seen);
  }
  catchUp(watchers);
  assert.deepEqual(
    seen.answers,
    Array.from({ length: 3 }, () => "+a=0@2 +a=1@3 +a=2@4"),
  );
});

test("many watchers of a receiver that is soon full are served in turns, each once", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  const count = 200;
  for (let i = 0; i < count; i++) watch(watchers, one("a"), seen);
  seen.isReady = false;
  s.put("a", "1");
  s.put("a", "2");
  for (let round = 0; watchers.behindCount > 0; round++) {
    assert.ok(round < count, "each round serves somebody");
    seen.isReady = true;
    seen.takes = 7;
    watchers.resume(seen);
    catchUp(watchers);
  }
  assert.deepEqual(new Set(seen.answers), new Set(["+a=1@2 +a=2@3"]));
  assert.equal(seen.answers.length, count);
});

test("a slow watcher that a compaction overtakes is told so when it listens again", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  watch(watchers, one("a"), seen);
  s.put("a", "1");
  seen.isReady = false;
  for (const value of ["2", "3", "4"]) s.put("a", value);
  await s.compact(4);
  catchUp(watchers);
  assert.deepEqual(seen.answers, ["+a=1@2"]);
  seen.isReady = true;
  watchers.resume(seen);
  catchUp(watchers);
  assert.deepEqual(seen.answers, ["+a=1@2", "compacted 4"]);
});

test("a long history comes in pieces of bounded size, whole revisions each", async (t) => {
  const s = await storeFixture(t);
  const revisions = 2 * WATCH_WALK_ROWS_MAX + 10;
  for (let i = 0; i < revisions; i++) {
    const txn = s.store.write();
    for (const key of ["a", "b", "c"]) txn.put(bytesFromLatin1(key), bytesFromLatin1(String(i)), 0n);
    txn.end();
  }
  const watchers = watchersOf(s.store);
  const sizes: number[] = [];
  const told: number[] = [];
  const receiver: WatchReceiver = {
    isReady: true,
    onEvents: (_, events) => {
      sizes.push(events.length);
      told.push(...events.map(({ revision }) => revision));
    },
    onCompacted: () => assert.fail("nothing is compacted"),
  };
  watch(watchers, ALL, receiver, { startRevision: 1 });
  catchUp(watchers);
  assert.ok(sizes.length >= 6, `${sizes.length} answers`);
  assert.ok(sizes.every((size) => size % 3 === 0 && size <= WATCH_WALK_ROWS_MAX + 2));
  assert.deepEqual(
    told,
    Array.from({ length: revisions * 3 }, (_, i) => 2 + Math.floor(i / 3)),
  );
});

test("a large value ends a piece of history", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 5; i++) s.put("a", "x".repeat(200_000));
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  watch(watchers, one("a"), seen, { startRevision: 2 });
  catchUp(watchers);
  assert.deepEqual(
    seen.answers.map((answer) => answer.split(" ").length),
    [2, 2, 1],
  );
});

test("who lacks a little is not held up by who lacks much", async (t) => {
  const s = await storeFixture(t);
  for (let i = 0; i < 10 * WATCH_WALK_ROWS_MAX; i++) s.put("a", String(i));
  const watchers = watchersOf(s.store);
  const [far, near] = [new Seen(), new Seen()];
  watch(watchers, one("a"), far, { startRevision: 1 });
  watch(watchers, one("a"), near, { startRevision: s.store.revision });
  watchers.catchUp();
  watchers.catchUp();
  assert.equal(near.answers.length, 1);
  catchUp(watchers);
  assert.equal(near.answers.length, 1);
  assert.equal(far.answers.length, 10);
});

test("a turn gives out a bounded number of changes; whoever is above it gets them in the next, several at once", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const everybody = Array.from({ length: WATCH_DELIVERIES_PER_TURN_MAX / 2 }, () => {
    const seen = new Seen();
    watch(watchers, one("a"), seen);
    return seen;
  });
  for (let i = 1; i <= 5; i++) s.put("a", String(i));
  assert.ok(everybody.every(({ answers }) => answers.join(" ") === "+a=1@2 +a=2@3"));
  watchers.beginTurn();
  catchUp(watchers);
  assert.ok(everybody.every(({ answers }) => answers.length === 3 && answers[2] === "+a=3@4 +a=4@5 +a=5@6"));
  s.put("a", "6");
  assert.ok(everybody.every(({ answers }) => answers.length === 4 && answers[3] === "+a=6@7"));
});

test("watchers go on with the store that replaces theirs, where they were", async (t) => {
  const s = await storeFixture(t);
  const watchers = watchersOf(s.store);
  const [told, slow, future] = [new Seen(), new Seen(), new Seen()];
  watch(watchers, one("a"), told);
  watch(watchers, one("a"), slow);
  watch(watchers, one("a"), future, { startRevision: 5 });
  s.put("a", "1");
  slow.isReady = false;
  s.put("a", "2");
  watchers.detach();
  const added = new Seen();
  watch(watchers, one("a"), added);
  s.put("a", "3"); // what the snapshot brings beside what was here
  await s.restart();
  assert.equal(watchers.hasWork, false);
  watchers.attach(s.store);
  catchUp(watchers);
  s.put("a", "4");
  slow.isReady = true;
  watchers.resume(slow);
  catchUp(watchers);
  assert.deepEqual(told.answers, ["+a=1@2", "+a=2@3", "+a=3@4", "+a=4@5"]);
  assert.deepEqual(slow.answers, ["+a=1@2", "+a=2@3 +a=3@4 +a=4@5"]);
  assert.deepEqual(added.answers, ["+a=3@4", "+a=4@5"]);
  assert.deepEqual(future.answers, ["+a=4@5"]);
});

test("a store that nobody is in step with is not observed", async (t) => {
  const s = await storeFixture(t);
  let observer: Observer | undefined;
  const store: WatchedStore = {
    get revision() {
      return s.store.revision;
    },
    get compactRevision() {
      return s.store.compactRevision;
    },
    setObserver: (given) => (observer = given),
    visitHistory: (from, visit) => s.store.visitHistory(from, visit),
    pairBefore: (key, revision) => s.store.pairBefore(key, revision),
  };
  const watchers = watchersOf(store);
  assert.equal(observer, undefined);
  s.put("a");
  const seen = new Seen();
  const watcher = watch(watchers, one("a"), seen, { startRevision: 1 });
  assert.equal(observer, undefined);
  catchUp(watchers);
  assert.equal(observer, watchers);
  watchers.cancel(watcher);
  watchers.cancel(watcher);
  assert.equal(observer, undefined);
  assert.equal(watchers.size, 0);
});

test("a row that only raises the revision is told to nobody", async (t) => {
  const s = await storeFixture(t);
  s.put("a", "1");
  const { revisionBytes } = await import("./revision.js");
  s.backend.put("key", revisionBytes(1000, 0), new Uint8Array(0));
  await s.restart();
  const watchers = watchersOf(s.store);
  const seen = new Seen();
  watch(watchers, { key: "", end: "" }, seen, { startRevision: 1 });
  catchUp(watchers);
  s.put("a", "2");
  assert.deepEqual(seen.answers, ["+a=1@2", "+a=2@1001"]);
});

// ---- any work --------------------------------------------------------------------------------------------------------

const key = fc.constantFrom("a", "b", "c", "d", "\xff\xfe");
const spanOfKeys = fc.oneof(
  key.map((key) => one(key)),
  fc
    .tuple(key, key)
    .filter(([a, b]) => a < b)
    .map(([key, end]) => ({ key, end })),
  key.map((key) => ({ key, end: "" })),
);
const change = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), key, value: fc.nat(99).map(String) }),
  fc.record({ kind: fc.constant("delete" as const), key, end: fc.option(key, { nil: undefined }) }),
);
const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("txn" as const),
      changes: fc.array(change, { minLength: 1, maxLength: 4 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("watch" as const),
      span: spanOfKeys,
      receiver: fc.nat(2),
      start: fc.oneof(fc.constant("now" as const), fc.integer({ min: -12, max: 6 })),
      withoutPuts: fc.boolean(),
      withoutDeletes: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("catch up" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("takes" as const), receiver: fc.nat(2), count: fc.nat(3) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("cancel" as const), watcher: fc.nat(20) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("compact" as const), back: fc.nat(4) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("replace" as const) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("time" as const) }) },
);

interface Row {
  readonly revision: number;
  readonly key: string;
  readonly shown: string;
}

/** A watcher beside what a table of all changes says of it. */
class Witnessed {
  readonly told: string[] = [];
  compacted: number | undefined;
  readonly #first: number;
  #last = 0;
  watcher!: Watcher;

  constructor(first: number) {
    this.#first = first;
  }

  onEvents(events: readonly WatchEvent[]): void {
    assert.equal(this.compacted, undefined, "nothing comes after the word that the history is gone");
    assert.ok(events.length > 0);
    assert.ok(events[0]!.revision > this.#last, "a revision is not divided, and does not come twice");
    this.#last = events.at(-1)!.revision;
    for (const event of events) this.told.push(show(event, false));
  }

  /** What it must have been told: everything, unless its history was gone when its turn came. */
  check(table: readonly Row[]): void {
    const { span, options } = this.watcher;
    const due = table.filter(({ revision, key, shown }) => {
      const isIn = span.end === undefined ? key === span.key : key >= span.key && (span.end === "" || key < span.end);
      const isWanted = shown.startsWith("+") ? !options.withoutPuts : !options.withoutDeletes;
      return isIn && isWanted && revision >= this.#first;
    });
    if (this.compacted === undefined && this.watcher.state !== "cancelled") {
      assert.deepEqual(
        this.told,
        due.map(({ shown }) => shown),
      );
      return;
    }
    assert.deepEqual(
      this.told,
      due.slice(0, this.told.length).map(({ shown }) => shown),
    );
    if (this.compacted === undefined) return;
    assert.ok(this.watcher.next < this.compacted, "who could have been told everything is not given up");
    const missed = due[this.told.length];
    if (missed !== undefined)
      assert.ok(missed.revision >= this.watcher.next, "it was told all before its next revision");
  }
}

const RUNS = Number(process.env["WALNUT_PROPERTY_RUNS"] ?? 200);

test("after any work each watcher was told just what a table of all changes says, in order and once", () =>
  fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const s = new StoreFixture({ store: { compactionBatchMax: 3 }, backend: { batchWritesMax: 5 } });
      await s.open();
      const watchers = watchersOf(s.store);
      const table: Row[] = [];
      const witnesses = new Map<Watcher, Witnessed>();
      const receivers = Array.from({ length: 3 }, () => ({
        takes: 2,
        get isReady(): boolean {
          return this.takes > 0;
        },
        onEvents(watcher: Watcher, events: readonly WatchEvent[]): void {
          this.takes--;
          witnesses.get(watcher)!.onEvents(events);
        },
        onCompacted(watcher: Watcher, revision: number): void {
          witnesses.get(watcher)!.compacted = revision;
        },
      }));
      for (const step of steps) {
        switch (step.kind) {
          case "txn":
            table.push(...transaction(s, step.changes));
            break;
          case "watch": {
            const current = s.store.revision;
            const startRevision = step.start === "now" ? 0 : Math.max(1, current + step.start);
            const { withoutPuts, withoutDeletes } = step;
            const options = { ...PLAIN, startRevision, withoutPuts, withoutDeletes };
            const watcher = new Watcher(0, step.span, receivers[step.receiver]!, options);
            const witness = new Witnessed(startRevision === 0 ? current + 1 : startRevision);
            witness.watcher = watcher;
            witnesses.set(watcher, witness);
            watchers.add(watcher);
            break;
          }
          case "catch up":
            watchers.beginTurn();
            watchers.catchUp();
            break;
          case "takes": {
            const receiver = receivers[step.receiver]!;
            receiver.takes = step.count;
            if (receiver.isReady) watchers.resume(receiver);
            break;
          }
          case "cancel": {
            const watcher = [...witnesses.keys()][step.watcher];
            if (watcher !== undefined) watchers.cancel(watcher);
            break;
          }
          case "compact": {
            const revision = s.store.revision - step.back;
            if (revision > Math.max(0, s.store.compactRevision)) {
              s.store.compact(revision).finished.catch(() => undefined); // a restart may cut it short
            }
            break;
          }
          case "replace":
            watchers.detach();
            await s.restart();
            watchers.attach(s.store);
            break;
          case "time":
            await s.clock.run(200);
        }
        watchers.check();
      }
      for (const receiver of receivers) {
        receiver.takes = Infinity;
        watchers.resume(receiver);
      }
      watchers.beginTurn();
      catchUp(watchers);
      assert.equal(watchers.behindCount, 0);
      for (const witness of witnesses.values()) witness.check(table);
      await s.close();
    }),
    { numRuns: RUNS },
  ));

/** Does the changes that a transaction may have, and answers their rows. */
function transaction(
  s: StoreFixture,
  changes: readonly (
    { kind: "put"; key: string; value: string } | { kind: "delete"; key: string; end: string | undefined }
  )[],
): Row[] {
  const main = s.store.revision + 1;
  const rows: Row[] = [];
  const touched = new Set<string>();
  const txn = s.store.write();
  for (const change of changes) {
    if (change.kind === "put") {
      if (touched.has(change.key)) continue; // etcd's API lets a transaction touch a key once
      touched.add(change.key);
      txn.put(bytesFromLatin1(change.key), bytesFromLatin1(change.value), 0n);
      rows.push({ revision: main, key: change.key, shown: `+${change.key}=${change.value}@${main}` });
      continue;
    }
    const hit = txn.range(change).kvs.map((kv) => latin1FromBytes(kv.key));
    if (hit.some((key) => touched.has(key))) continue;
    txn.deleteRange(change);
    for (const key of hit) {
      touched.add(key);
      rows.push({ revision: main, key, shown: `-${key}@${main}` });
    }
  }
  txn.end();
  return rows;
}
