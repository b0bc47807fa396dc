/**
 * The npm client `etcd3`, which no one here wrote, does all it can do against Walnut; and against real etcd, so that a script that is wrong is
 * told from a server that is.
 */
import assert from "node:assert/strict";
import { type EventEmitter, once } from "node:events";
import test, { type TestContext } from "node:test";
import {
  Etcd3,
  EtcdAuthenticationFailedError,
  EtcdLockFailedError,
  EtcdPermissionDeniedError,
  type IKeyValue,
  type IOptions,
  Lease,
  Range,
  type Watcher,
} from "etcd3";
import { reference, skipReason, underTest } from "../support/binaries.js";
import { type Server, Stage } from "../support/servers.js";

const skip = skipReason();

interface Scene {
  readonly etcd: Etcd3;
  readonly server: Server;
  /** Another client of the same server. */
  readonly connect: (options?: Partial<IOptions>) => Etcd3;
  readonly restart: () => Promise<void>;
}

/** A play with the client on a server of its own, by each of the two. */
function plays(title: string, play: (scene: Scene, t: TestContext) => Promise<void>): void {
  for (const binary of skip === false ? [reference(), underTest()] : []) {
    test(`${title} (${binary.name})`, async (t) => {
      const stage = Stage.for(t);
      const seat = await stage.seat();
      let server = await stage.start(binary, seat);
      const clients: Etcd3[] = [];
      const connect = (options: Partial<IOptions> = {}): Etcd3 => {
        const client = new Etcd3({ hosts: `http://${server.address}`, ...options });
        clients.push(client);
        return client;
      };
      const scene: Scene = {
        etcd: connect(),
        get server() {
          return server;
        },
        connect,
        restart: async () => {
          await server.stop();
          server = await stage.start(binary, seat);
        },
      };
      try {
        await play(scene, t);
      } finally {
        for (const client of clients) client.close();
      }
    });
  }
  if (skip !== false) test(title, { skip }, () => undefined);
}

const WITHIN_MS = 30_000;

