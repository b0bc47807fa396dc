import assert from "node:assert/strict";
import { test } from "node:test";
import type { KeyValue } from "./history.js";
import { StateMachine } from "./state-machine.js";
import { NOBODY } from "./auth-model.js";
import { checkWatchers, type Told, type WatcherRecord, type WatchViolation } from "./watches.js";

/** Revision 2 puts a; 3 puts a and b; 4 deletes a; then all before 3 is compacted, and revision 5 puts b. */
function written(): StateMachine {
  const state = new StateMachine({ leaseSecondsMin: 1 });
  const put = (key: string, value: string) => ({ kind: "put", key, value }) as const;
  const ask = (request: Parameters<typeof state.store.apply>[0]): void =>
    void state.apply({ kind: "request", caller: NOBODY, request });
  ask(put("a", "1"));
  ask({ kind: "txn", compares: [], success: [put("a", "2"), put("b", "2")], failure: [] });
  ask({ kind: "delete", key: "a" });
  state.apply({ kind: "compact", revision: 3 });
  ask(put("b", "3"));
  return state;
}

const PAIRS: Record<string, KeyValue> = {
  a2: { key: "a", value: "1", createRevision: 2, modRevision: 2, version: 1 },
  a3: { key: "a", value: "2", createRevision: 2, modRevision: 3, version: 2 },
  b3: { key: "b", value: "2", createRevision: 3, modRevision: 3, version: 1 },
  b5: { key: "b", value: "3", createRevision: 3, modRevision: 5, version: 2 },
};

type Event = Extract<Told, { kind: "events" }>["events"][number];

const put = (name: string, before?: string): Event => {
  const kv = PAIRS[name]!;
  return {
    revision: kv.modRevision,
    change: { kind: "put", kv },
    before: before === undefined ? undefined : PAIRS[before],
  };
};
const gone = (before?: string): Event => ({
  revision: 4,
  change: { kind: "delete", key: "a" },
  before: before === undefined ? undefined : PAIRS[before],
});
const events = (...all: Event[]): Told => ({ kind: "events", events: all, revision: all.at(-1)!.revision, applied: 5 });
const progress = (revision: number): Told => ({ kind: "progress", revision, applied: 5 });
const compacted = (compactRevision: number): Told => ({ kind: "compacted", compactRevision, applied: 5 });

const ALL: readonly Told[] = [events(put("a2")), events(put("a3"), put("b3")), events(gone()), events(put("b5"))];

function verdict(told: readonly Told[], more: Partial<WatcherRecord> = {}): WatchViolation["law"] | "right" {
  const state = written();
  const watcher: WatcherRecord = {
    name: "w1/1",
    member: "m1",
    span: { key: "a", end: "c" },
    startRevision: 2,
    withoutPuts: false,
    withoutDeletes: false,
    withPrevious: false,
    createdAt: 1,
    told: [...told],
    openAtEnd: true,
    ...more,
  };
  const [first] = checkWatchers([watcher], {
    changes: state.changes,
    revision: state.store.revision,
    index: state.index,
    revisionAt: (index) => state.revisionAt(index),
    compactRevisionAt: (index) => state.compactRevisionAt(index),
  });
  return first?.law ?? "right";
}

const CASES: readonly (readonly [
  what: string,
  told: readonly Told[],
  more: Partial<WatcherRecord>,
  WatchViolation["law"] | "right",
])[] = [
  ["all, one after the other", ALL, {}, "right"],
  ["several revisions at once", [events(put("a2"), put("a3"), put("b3"), gone()), events(put("b5"))], {}, "right"],
  ["what comes from now on", [events(gone()), events(put("b5"))], { startRevision: 0, createdAt: 3 }, "right"],
  ["what comes from a revision to come on", [events(put("b5"))], { startRevision: 5 }, "right"],
  ["only deletions", [events(gone())], { withoutPuts: true }, "right"],
  [
    "with what was there before",
    [events(put("a2")), events(put("a3", "a2"), put("b3")), events(gone("a3")), events(put("b5", "b3"))],
    { withPrevious: true },
    "right",
  ],
  [
    "without what is compacted of it",
    [events(put("a2")), events(put("a3"), put("b3")), events(gone("a3")), events(put("b5", "b3"))],
    { withPrevious: true },
    "right",
  ],
  ["progress behind all of it", [...ALL, progress(5)], {}, "right"],
  ["the end, for its history is compacted", [compacted(3)], { openAtEnd: false }, "right"],
  ["a stream that was cut", [events(put("a2"))], { openAtEnd: false }, "right"],
  ["a lost one", [ALL[0]!, ALL[2]!, ALL[3]!], {}, "watch-is-reliable"],
  ["one told twice", [ALL[0]!, ALL[0]!, ...ALL.slice(1)], {}, "watch-is-reliable"],
  ["two in the wrong order", [ALL[1]!, ALL[0]!, ...ALL.slice(2)], {}, "watch-is-reliable"],
  ["what comes before its first revision", [...ALL], { startRevision: 3 }, "watch-is-reliable"],
  [
    "a deletion that nobody asked for",
    [events(put("a2")), events(put("a3"), put("b3")), events(gone())],
    { withoutDeletes: true },
    "watch-is-reliable",
  ],
  [
    "a part of a revision",
    [events(put("a2")), events(put("a3")), events(put("b3")), ...ALL.slice(2)],
    {},
    "watch-is-atomic",
  ],
  [
    "another pair than was written",
    [events({ ...put("a2"), change: { kind: "put", kv: { ...PAIRS["a2"]!, version: 7 } } }), ...ALL.slice(1)],
    {},
    "watch-is-whole",
  ],
  [
    "another one before it",
    [events(put("a2")), events(put("a3"), put("b3")), events(gone("a2"))],
    { withPrevious: true },
    "watch-is-whole",
  ],
  [
    "nothing before it, although that is there",
    [events(put("a2")), events(put("a3"), put("b3")), events(gone("a3")), events(put("b5"))],
    { withPrevious: true },
    "watch-is-whole",
  ],
  ["progress too early", [ALL[0]!, progress(3), ...ALL.slice(1)], {}, "watch-is-bookmarkable"],
  ["progress to what is still to come", [...ALL, progress(6)], {}, "watch-is-bookmarkable"],
  ["a compaction that was not", [compacted(4)], { openAtEnd: false }, "watch-is-over"],
  ["a compaction that does not concern it", [ALL[0]!, ALL[1]!, compacted(3)], { openAtEnd: false }, "watch-is-over"],
  ["silence at the end", ALL.slice(0, 3), {}, "watch-is-live"],
];

for (const [what, told, more, expected] of CASES) {
  test(`a watcher that is told ${what}: ${expected}`, () => assert.equal(verdict(told, more), expected));
}
