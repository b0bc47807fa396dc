/** Watches on members of a cluster: over a change of the leader, over a snapshot that replaces a member's tables, without a leader. */
import assert from "node:assert/strict";
import test from "node:test";
import { skipReason, underTest } from "../support/binaries.js";
import { Cluster, type ClusterMember } from "../support/cluster.js";
import type { Message } from "../support/messages.js";
import { Stage } from "../support/servers.js";
import { countEvents, eventsOf, type WatchStream } from "../support/watch-stream.js";

const skip = skipReason();
const three = () => Array.from({ length: 3 }, () => underTest());
const KEY = Buffer.from("watched");

/** Mod revisions in the order in which they came. */
function revisions(stream: WatchStream): number[] {
  return stream.answers.flatMap(eventsOf).map((event) => Number((event["kv"] as Message)["mod_revision"]));
}

async function watching(
  member: ClusterMember,
  request: Message,
  fields?: Record<string, string>,
): Promise<WatchStream> {
  const stream = member.client.watch(fields);
  stream.create({ key: KEY, ...request });
  await stream.count(1);
  return stream;
}

/** Puts until there were so many; a put on the way of a change of the leader may fail, and be there all the same. */
async function putAll(member: ClusterMember, count: number): Promise<void> {
  for (let i = 0; i < count; i++) await member.client.put(KEY, `value ${i}`);
}

async function revisionOf({ client }: ClusterMember): Promise<number> {
  const { header } = await client.call("Status", {});
  return Number((header as Message)["revision"]);
}

/** By its revision: etcd tells the applied index of a snapshot only when the next entry is applied, and there may be none. */
async function reaches(member: ClusterMember, revision: number): Promise<void> {
  while ((await revisionOf(member)) < revision) await new Promise((resolve) => setTimeout(resolve, 20));
}

test("every member tells its watchers of every put, whoever leads", { skip }, async (t) => {
  const stage = Stage.for(t);
  const cluster = await Cluster.start(stage, three());
  const leader = await cluster.leader();
  const streams = await Promise.all(cluster.members.map(async (member) => watching(member, {})));
  await putAll(leader, 50);
  await cluster.moveLeader(cluster.others(leader)[0]!);
  await putAll(leader, 50);
  for (const stream of streams) {
    await stream.events(100);
    assert.deepEqual(
      revisions(stream),
      Array.from({ length: 100 }, (_, i) => i + 2),
    );
    stream.close();
  }
});

test("a watcher goes on over a snapshot that replaces its member's tables, and misses nothing", { skip }, async (t) => {
  const stage = Stage.for(t);
  const flags = ["--experimental-snapshot-catchup-entries", "10"];
  const cluster = await Cluster.start(stage, three(), { snapshotCount: 100, flags });
  const leader = await cluster.leader();
  const [away] = cluster.others(leader) as [ClusterMember];
  await putAll(leader, 10);
  const streams = [
    await watching(away, {}),
    await watching(away, { prev_kv: true, start_revision: 5 }),
    await watching(away, { start_revision: 12 + 500 }),
  ];
  await putAll(leader, 5);
  await streams[0]!.events(5);
  process.kill(away.server.pid, "SIGSTOP"); // no message reaches it, and none of its connections ends
  try {
    await putAll(leader, 600);
    await leader.client.call("Compact", { revision: 10, physical: true });
  } finally {
    process.kill(away.server.pid, "SIGCONT");
  }
  await reaches(away, await revisionOf(leader));
  await putAll(leader, 5);
  const expected = (from: number): number[] => Array.from({ length: 622 - from }, (_, i) => from + i);
  for (const [i, from] of [12, 5, 512].entries()) {
    await streams[i]!.events(622 - from);
    assert.deepEqual(revisions(streams[i]!), expected(from));
    assert.equal(countEvents(streams[i]!.answers), 622 - from);
  }
  const installed = away.server.log.filter((line) => line.includes('"applied snapshot"'));
  if (away.binary.family === "walnut") assert.ok(installed.length > 0, "the member was sent a snapshot");
  for (const stream of streams) stream.close();
});

test(
  "a client that insists on a leader is told when there is none for long; others keep their streams",
  { skip },
  async (t) => {
    const stage = Stage.for(t);
    const cluster = await Cluster.start(stage, three());
    const leader = await cluster.leader();
    const [left, other] = cluster.others(leader) as [ClusterMember, ClusterMember];
    const insisting = await watching(left, {}, { hasleader: "true" });
    const patient = await watching(left, {});
    await leader.kill();
    await other.kill();
    assert.equal(await insisting.end(), "14 etcdserver: no leader");
    assert.equal(patient.ended, undefined);
    const late = left.client.watch({ hasleader: "true" });
    assert.equal(await late.end(), "14 etcdserver: no leader");
    await cluster.restart(leader);
    await cluster.restart(other);
    await cluster.leader();
    await left.client.put(KEY, "again");
    await patient.events(1);
    patient.close();
  },
);
