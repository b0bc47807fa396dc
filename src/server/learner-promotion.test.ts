import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../sim/index.js";
import { EMPTY_BYTES } from "../base/bytes.js";
import { CATCH_UP_HELD_BYTES_MIN, CATCH_UP_HELD_MS_MAX } from "../base/limits.js";
import { MessageType, type Message } from "../proto/raft.js";
import { Member } from "./index.js";
import type { PeerDoor, PeerReceiver, Peers } from "./peers.js";
import {
  putRequest,
  stopMember,
  timePassesUntil,
  tinyOptions,
  worldOf,
  type RunningMember,
} from "./testing/fixture.js";

const VALUE_BYTES = 2 ** 20;
const PUTS = (2 * CATCH_UP_HELD_BYTES_MIN) / VALUE_BYTES;

/** The way to a learner that says what the test says. */
class OneLearner implements PeerDoor {
  readonly appends: Message[] = [];
  #receiver: PeerReceiver | undefined;

  connect(_local: unknown, receiver: PeerReceiver): Peers {
    this.#receiver = receiver;
    return {
      send: (messages) => this.appends.push(...messages.filter(({ type }) => type === MessageType.append)),
      sendSnapshot: () => assert.fail("nothing is gone from the log"),
      add: () => undefined,
      remove: () => undefined,
      activeSince: () => 0,
      stop: () => Promise.resolve(),
    };
  }

  /** What the learner says to the last append that it was sent. */
  answer(fields: Pick<Message, "index" | "reject">): void {
    const { to, from, term } = this.appends.at(-1)!;
    const type = MessageType.appendResponse;
    const rest = { logTerm: 0, entries: [], commit: 0, vote: 0n, snapshot: undefined, rejectHint: 0, responses: [] };
    this.#receiver!.receive({ ...rest, type, to: from, from: to, term, context: EMPTY_BYTES, ...fields });
  }

  readonly fetchCluster = (): Promise<undefined> => Promise.resolve(undefined);
  readonly fetchVersions = (): Promise<undefined> => Promise.resolve(undefined);
  readonly fetchHashKv = (): Promise<undefined> => Promise.resolve(undefined);
  readonly promote = (): Promise<undefined> => Promise.resolve(undefined);
  readonly renewLease = (): Promise<undefined> => Promise.resolve(undefined);
  readonly leaseTimeToLive = (): Promise<undefined> => Promise.resolve(undefined);
  readonly close = (): Promise<void> => Promise.resolve();
}

async function startLeader(door: PeerDoor): Promise<RunningMember> {
  const world = worldOf(new SimDisk());
  const failures: unknown[] = [];
  const options = { ...tinyOptions, snapshotCount: 1_000, catchUpEntries: 1_000, strictReconfigCheck: false };
  const starting = Member.start({ platform: world.platform, peers: door }, options, {
    onFailure: (error) => failures.push(error),
  });
  return { ...world, member: await timePassesUntil(world, starting), failures };
}

test("a learner is not promoted before it was sent all that it lacked, however much it says to have", async () => {
  const door = new OneLearner();
  const running = await startLeader(door);
  const { member, clock } = running;
  for (let i = 0; i < PUTS; i++) {
    await timePassesUntil(running, member.put(putRequest(`key-${i}`, "x".repeat(VALUE_BYTES))));
  }
  const adding = member.memberAdd({ peerUrls: ["http://learner:2380"], isLearner: true });
  const { id } = (await timePassesUntil(running, adding)).member;
  await clock.run(200);
  door.answer({ index: door.appends.at(-1)!.index, reject: true });
  await clock.run(100);
  const first = door.appends.at(-1)!;
  assert.equal(first.index, 0, "the log is sent from its beginning");
  door.answer({ index: first.entries.at(-1)!.index, reject: false });
  await clock.run(100);
  const lastIndex = member.status().raftAppliedIndex;
  const lastSent = (): number => door.appends.at(-1)!.index + door.appends.at(-1)!.entries.length;
  assert.ok(lastSent() < lastIndex, "the rest is held");

  door.answer({ index: lastIndex, reject: false });
  await assert.rejects(member.memberPromote(id), { code: "SERVER_LEARNER_NOT_READY", message: /still being sent/ });
  await clock.run(CATCH_UP_HELD_MS_MAX);
  assert.ok(lastSent() >= lastIndex, "nothing is held any more");
  const { members } = await timePassesUntil(running, member.memberPromote(id));
  assert.equal(members.find((each) => each.id === id)!.isLearner, false);
  await stopMember(running);
  assert.deepEqual(running.failures, []);
});
