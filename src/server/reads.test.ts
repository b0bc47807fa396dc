import assert from "node:assert/strict";
import test from "node:test";
import { RequestError } from "./errors.js";
import { LinearizableReads } from "./reads.js";

/** raft as reads see it: a context for each question, answered when the play says so. */
function fixture(): {
  readonly reads: LinearizableReads;
  readonly told: string[];
  readonly confirm: () => void;
  /** The turns of the loop that were asked for. */
  readonly turns: (() => void)[];
  /** What a read takes, in milliseconds. */
  readonly takes: (ms: number) => void;
  readonly read: (name: string, then?: () => void) => void;
} {
  let asked: Uint8Array[] = [];
  let contexts = 0;
  const told: string[] = [];
  const turns: (() => void)[] = [];
  let now = 0;
  let readMs = 0;
  const reads = new LinearizableReads(
    {
      request: (context) => void asked.push(context),
      nextContext: () => Uint8Array.of(++contexts),
      now: () => now,
      later: (run) => void turns.push(run),
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
      now += readMs;
      then?.();
    };
    reads.waitFor({ resolve, reject: () => told.push(`${name} refused`) });
  };
  return { reads, told, confirm, read, turns, takes: (ms) => (readMs = ms) };
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

test("long reads are made in slices, in their order, with those that are confirmed meanwhile behind them", () => {
  const { reads, told, confirm, read, turns, takes } = fixture();
  read("before");
  const names = Array.from({ length: 20 }, (_, i) => `long ${i}`);
  for (const name of names) read(name);
  confirm();
  takes(1);
  confirm();
  assert.ok(told.length > 1 && told.length < 10, `${told.length} were made in one turn`);
  read("after");
  confirm();
  assert.equal(told.includes("after"), false);
  assert.equal(reads.isWaitedFor, true);
  while (turns.length > 0) turns.shift()!();
  assert.deepEqual(told, ["before", ...names, "after"]);
  assert.equal(reads.isWaitedFor, false);
});

test("reads that were not made yet are refused at the end", () => {
  const { reads, told, confirm, read, turns, takes } = fixture();
  read("before");
  for (let i = 0; i < 20; i++) read(`long ${i}`);
  confirm();
  takes(1);
  confirm();
  const made = told.length;
  reads.close(new RequestError("SERVER_STOPPED", "the play ends"));
  assert.equal(told.filter((word) => word.endsWith("refused")).length, 21 - made);
  while (turns.length > 0) turns.shift()!();
  assert.equal(told.length, 21);
});
