import assert from "node:assert/strict";
import test from "node:test";
import { LinearizableReads } from "./reads.js";

/** raft as reads see it: a context for each question, answered when the play says so. */
function fixture(): {
  readonly reads: LinearizableReads;
  readonly told: string[];
  readonly confirm: () => void;
  readonly read: (name: string, then?: () => void) => void;
} {
  let asked: Uint8Array[] = [];
  let contexts = 0;
  const told: string[] = [];
  const reads = new LinearizableReads(
    {
      request: (context) => void asked.push(context),
      nextContext: () => Uint8Array.of(++contexts),
      now: () => 0,
      appliedIndex: () => 1,
      onLateAnswer: () => told.push("late"),
      onFailed: () => told.push("failed"),
    },
    100,
  );
  const confirm = (): void => {
    const states = asked.map((context) => ({ index: 1, context }));
    asked = [];
    reads.onReadStates(states);
  };
  const read = (name: string, then?: () => void): void => {
    const resolve = (): void => {
      told.push(name);
      then?.();
    };
    reads.waitFor({ resolve, reject: () => told.push(`${name} refused`) });
  };
  return { reads, told, confirm, read };
}

test("reads that come while one is confirmed share the next confirmation", () => {
  const { told, confirm, read } = fixture();
  for (const name of ["first", "second", "third"]) read(name);
  confirm();
  assert.deepEqual(told, ["first"]);
  confirm();
  assert.deepEqual(told, ["first", "second", "third"]);
});

test("reads that are asked for by others as they end are all answered", () => {
  const { reads, told, confirm, read } = fixture();
  read("before");
  read("a", () => read("after a"));
  read("b", () => read("after b"));
  for (let i = 0; i < 4; i++) confirm();
  assert.deepEqual(told, ["before", "a", "b", "after a", "after b"]);
  assert.equal(reads.isWaitedFor, false);
});