async function until(holds: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WITHIN_MS;
  while (!(await holds())) {
    assert.ok(Date.now() < deadline, `in vain: ${holds.toString()}`);
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
}

/** Waits for something that an emitter tells. */
async function happens(emitter: EventEmitter, event: string): Promise<void> {
  await once(emitter, event, { signal: AbortSignal.timeout(WITHIN_MS) });
}

/** Whether a request is answered; for one whose server may be away. */
const isAnswered = (request: { exec(): Promise<unknown> }): Promise<boolean> =>
  request.exec().then(
    () => true,
    () => false,
  );

plays("etcd3: keys and ranges", async ({ etcd }) => {
  await etcd.put("text").value("grün");
  await etcd.put("bytes").value(Buffer.from([0, 255, 1]));
  await etcd.put("number").value(42);
  await etcd.put("json").value(JSON.stringify({ a: [1] }));
  assert.equal(await etcd.get("text").string(), "grün");
  assert.deepEqual(await etcd.get("bytes").buffer(), Buffer.from([0, 255, 1]));
  assert.equal(await etcd.get("number").number(), 42);
  assert.deepEqual(await etcd.get("json").json(), { a: [1] });
  assert.equal(await etcd.get("none"), null);
  assert.equal(await etcd.get("none").exists(), false);
  assert.equal((await etcd.put("text").value("blau").getPrevious()).value.toString(), "grün");
  await etcd.put("text").touch();
  const { kvs, header } = await etcd.get("text").exec();
  assert.deepEqual([kvs[0]!.version, kvs[0]!.value.toString()], ["3", "blau"]);
  assert.equal(
    await etcd
      .get("text")
      .revision(Number(header.revision) - 2)
      .string(),
    "grün",
  );

  for (const name of ["a", "b", "c", "d"]) await etcd.put(`r/${name}`).value(name);
  assert.deepEqual(await etcd.getAll().prefix("r/").keys(), ["r/a", "r/b", "r/c", "r/d"]);
  assert.deepEqual(await etcd.getAll().prefix("r/").sort("Key", "Descend").limit(2).strings(), {
    "r/d": "d",
    "r/c": "c",
  });
  assert.equal(await etcd.getAll().inRange(new Range("r/b", "r/d")).count(), 2);
  assert.equal(await etcd.getAll().all().count(), 8);
  assert.deepEqual(await etcd.getAll().inRange(new Range("r/c", "\0")).keys(), ["r/c", "r/d", "text"]);
  const gone = await etcd.delete().key("r/a").getPrevious();
  assert.deepEqual(
    gone.map(({ value }) => value.toString()),
    ["a"],
  );
  assert.equal((await etcd.delete().prefix("r/")).deleted, "3");
  await assert.rejects(async () => etcd.put("").value("x"), /key is not provided/);
  await etcd.delete().all();
  assert.equal(await etcd.getAll().all().count(), 0);
});

plays("etcd3: transactions", async ({ etcd }) => {
  await etcd.put("a").value("1");
  // eslint-disable-next-line promise/valid-params -- it is a transaction, and no promise
  const moved = await etcd
    .if("a", "Value", "==", "1")
    .and("a", "Version", "<", 2)
    .and("b", "Create", "==", 0)
    .then(etcd.put("b").value("moved"), etcd.delete().key("a"), etcd.get("b"))
    .else(etcd.getAll().all())
    .commit();
  assert.equal(moved.succeeded, true);
  assert.equal(moved.responses[2]!.response_range.kvs[0]!.value.toString(), "moved");
  const again = await etcd
    .if("a", "Value", "==", "1")
    .then(etcd.put("b").value("twice"))
    .else(etcd.getAll().all())
    .commit();
  assert.equal(again.succeeded, false);
  assert.deepEqual(
    again.responses[0]!.response_range.kvs.map(({ key, value }) => `${key.toString()}=${value.toString()}`),
    ["b=moved"],
  );
  await assert.rejects(
    etcd.if("b", "Mod", ">", 0).then(etcd.put("c").value("1"), etcd.put("c").value("2")).commit(),
    /duplicate key given in txn request/,
  );
});

plays("etcd3: leases, kept alive and lost", async ({ etcd }) => {
  const lease = etcd.lease(2);
  await lease.put("alive").value("yes");
  let renewals = 0;
  lease.on("keepaliveSucceeded", () => void renewals++);
  const { TTL } = await lease.keepaliveOnce();
  assert.equal(TTL, "2");
  await until(() => renewals >= 3); // each after a third of the time: it would be gone by then
  assert.equal(await etcd.get("alive").string(), "yes");
  await lease.revoke();
  assert.equal(lease.revoked(), true);
  assert.equal(await etcd.get("alive"), null);

  const lost = etcd.lease(2);
  const told = happens(lost, "lost");
  const id = await lost.grant();
  await etcd.leaseClient.leaseRevoke({ ID: id });
  await told;

  const released = etcd.lease(2, { autoKeepAlive: false });
  await released.put("released").value("soon gone");
  const watcher = await etcd.watch().key("released").only("delete").create();
  await happens(watcher, "delete");
  await watcher.cancel();
  assert.ok(released instanceof Lease);
  released.release();
});

/** What a watcher tells, a line each. */
function linesOf(watcher: Watcher): string[] {
  const lines: string[] = [];
  const shown = ({ key, value }: IKeyValue): string => `${key.toString()}=${value.toString()}`;
  watcher.on(
    "put",
    (kv, previous) => void lines.push(`+${shown(kv)}${previous ? ` was ${previous.value.toString()}` : ""}`),
  );
  watcher.on(
    "delete",
    (kv, previous) => void lines.push(`-${kv.key.toString()}${previous ? ` was ${previous.value.toString()}` : ""}`),
  );
  return lines;
}

plays("etcd3: watches go on over a restart of the server", async ({ etcd, restart, connect }) => {
  const watcher = await etcd.watch().prefix("w/").withPreviousKV().create();
  const deletions = await etcd.watch().key("w/a").only("delete").create();
  const [all, some] = [linesOf(watcher), linesOf(deletions)];
  const { header } = await etcd.put("w/a").value("1");
  await etcd.put("w/a").value("2");
  await etcd.delete().key("w/a");
  await etcd.put("other").value("x");
  await until(() => all.length === 3 && some.length === 1);
  const disconnected = happens(watcher, "disconnected");
  const connected = happens(watcher, "connected");
  await restart();
  await disconnected;
  const other = connect();
  await until(() => isAnswered(other.put("w/b").value("3")));
  await connected;
  await other.put("w/c").value("4");
  await until(() => all.length === 5);
  assert.deepEqual(all, ["+w/a=1", "+w/a=2 was 1", "-w/a was 2", "+w/b=3", "+w/c=4"]);
  assert.deepEqual(some, ["-w/a"]);
  const past = await other.watch().prefix("w/").startRevision(header.revision).create();
  const seen = linesOf(past);
  await until(() => seen.length === 5);
  assert.deepEqual(seen, ["+w/a=1", "+w/a=2", "-w/a", "+w/b=3", "+w/c=4"]);
  await Promise.all([watcher.cancel(), deletions.cancel(), past.cancel()]);
});

plays("etcd3: locks", async ({ etcd, connect }) => {
  const order: string[] = [];
  const held = await etcd.lock("l").ttl(5).acquire();
  await assert.rejects(connect().lock("l").acquire(), EtcdLockFailedError);
  await held.release();
  await etcd.lock("l").do(async () => {
    order.push("inside");
    await assert.rejects(etcd.lock("l").acquire(), EtcdLockFailedError);
  });
  const next = await etcd.lock("l").acquire();
  await next.release();
  assert.deepEqual(order, ["inside"]);
  await until(async () => (await etcd.getAll().all().count()) === 0);
});

plays("etcd3: elections", async ({ etcd, connect }) => {
  const election = etcd.election("boss", 5);
  const observer = await election.observe();
  const changes: (string | undefined)[] = [];
  observer.on("change", (value) => void changes.push(value));
  const first = election.campaign("one");
  await first.wait();
  await until(() => observer.leader() === "one");
  const second = connect().election("boss", 5).campaign("two");
  const elected = happens(second, "elected");
  await first.proclaim("uno");
  await until(() => observer.leader() === "uno");
  assert.equal(await election.leader(), "uno");
  await until(async () => (await etcd.getAll().prefix("election/boss/").count()) === 2);
  await first.resign();
  await elected;
  await until(() => observer.leader() === "two");
  await second.resign();
  await until(async () => (await election.leader()) === undefined);
  await until(() => !observer.hasLeader);
  await observer.cancel();
  assert.deepEqual(
    changes.filter((value) => value !== undefined),
    ["one", "uno", "two"],
  );
});

plays("etcd3: namespaces", async ({ etcd }) => {
  const space = etcd.namespace("space/");
  await space.put("a").value("1");
  await space.namespace("inner/").put("b").value("2");
  assert.deepEqual(await etcd.getAll().all().keys(), ["space/a", "space/inner/b"]);
  assert.deepEqual(await space.getAll().all().strings(), { a: "1", "inner/b": "2" });
  const watcher = await space.watch().key("a").create();
  const lines = linesOf(watcher);
  await space.if("a", "Value", "==", "1").then(space.put("a").value("2")).commit();
  await until(() => lines.length === 1);
  assert.deepEqual(lines, ["+a=2"]);
  await watcher.cancel();
  await space.delete().all();
  assert.equal(await etcd.getAll().all().count(), 0);
});

plays("etcd3: software transactions count right while ten write at once", async ({ etcd, connect }) => {
  await etcd.put("count").value(0);
  const writers = Array.from({ length: 10 }, () => connect());
  await Promise.all(
    writers.map((writer) =>
      writer.stm({ retries: 100 }).transact(async (tx) => {
        const count = (await tx.get("count").number())!;
        await tx.put("count").value(count + 1);
      }),
    ),
  );
  assert.equal(await etcd.get("count").number(), 10);
});

plays("etcd3: users, roles, and tokens that are got anew", async ({ etcd, connect, restart }) => {
  const role = await etcd.role("readers").create();
  await role.grant([
    { permission: "Read", range: Range.prefix("r/") },
    { permission: "Readwrite", key: "own" },
  ]);
  const user = await etcd.user("reader").create("secret");
  await user.addRole("readers");
  const root = await etcd.user("root").create("root");
  await etcd.role("root").create();
  await root.addRole("root");
  assert.deepEqual(
    (await user.roles()).map(({ name }) => name),
    ["readers"],
  );
  assert.deepEqual(
    (await etcd.getRoles()).map(({ name }) => name),
    ["readers", "root"],
  );
  assert.equal((await role.permissions()).length, 2);
  await etcd.put("r/a").value("1");
  await etcd.auth.authEnable();

  const reader = connect({ auth: { username: "reader", password: "secret" } });
  assert.equal(await reader.get("r/a").string(), "1");
  await reader.put("own").value("mine");
  await assert.rejects(async () => reader.put("r/a").value("2"), EtcdPermissionDeniedError);
  await assert.rejects(async () => reader.get("else"), EtcdPermissionDeniedError);
  await assert.rejects(async () => etcd.get("r/a"), /user name is empty/);
  const stranger = connect({ auth: { username: "reader", password: "wrong" } });
  await assert.rejects(async () => stranger.get("r/a"), EtcdAuthenticationFailedError);
  const watcher = await reader.watch().prefix("r/").create();
  const lines = linesOf(watcher);
  const admin = connect({ auth: { username: "root", password: "root" } });
  await admin.put("r/a").value("3");
  await until(() => lines.length === 1);
  await watcher.cancel();

  // Its tokens are the server's memory alone: each client notices, and asks for another.
  await restart();
  await until(() => isAnswered(reader.get("r/a")));
  await until(() => isAnswered(admin.put("r/a").value("4")));
  assert.equal(await reader.get("r/a").string(), "4");
  await admin.role("readers").revoke({ permission: "Readwrite", key: "own" });
  await assert.rejects(async () => reader.put("own").value("not any more"), EtcdPermissionDeniedError);
  await admin.auth.authDisable();
  assert.equal(await etcd.get("own").string(), "mine");
});

plays("etcd3: the cluster and its upkeep", async ({ etcd, server }) => {
  const { members } = await etcd.cluster.memberList({});
  assert.deepEqual(
    members.map(({ clientURLs }) => clientURLs),
    [[`http://${server.address}`]],
  );
  const status = await etcd.maintenance.status();
  assert.match(status.version, /^3\.5\./);
  assert.equal(status.leader, members[0]!.ID);
  await etcd.put("a").value("x".repeat(100_000));
  const { header } = await etcd.put("a").value("2");
  await etcd.kv.compact({ revision: header.revision, physical: true });
  await assert.rejects(async () => etcd.get("a").revision(2).exec(), /compacted/);
  await etcd.maintenance.defragment();
  assert.deepEqual((await etcd.maintenance.alarm({ action: "Get" })).alarms, []);
  const copy = await etcd.maintenance.snapshot();
  let bytes = 0;
  for await (const { blob } of copy as unknown as AsyncIterable<{ readonly blob: Buffer }>) bytes += blob.length;
  assert.ok(bytes > 16_384, `${bytes} bytes`);
});
