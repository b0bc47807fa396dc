import assert from "node:assert/strict";
import test from "node:test";
import { HistoryError, HistoryRecorder } from "./history.js";

const asked = { client: "c1", member: "m1" };

test("a recorder counts what happens, in the order in which it is told", () => {
  let now = 0;
  const recorder = new HistoryRecorder({ now: () => (now += 5) });
  const first = recorder.call({ ...asked, run: 2 }, { kind: "put", key: "a", value: "1" });
  const second = recorder.call(asked, { kind: "range", key: "a" });
  second.refused("future", "a reason");
  first.answered({ kind: "put", header: { revision: 2 } });
  const { operations } = recorder.history();
  assert.deepEqual(
    operations.map(({ id, run, called, calledMs, outcome }) => [
      id,
      run,
      called,
      calledMs,
      outcome.kind,
      outcome.at,
      outcome.atMs,
    ]),
    [
      [0, 2, 0, 5, "answered", 3, 20],
      [1, undefined, 1, 10, "refused", 2, 15],
    ],
  );
});

test("what is never ended is of unknown outcome, and no call ends twice", () => {
  const recorder = new HistoryRecorder();
  const call = recorder.call(asked, { kind: "delete", key: "a" });
  assert.deepEqual(recorder.history().operations[0]?.outcome, { kind: "unknown" });
  call.unknown("timed out");
  assert.throws(
    () => call.answered({ kind: "delete", header: { revision: 2 }, deleted: 1, prevKvs: [] }),
    HistoryError,
  );
});

test("a log told twice is kept once; told in two ways it is kept both ways", () => {
  const recorder = new HistoryRecorder();
  recorder.logged({ revision: 3, changes: [{ kind: "delete", key: "a" }] });
  recorder.logged({ revision: 2, changes: [] });
  recorder.logged({ revision: 3, changes: [{ kind: "delete", key: "a" }] });
  assert.deepEqual(
    recorder.history().log?.map(({ revision }) => revision),
    [2, 3],
  );
  recorder.logged({ revision: 3, changes: [{ kind: "delete", key: "b" }] });
  assert.deepEqual(
    recorder.history().log?.map(({ revision }) => revision),
    [2, 3, 3],
  );
});
