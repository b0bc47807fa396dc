import assert from "node:assert/strict";
import { test } from "node:test";
import { SimDisk } from "../../sim/index.js";
import { decodeKeyValue } from "../proto/fast/key-value.js";
import type { PutResponse } from "../proto/generated/etcdserverpb/kv.js";
import { AlarmRequest_AlarmAction, AlarmType } from "../proto/generated/etcdserverpb/maintenance.js";
import {
  bytesOf,
  contentOf,
  DATA_DIR,
  deleteRequest,
  getRequest,
  putRequest,
  rangeRequest,
  startMember,
  stopMember,
  textOf,
  timePassesUntil,
  txnRequest,
  worldOf,
} from "./testing/fixture.js";

test("a put is acknowledged, read back linearizably, and there after a restart", async () => {
  const first = await startMember(worldOf(new SimDisk()));
  const { header } = await timePassesUntil(first, first.member.put(putRequest("greeting", "hello")));
  assert.equal(header?.revision, 2);
  assert.equal(header?.memberId, first.member.memberId);
  const read = await timePassesUntil(first, first.member.range(rangeRequest("greeting")));
  assert.deepEqual(
    read.kvs.map((kv) => textOf(kv.value)),
    ["hello"],
  );
  await stopMember(first);

  const second = await startMember(worldOf(first.disk));
  assert.deepEqual(await contentOf(second.member), new Map([["greeting", { value: "hello", revision: 2 }]]));
  assert.equal(second.member.memberId, first.member.memberId);
  assert.equal(second.member.clusterId, first.member.clusterId);
  await stopMember(second);
});

test("one who is called back gets what a promise would bring: answers, refusals, and one word only", async () => {
  const running = await startMember(worldOf(new SimDisk()), { requestBytesMax: 1000 });
  const { member } = running;
  const told: string[] = [];
  const receiver = (
    show: (answer: never) => string,
  ): { resolve(answer: never): void; reject(error: unknown): void } => ({
    resolve: (answer) => told.push(show(answer)),
    reject: (error) => told.push(String((error as { code?: string }).code)),
  });
  const put = receiver(
    ({ header }: PutResponse) => `put at ${header?.revision} by ${header?.memberId === member.memberId}`,
  );
  const get = receiver((pair: Uint8Array | undefined) =>
    pair === undefined ? "none" : textOf(decodeKeyValue(pair).value),
  );
  const toldBy = async (count: number): Promise<string[]> => {
    while (told.length < count) await running.clock.run(10);
    return told.splice(0);
  };
  member.getFor(getRequest("greeting", true), get);
  assert.deepEqual(told.splice(0), ["none"], "a serializable get is answered at once");
  member.putFor(putRequest("greeting", "hello"), put);
  assert.deepEqual(await toldBy(1), ["put at 2 by true"]);
  member.getFor(getRequest("greeting", false), get);
  assert.deepEqual(told, [], "a linearizable one waits for its turn");
  assert.deepEqual(await toldBy(1), ["hello"]);
  member.putFor(putRequest("greeting", "of no lease", { lease: 7n }), put);
  assert.deepEqual(await toldBy(1), ["LEASE_NOT_FOUND"]);
  assert.throws(() => member.putFor(putRequest("greeting", "x".repeat(2000)), put), {
    code: "SERVER_REQUEST_TOO_LARGE",
  });
  member.putFor(putRequest("greeting", "late"), put);
  member.getFor(getRequest("greeting", false), get);
  await stopMember(running);
  assert.equal(told.length, 2, `each is told when the member stops, one or the other: ${told.join(", ")}`);
  assert.throws(() => member.getFor(getRequest("greeting", true), get), { code: "SERVER_STOPPED" });
});

test("a new member publishes its name and decides the cluster's version", async () => {
  const running = await startMember(worldOf(new SimDisk()), { advertiseClientUrls: ["http://10.0.0.1:2379"] });
  const { members } = await timePassesUntil(running, running.member.memberList(true));
  assert.deepEqual(
    members.map(({ name, clientUrls, peerUrls }) => ({ name, clientUrls, peerUrls })),
    [{ name: "default", clientUrls: ["http://10.0.0.1:2379"], peerUrls: ["http://localhost:2380"] }],
  );
  assert.equal(running.member.clusterVersion(), "3.5.0");
  assert.equal(running.member.leader(), running.member.memberId);
  await stopMember(running);
});

