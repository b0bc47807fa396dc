/** Locks and elections on members of a cluster: whoever is asked, one has the lock; waits go on over the loss of the leader. Beside real etcd. */
import assert from "node:assert/strict";
import test from "node:test";
import { reference, skipReason, underTest } from "../support/binaries.js";
import type { Answer } from "../support/client.js";
import { Cluster, type ClusterMember, eventually } from "../support/cluster.js";
import { beginCall, messageOf, observe } from "../support/concurrency.js";
import type { Message } from "../support/messages.js";
import { Stage } from "../support/servers.js";

const skip = skipReason();
const KEY_WITHIN_MS = 30_000;
const NAME = Buffer.from("l");
const ELECTION = Buffer.from("e");
const keyOf = (name: Buffer, lease: number): Buffer => Buffer.from(`${name.toString()}/${lease.toString(16)}`);

async function untilThere(member: ClusterMember, key: Uint8Array): Promise<void> {
  await eventually<true>(`${Buffer.from(key).toString()} to be there`, KEY_WITHIN_MS, async () => {
    const { count } = await member.client.call("Range", { key, count_only: true });
    return count === undefined ? "it is not" : true;
  });
}

const lockedBy = (answer: Answer): string => Buffer.from(messageOf("Lock", answer)["key"] as Uint8Array).toString();

for (const binary of skip === false ? [reference(), underTest()] : []) {
  test(`waits on followers go on when the leader is lost (${binary.name})`, async (t) => {
    const stage = Stage.for(t);
    const cluster = await Cluster.start(stage, [binary, binary, binary]);
    const leader = await cluster.leader();
    const [one, other] = cluster.others(leader) as [ClusterMember, ClusterMember];
    for (const ID of [1, 2, 3]) await leader.client.call("LeaseGrant", { ID, TTL: 600 });
    messageOf("Lock", await beginCall(one.client, "Lock", { name: NAME, lease: 1 }).answer);
    const campaign = { name: ELECTION, lease: 1, value: Buffer.from("first") };
    const { leader: led } = messageOf("Campaign", await beginCall(other.client, "Campaign", campaign).answer);
    const second = beginCall(one.client, "Lock", { name: NAME, lease: 2 });
    await untilThere(one, keyOf(NAME, 2));
    const third = beginCall(other.client, "Lock", { name: NAME, lease: 3 });
    await untilThere(one, keyOf(NAME, 3));
    const candidate = beginCall(one.client, "Campaign", { name: ELECTION, lease: 2, value: Buffer.from("second") });
    await untilThere(one, keyOf(ELECTION, 2));
    const observer = observe(other.client, ELECTION);
    await observer.count(1);

    await leader.kill();
    await cluster.leader();
    messageOf("Unlock", await beginCall(other.client, "Unlock", { key: keyOf(NAME, 1) }).answer);
    assert.equal(lockedBy(await second.answer), "l/2");
    messageOf("Unlock", await beginCall(other.client, "Unlock", { key: keyOf(NAME, 2) }).answer);
    assert.equal(lockedBy(await third.answer), "l/3");
    messageOf("Resign", await beginCall(one.client, "Resign", { leader: led }).answer);
    assert.ok(messageOf("Campaign", await candidate.answer)["leader"]);
    await observer.count(2);
    const seen = observer.answers.map((answer) => (answer["kv"] as Message)["value"]);
    assert.deepEqual(
      seen.map((value) => Buffer.from(value as Uint8Array).toString()),
      ["first", "second"],
    );
    observer.close();
  });
}
if (skip !== false) test("waits on followers go on when the leader is lost", { skip }, () => undefined);
