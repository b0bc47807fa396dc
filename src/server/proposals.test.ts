import assert from "node:assert/strict";
import test from "node:test";
import { MESSAGE_ENTRY_BYTES_MAX } from "../base/limits.js";
import { ConfChangeType } from "../proto/raft.js";
import { RaftError } from "../raft/index.js";
import { RequestError } from "./errors.js";
import { Proposals } from "./proposals.js";

const TIMEOUT_MS = 100;

/** raft as proposals see it: what it was given, one text a call. It takes nothing without a leader. */
function fixture(): {
  readonly proposals: Proposals;
  readonly given: string[];
  readonly world: { now: number; knowsLeader: boolean; takes: boolean; scheduled: number; refused: number };
} {
  const given: string[] = [];
  const world = { now: 0, knowsLeader: true, takes: true, scheduled: 0, refused: 0 };
  const take = (what: string): void => {
    if (!world.takes) {
      world.refused++;
      throw new RaftError("RAFT_PROPOSAL_DROPPED", "too much is uncommitted");
    }
    given.push(what);
  };
  const proposals = new Proposals(
    {
      node: {
        proposeBatch: (datas) => {
          if (datas.length > 0) take(datas.map((data) => `${data[0]}`).join(" "));
        },
        proposeConfChange: () => take("change"),
      },
      hasLeader: () => world.knowsLeader,
      now: () => world.now,
      schedule: () => world.scheduled++,
      timeoutError: () => new RequestError("SERVER_TIMEOUT", "too late"),
      onFailed: () => undefined,
    },
    TIMEOUT_MS,
  );
  return { proposals, given, world };
}

/** A request whose data begins with this byte; how it ends is looked at where a test says so. */
function propose(proposals: Proposals, byte: number, bytes = 1): Promise<unknown> {
  const data = new Uint8Array(bytes);
  data[0] = byte;
  const answer = proposals.propose({ high: 0, low: byte }, data);
  answer.catch(() => undefined);
  return answer;
}

test("the requests of one turn are one proposal", () => {
  const { proposals, given, world } = fixture();
  for (const byte of [1, 2, 3]) void propose(proposals, byte);
  assert.deepEqual(given, []);
  assert.equal(world.scheduled, 3);
  proposals.give();
  proposals.give();
  assert.deepEqual(given, ["1 2 3"]);
});

test("a proposal is no larger than a message, unless it is one request", () => {
  const { proposals, given } = fixture();
  void propose(proposals, 1, MESSAGE_ENTRY_BYTES_MAX - 1);
  void propose(proposals, 2);
  void propose(proposals, 3);
  void propose(proposals, 4, 2 * MESSAGE_ENTRY_BYTES_MAX);
  void propose(proposals, 5);
  proposals.give();
  assert.deepEqual(given, ["1 2", "3", "4", "5"]);
});

test("a change of the configuration goes alone, and in its turn", () => {
  const { proposals, given } = fixture();
  void propose(proposals, 1);
  const change = { id: 2n, type: ConfChangeType.addNode, nodeId: 9n, context: new Uint8Array() };
  proposals.changeConfiguration(change).catch(() => undefined);
  void propose(proposals, 3);
  proposals.give();
  assert.deepEqual(given, ["1", "change", "3"]);
});

test("what raft turns away is offered again when a leader was found, in order and not more often", () => {
  const { proposals, given, world } = fixture();
  world.takes = false;
  void propose(proposals, 1);
  proposals.give();
  void propose(proposals, 2);
  proposals.give();
  proposals.give();
  assert.equal(world.refused, 1);
  world.takes = true;
  proposals.retry();
  proposals.give();
  assert.deepEqual(given, ["1 2"]);
});

test("while no leader is known raft is not asked, however much time passes", () => {
  const { proposals, given, world } = fixture();
  world.takes = false;
  world.knowsLeader = false;
  void propose(proposals, 1);
  for (let tick = 0; tick < 5; tick++) {
    proposals.onTick();
    proposals.give();
  }
  assert.equal(world.refused, 0);
  world.takes = true;
  world.knowsLeader = true;
  proposals.retry();
  proposals.give();
  assert.deepEqual(given, ["1"]);
});

test("a request whose caller has gone is not proposed", async () => {
  const { proposals, given, world } = fixture();
  world.takes = false;
  const late = propose(proposals, 1);
  proposals.give();
  world.now = TIMEOUT_MS / 2;
  void propose(proposals, 2);
  world.now = TIMEOUT_MS;
  world.takes = true;
  proposals.onTick();
  await assert.rejects(late, { code: "SERVER_TIMEOUT" });
  proposals.give();
  assert.deepEqual(given, ["2"]);
});

test("one that raft has taken is never proposed twice, and its caller is told when its time is over", async () => {
  const { proposals, given, world } = fixture();
  const lost = propose(proposals, 1);
  proposals.give();
  proposals.retry();
  proposals.give();
  world.now = TIMEOUT_MS;
  proposals.onTick();
  await assert.rejects(lost, { code: "SERVER_TIMEOUT" });
  proposals.give();
  assert.deepEqual(given, ["1"]);
});

test("an answer and a refusal are the caller's; when the member stops, all are refused", async () => {
  const { proposals } = fixture();
  const answered = propose(proposals, 1);
  const refused = propose(proposals, 2);
  const waiting = propose(proposals, 3);
  proposals.give();
  proposals.onOutcome({ high: 7, low: 1 }, { kind: "answer", response: "another member's" });
  proposals.onOutcome({ high: 0, low: 1 }, { kind: "answer", response: "yes" });
  proposals.onOutcome({ high: 0, low: 2 }, { kind: "refused", error: new RequestError("SERVER_NO_SPACE", "full") });
  assert.deepEqual(await answered, { kind: "answer", response: "yes" });
  await assert.rejects(refused, { code: "SERVER_NO_SPACE" });
  proposals.close(new RequestError("SERVER_STOPPED", "the member is stopping"));
  await assert.rejects(waiting, { code: "SERVER_STOPPED" });
  await assert.rejects(propose(proposals, 4), { code: "SERVER_STOPPED" });
  assert.equal(proposals.size, 0);
});