test("snapshots are taken, old segments and snapshots purged, and the member restarts from the newest", async () => {
  const first = await startMember(worldOf(new SimDisk()), { segmentsKept: 2, snapshotsKept: 2 });
  for (let i = 0; i < 200; i++) {
    await timePassesUntil(first, first.member.put(putRequest(`key-${i % 10}`, `value-${i}-${"x".repeat(100)}`)));
  }
  await first.clock.run(31_000);
  const files = (folder: string): string[] =>
    [...first.disk.tree().keys()].filter((path) => path.startsWith(`${DATA_DIR}/member/${folder}/`));
  assert.equal(files("snap").filter((path) => path.endsWith(".snap")).length, 2);
  assert.ok(files("wal").filter((path) => path.endsWith(".wal")).length <= 3, files("wal").join("\n"));
  const before = await contentOf(first.member);
  await stopMember(first);

  const second = await startMember(worldOf(first.disk));
  assert.deepEqual(await contentOf(second.member), before);
  assert.equal(second.member.clusterVersion(), "3.5.0");
  assert.equal((await second.member.memberList(false)).members[0]?.name, "default");
  assert.ok(!second.log.lines.some(({ message }) => message.startsWith("No snapshot found")));
  await stopMember(second);
});

test("a transaction is all or nothing, and a read-only one writes no entry", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  const { member } = running;
  const both = txnRequest({
    success: [
      { request: { $case: "requestPut", value: putRequest("a", "1") } },
      { request: { $case: "requestPut", value: putRequest("b", "2") } },
    ],
  });
  const written = await timePassesUntil(running, member.txn(both));
  assert.equal(written.header?.revision, 2);
  const failing = txnRequest({
    success: [
      { request: { $case: "requestPut", value: putRequest("a", "3") } },
      { request: { $case: "requestPut", value: putRequest("c", "", { ignoreValue: true }) } },
    ],
  });
  await assert.rejects(timePassesUntil(running, member.txn(failing)), { code: "KEY_NOT_FOUND" });
  const index = member.status().raftIndex;
  const reading = txnRequest({ success: [{ request: { $case: "requestRange", value: rangeRequest("a") } }] });
  const read = await timePassesUntil(running, member.txn(reading));
  assert.equal(read.responses.length, 1);
  assert.equal(member.status().raftIndex, index);
  assert.deepEqual(
    [...(await contentOf(member)).values()].map(({ value }) => value),
    ["1", "2"],
  );
  await stopMember(running);
});

test("a compacted revision is refused, and a physical compaction is durable when it answers", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  const { member } = running;
  for (let i = 0; i < 5; i++) await timePassesUntil(running, member.put(putRequest("a", String(i))));
  await timePassesUntil(running, member.deleteRange(deleteRequest("a")));
  await timePassesUntil(running, member.compact({ revision: 4, physical: true }));
  await assert.rejects(timePassesUntil(running, member.range(rangeRequest("a", { revision: 3 }))), {
    code: "MVCC_COMPACTED",
  });
  await assert.rejects(timePassesUntil(running, member.compact({ revision: 4, physical: false })), {
    code: "MVCC_COMPACTED",
  });
  await assert.rejects(timePassesUntil(running, member.compact({ revision: 99, physical: false })), {
    code: "MVCC_FUTURE_REVISION",
  });
  const hash = await timePassesUntil(running, member.hashKv({ revision: 0 }));
  const second = await startMember(worldOf(running.disk.kill()));
  assert.deepEqual((await timePassesUntil(second, second.member.hashKv({ revision: 0 }))).hash, hash.hash);
  await stopMember(second);
});

test("over its quota a member raises the alarm and refuses puts, also after a restart, until it is disarmed", async () => {
  const options = { quotaBytes: 40_000 };
  const first = await startMember(worldOf(new SimDisk()), options);
  const fill = async (running: typeof first): Promise<void> => {
    for (let i = 0; i < 100; i++)
      await timePassesUntil(running, running.member.put(putRequest(`k${i}`, "x".repeat(1000))));
  };
  await assert.rejects(fill(first), { code: "SERVER_NO_SPACE" });
  assert.deepEqual(
    first.member.alarms().map(({ alarm }) => alarm),
    [AlarmType.NOSPACE],
  );
  await timePassesUntil(first, first.member.deleteRange(deleteRequest("k", { rangeEnd: bytesOf("l") })));
  await stopMember(first);

  const second = await startMember(worldOf(first.disk), { quotaBytes: 0 });
  await assert.rejects(timePassesUntil(second, second.member.put(putRequest("a", "1"))), { code: "SERVER_NO_SPACE" });
  assert.match(second.member.status().errors.join(), /NOSPACE/);
  await timePassesUntil(
    second,
    second.member.alarm({
      action: AlarmRequest_AlarmAction.DEACTIVATE,
      memberID: second.member.memberId,
      alarm: AlarmType.NOSPACE,
    }),
  );
  await timePassesUntil(second, second.member.put(putRequest("a", "1")));
  await stopMember(second);
});

