import assert from "node:assert/strict";
import { test } from "node:test";
import { RaftError, type RawNode } from "../raft/index.js";
import { RequestError } from "./errors.js";
import { Proposals } from "./proposals.js";

const TIMEOUT_MS = 1_000;
const data = (text: string): Uint8Array => new TextEncoder().encode(text);

/** raft as far as proposals see it: takes them while there is a leader. */
function play(): {
  readonly proposals: Proposals;
  readonly taken: string[];
  readonly world: { now: number; hasLeader: boolean; failed: number };
} {
  const taken: string[] = [];
  const world = { now: 0, hasLeader: false, failed: 0 };
  const take = (what: string): void => {
    if (!world.hasLeader) throw new RaftError("RAFT_PROPOSAL_DROPPED", "there is no leader");
    taken.push(what);
  };
  const node = {
    propose: (bytes: Uint8Array) => take(new TextDecoder().decode(bytes)),
    proposeConfChange: () => take("change"),
  } as unknown as RawNode;
  const proposals = new Proposals(
    {
      node,
      now: () => world.now,
      schedule: () => undefined,
      timeoutError: (since) => new RequestError("SERVER_TIMEOUT", `since ${since}`),
      onFailed: (count) => (world.failed += count),
    },
    TIMEOUT_MS,
  );
  return { proposals, taken, world };
}

test("what comes before there is a leader is proposed when there is one, in order", async () => {
  const { proposals, taken, world } = play();
  const first = proposals.propose(1n, data("first"));
  const second = proposals.propose(2n, data("second"));
  assert.deepEqual(taken, []);
  world.hasLeader = true;
  const third = proposals.propose(3n, data("third"));
  assert.deepEqual(taken, []); // behind the others
  proposals.retry();
  assert.deepEqual(taken, ["first", "second", "third"]);
  for (const id of [1n, 2n, 3n]) proposals.onOutcome(id, { kind: "answer", response: id });
  assert.deepEqual(
    (await Promise.all([first, second, third])).map(({ response }) => response),
    [1n, 2n, 3n],
  );
  assert.equal(proposals.size, 0);
});

test("one whose time is over is told so, and is not proposed any more", async () => {
  const { proposals, taken, world } = play();
  const late = assert.rejects(proposals.propose(1n, data("late")), { code: "SERVER_TIMEOUT", message: /since 0/ });
  world.now = TIMEOUT_MS;
  proposals.onTick();
  await late;
  world.hasLeader = true;
  proposals.retry();
  assert.deepEqual(taken, []);
  assert.equal(world.failed, 1);
});

test("one that raft has taken is never proposed twice", async () => {
  const { proposals, taken, world } = play();
  world.hasLeader = true;
  const lost = assert.rejects(proposals.propose(1n, data("lost")), { code: "SERVER_TIMEOUT" });
  proposals.retry();
  world.now = TIMEOUT_MS;
  proposals.onTick();
  await lost;
  assert.deepEqual(taken, ["lost"]);
});

test("a refusal is the caller's; when the member stops, all are refused", async () => {
  const { proposals, world } = play();
  world.hasLeader = true;
  const refused = assert.rejects(proposals.propose(1n, data("x")), { code: "SERVER_NO_SPACE" });
  proposals.onOutcome(1n, { kind: "refused", error: new RequestError("SERVER_NO_SPACE", "full") });
  await refused;
  const stopped = new RequestError("SERVER_STOPPED", "the member is stopping");
  const waiting = assert.rejects(proposals.propose(2n, data("y")), { code: "SERVER_STOPPED" });
  proposals.close(stopped);
  await waiting;
  await assert.rejects(proposals.propose(3n, data("z")), { code: "SERVER_STOPPED" });
});
