import assert from "node:assert/strict";
import { test } from "node:test";
import { CodedError } from "../base/errors.js";
import { OBSERVED_PIECES_MAX } from "../base/limits.js";
import type { LeaderKey } from "../proto/generated/v3electionpb/election.js";
import { bytesOf, textOf } from "../server/testing/fixture.js";
import { type Hall, hallFixture, Started, through } from "./testing/fixture.js";

const NAME = bytesOf("e");

class CodedRefusal extends CodedError<string> {
  override readonly name = "CodedRefusal";
}
type Led = Awaited<ReturnType<Hall["elections"]["campaign"]>>;

async function stands(hall: Hall, lease: bigint, value: string): Promise<Started<Led>> {
  const started = new Started((context) =>
    hall.elections.campaign({ name: NAME, lease, value: bytesOf(value) }, context),
  );
  await hall.rest();
  return started;
}

async function inOrder(hall: Hall, leases: readonly bigint[]): Promise<Started<Led>[]> {
  const all: Started<Led>[] = [];
  for (const lease of leases) all.push(await stands(hall, await hall.lease(lease), `v${lease}`));
  return all;
}

const statesOf = (all: readonly Started<unknown>[]): string => all.map(({ state }) => state).join(" ");

async function says(hall: Hall, leader: LeaderKey | undefined, value: string): Promise<string> {
  const started = new Started((context) => hall.elections.proclaim(leader, bytesOf(value), context));
  await hall.rest();
  return started.state;
}

async function leads(hall: Hall): Promise<string> {
  const started = new Started((context) => hall.elections.leader(NAME, context));
  await hall.rest();
  return started.answer === undefined ? started.state : textOf(started.answer.kv.value);
}

/** An observer, and what it has seen. */
class Observer {
  readonly seen: string[] = [];
  readonly started: Started<void>;
  /** Whether it reads. */
  open = true;
  #wake: () => void = () => undefined;

  constructor({ elections }: Hall, requiresLeader = false) {
    this.started = new Started(async (context) => {
      for await (const { header, kv } of elections.observe(NAME, context, requiresLeader)) {
        this.seen.push(`${textOf(kv.value)}@${header.revision}`);
        while (!this.open) await new Promise<void>((resolve) => (this.#wake = resolve));
      }
    });
  }

  read(): void {
    this.open = true;
    this.#wake();
  }
}

test("the oldest leads, says who it is, and is followed by the next", async (t) => {
  const hall = await hallFixture(t);
  assert.equal(await leads(hall), "ELECTION_NO_LEADER");
  const [first, second] = await inOrder(hall, [9n, 1n]);
  assert.equal(statesOf([first!, second!]), "answered waits");
  const { leader, header } = first!.answer!;
  assert.deepEqual([textOf(leader.key), leader.lease, leader.rev], ["e/9", 9n, header.revision]);
  assert.equal(await says(hall, leader, "changed"), "answered");
  assert.equal(await leads(hall), "changed");
  await hall.revoke(9n);
  await hall.rest();
  assert.equal(second!.state, "answered");
  assert.equal(await leads(hall), "v1");
  assert.equal(await says(hall, leader, "late"), "ELECTION_NOT_LEADER");
  assert.equal(await says(hall, undefined, "nobody"), "ELECTION_LEADER_MISSING");
});

test("who resigns for one that has been followed changes nothing", async (t) => {
  const hall = await hallFixture(t);
  const [first] = await inOrder(hall, [1n]);
  const { leader } = first!.answer!;
  const resigned = new Started((context) => hall.elections.resign(leader, context));
  await hall.rest();
  assert.equal(resigned.state, "answered");
  const again = await stands(hall, 1n, "again");
  const late = new Started((context) => hall.elections.resign(leader, context));
  await hall.rest();
  assert.equal(statesOf([again, late]), "answered answered");
  assert.deepEqual(await hall.keys(), ["e/1=again"]);
});

test("a resignation that names no lease makes none", async (t) => {
  const hall = await hallFixture(t);
  const [first] = await inOrder(hall, [1n]);
  const resigned = new Started((context) => hall.elections.resign({ ...first!.answer!.leader, lease: 0n }, context));
  await hall.rest();
  assert.equal(resigned.state, "answered");
  assert.deepEqual([...(await hall.member.leaseLeases()).ids], [1n]);
});

test("a candidate stands again with another value, and keeps its place; one who goes resigns", async (t) => {
  const hall = await hallFixture(t);
  const [, second, third] = await inOrder(hall, [1n, 2n, 3n]);
  const again = await stands(hall, 2n, "other");
  assert.deepEqual(await hall.keys(), ["e/1=v1", "e/2=other", "e/3=v3"]);
  third!.cancel();
  await hall.rest();
  assert.deepEqual(await hall.keys(), ["e/1=v1", "e/2=other"]);
  await hall.revoke(1n);
  await hall.rest();
  assert.equal(statesOf([second!, again, third!]), "answered answered SERVER_CANCELED");
});

test("an observer sees every word of every leader, and ends with its caller", async (t) => {
  const hall = await hallFixture(t);
  const observer = new Observer(hall);
  await hall.rest();
  const [first] = await inOrder(hall, [1n, 2n]);
  await says(hall, first!.answer!.leader, "b");
  await says(hall, first!.answer!.leader, "c");
  await hall.revoke(1n);
  await hall.rest();
  await hall.revoke(2n);
  await hall.rest();
  await inOrder(hall, [3n]);
  assert.deepEqual(observer.seen, ["v1@2", "b@4", "c@5", "v2@6", "v3@8"]);
  observer.started.cancel();
  await hall.rest();
  assert.equal(observer.started.state, "SERVER_CANCELED");
});

test("an observer that does not read is not waited for, and misses nothing", async (t) => {
  const hall = await hallFixture(t);
  const [first] = await inOrder(hall, [1n]);
  const observer = new Observer(hall);
  observer.open = false;
  await hall.rest();
  const words = Array.from({ length: 3 * OBSERVED_PIECES_MAX }, (_, i) => `w${i}`);
  for (const word of words) assert.equal(await says(hall, first!.answer!.leader, word), "answered");
  assert.equal(observer.seen.length, 1);
  observer.read();
  await hall.rest();
  assert.deepEqual(
    observer.seen.map((seen) => seen.split("@")[0]),
    ["v1", ...words],
  );
  observer.started.cancel();
  await hall.rest();
});

test("an observer is told that the member stops; where it may not read, it ends well", async (t) => {
  let denied = true;
  const hall = await hallFixture(t, (member) =>
    through(member, {
      range: async (request, context) => {
        if (denied) throw new CodedRefusal("AUTH_PERMISSION_DENIED", "not for you");
        return member.range(request, context);
      },
    }),
  );
  const kept = new Observer(hall);
  await hall.rest();
  assert.equal(kept.started.state, "answered");
  denied = false;
  const [first, second] = [new Observer(hall), new Observer(hall)];
  await hall.rest();
  const [leader] = await inOrder(hall, [1n]);
  await hall.rest();
  assert.equal(statesOf([first.started, second.started, leader!]), "waits waits answered");
  await hall.stop();
  assert.equal(statesOf([first.started, second.started]), "SERVER_STOPPED SERVER_STOPPED");
});