test("a request larger than the limit is refused and leaves no trace", async () => {
  const running = await startMember(worldOf(new SimDisk()), { requestBytesMax: 1000 });
  const index = running.member.status().raftIndex;
  await assert.rejects(running.member.put(putRequest("a", "x".repeat(1000))), { code: "SERVER_REQUEST_TOO_LARGE" });
  assert.equal(running.member.status().raftIndex, index);
  await stopMember(running);
});

test("what comes after the stop is refused; what was on its way is answered or refused, never left hanging", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  const underWay = running.member.put(putRequest("a", "1")).then(
    () => "answered",
    (error: { code: string }) => error.code,
  );
  const stopping = stopMember(running);
  assert.match(await underWay, /^(answered|SERVER_STOPPED)$/);
  await stopping;
  await assert.rejects(running.member.put(putRequest("a", "1")), { code: "SERVER_STOPPED" });
  await assert.rejects(running.member.range(rangeRequest("a")), { code: "SERVER_STOPPED" });
});

test("after a failed sync nothing is acknowledged, and the restart has all that was", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  await timePassesUntil(running, running.member.put(putRequest("before", "1")));
  running.disk.fail({ kinds: ["datasync"], nth: 1, code: "DISK_IO" });
  await assert.rejects(timePassesUntil(running, running.member.put(putRequest("lost", "1"))), {
    code: "SERVER_STOPPED",
  });
  assert.equal(running.failures.length, 1);
  await assert.rejects(running.member.put(putRequest("later", "1")), { code: "SERVER_STOPPED" });
  await timePassesUntil(running, running.member.stop());
  const second = await startMember(worldOf(running.disk.kill()));
  const content = await contentOf(second.member);
  assert.equal(content.get("before")?.value, "1");
  assert.equal(content.has("later"), false);
  await stopMember(second);
});

test("a key goes with its lease when that runs out, and stays while the lease is kept alive", async () => {
  const running = await startMember(worldOf(new SimDisk()));
  const { member, clock } = running;
  const grant = await timePassesUntil(running, member.leaseGrant({ ID: 7n, TTL: 10 }));
  assert.deepEqual([grant.ID, grant.TTL, grant.header?.revision], [7n, 10, 1]);
  const chosen = await timePassesUntil(running, member.leaseGrant({ ID: 0n, TTL: 100 }));
  assert.ok(chosen.ID > 0n);
  await assert.rejects(timePassesUntil(running, member.leaseGrant({ ID: 7n, TTL: 10 })), { code: "LEASE_EXISTS" });
  await timePassesUntil(running, member.put(putRequest("a", "1", { lease: 7n })));
  await timePassesUntil(running, member.put(putRequest("b", "1", { lease: chosen.ID })));
  await clock.run(6_000);
  const renewed: unknown[] = [];
  member.leaseKeepAliveFor(7n, { resolve: (ttl) => renewed.push(ttl), reject: (error) => renewed.push(error) });
  assert.deepEqual(renewed, [10]);
  await clock.run(6_000);
  const alive = await timePassesUntil(running, member.leaseTimeToLive({ ID: 7n, keys: true }));
  assert.deepEqual([alive.TTL, alive.grantedTTL, alive.keys.map((key) => textOf(key))], [4, 10, ["a"]]);
  assert.deepEqual([...(await timePassesUntil(running, member.leaseLeases())).ids], [7n, chosen.ID]);
  await clock.run(5_500);
  const gone = await timePassesUntil(running, member.leaseTimeToLive({ ID: 7n, keys: true }));
  assert.deepEqual([gone.TTL, gone.grantedTTL, gone.keys], [-1, 0, []]);
  assert.deepEqual([...(await contentOf(member)).keys()], ["b"]);
  await assert.rejects(timePassesUntil(running, member.leaseRevoke({ ID: 7n })), { code: "LEASE_NOT_FOUND" });
  await stopMember(running);
});

test("a restart neither loses a lease nor lets it run out early", async () => {
  const first = await startMember(worldOf(new SimDisk()));
  await timePassesUntil(first, first.member.leaseGrant({ ID: -7n, TTL: 10 }));
  await timePassesUntil(first, first.member.put(putRequest("a", "1", { lease: -7n })));
  await first.clock.run(9_000);
  await stopMember(first);
  const second = await startMember(worldOf(first.disk));
  await second.clock.run(9_500);
  assert.deepEqual([...(await contentOf(second.member)).keys()], ["a"], "it has its whole time again");
  await second.clock.run(3_000);
  assert.equal((await contentOf(second.member)).size, 0);
  await stopMember(second);
  const third = await startMember(worldOf(second.disk));
  assert.equal((await timePassesUntil(third, third.member.leaseLeases())).ids.length, 0);
  await stopMember(third);
});
