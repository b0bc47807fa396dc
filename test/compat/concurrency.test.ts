/**
 * Locks and elections against real etcd: clients who contend, give up, lose their leases and observe are told the same, in the same order, word
 * for word and revision for revision.
 */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { etcd, reference, skipReason, underTest, type ServerBinary } from "../support/binaries.js";
import { beginCall, messageOf } from "../support/concurrency.js";
import { AuthAdmin } from "../support/auth.js";
import { EtcdClient, type Answer, type PendingCall } from "../support/client.js";
import { decode, encode } from "../support/messages.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { Scene, SCRIPTS, type Script, type Served } from "./concurrency-scripts.js";

const skip = skipReason();
const bytes = (text: string): Buffer => Buffer.from(text, "latin1");

/** What each of the servers tells, script by script, on one server each. */
async function playAll(stage: Stage, binary: ServerBinary): Promise<Map<string, string>> {
  const server = await stage.start(binary, await stage.seat());
  const told = new Map<string, string>();
  for (const [i, script] of SCRIPTS.entries()) told.set(script.title, await play(script, i + 1, server));
  return told;
}

async function play(script: Script, number: number, served: Served): Promise<string> {
  const scene = new Scene(served, number, await served.client.revision());
  try {
    await script.play(scene);
  } catch (error) {
    scene.notes.push(`the script ended with ${String(error)}`);
  } finally {
    scene.close();
  }
  return scene.notes.join("\n");
}

test(
  "scripts of locks and elections are told alike by 3.5.16, 3.5.30 and the server under test",
  { skip },
  async (t) => {
    const stage = Stage.for(t);
    const [old, right, found] = await Promise.all([
      playAll(stage, etcd("3.5.16")),
      playAll(stage, reference()),
      playAll(stage, underTest()),
    ]);
    for (const { title } of SCRIPTS) {
      await t.test(title, (t) => {
        if (process.env["WALNUT_SHOW"] === "1") t.diagnostic(right.get(title)!);
        assert.doesNotMatch(right.get(title)!, /the script ended/);
        assert.equal(old.get(title), right.get(title), "etcd's releases differ");
        assert.equal(found.get(title), right.get(title));
      });
    }
  },
);

/** What becomes of those who wait when their member is told to stop, and of their keys. */
async function stopped(t: TestContext, binary: ServerBinary): Promise<{ codes: number[]; keys: string }> {
  const stage = Stage.for(t);
  const seat = await stage.seat();
  const server = await stage.start(binary, seat);
  const clients = new EtcdClient(server.address);
  t.after(() => clients.close());
  const scene = new Scene({ client: clients, address: server.address }, 1, await clients.revision());
  const [a, b, c] = [await scene.lease(), await scene.lease(), await scene.lease()] as const;
  const [lock, election] = [bytes("l"), bytes("e")];
  for (const call of ["Lock", "Campaign"] as const) {
    const name = call === "Lock" ? lock : election;
    messageOf(call, await beginCall(clients, call, { name, lease: a }).answer);
  }
  const waiting = [
    beginCall(clients, "Lock", { name: lock, lease: b }),
    beginCall(clients, "Campaign", { name: election, lease: c, value: bytes("c") }),
  ];
  const observer = scene.observe(election);
  await observer.count(1);
  await scene.untilKey(scene.key(b, lock), true);
  await scene.untilKey(scene.key(c, election), true);
  const ends = Promise.all([...waiting.map(({ answer }) => answer.then(endOf)), observer.end()]);
  await server.stop();
  const told = await ends;
  const again = await stage.start(binary, seat);
  const { kvs } = await again.client.call("Range", { key: bytes("\0"), range_end: bytes("\0"), keys_only: true });
  return {
    codes: told.map((end) => Number(end.split(" ")[0])),
    keys: (kvs as { key: Uint8Array }[]).map(({ key }) => Buffer.from(key).toString("latin1")).join(" "),
  };
}

const endOf = (answer: Answer): string => (answer.kind === "error" ? `${answer.code} ${answer.text}` : "0");

test("a member that stops hangs up on those who wait, and takes their keys away", { skip }, async (t) => {
  const play = async (binary: ServerBinary): Promise<void> => {
    const { codes, keys } = await stopped(t, binary);
    assert.deepEqual(codes, [14, 14, 14], binary.name);
    assert.equal(keys, "e/101 l/101", binary.name);
  };
  await Promise.all([etcd("3.5.16"), reference(), underTest()].map(play));
});

const CLIENTS = 50;

/**
 * Fifty clients, each on a connection of its own, want one lock; a third of them hang up or lose their lease while they wait. Whoever has it
 * sees itself alone, by a mark that it makes and takes away under the lock.
 */
test("fifty clients contend, some give up: one has the lock, in the order of the keys", { skip }, async (t) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  t.diagnostic(`seed ${seed}`);
  for (const binary of [reference(), underTest()]) {
    const stage = Stage.for(t);
    const server = await stage.start(binary, await stage.seat());
    const { client, address } = server;
    const random = new SeededRandom(seed);
    const name = bytes("l");
    const scene = new Scene(server, 1, await client.revision());
    const guard = await scene.lease();
    await scene.ask("guard", "Lock", { name, lease: guard });
    const holders: string[] = [];
    let inside = 0;
    let worst = 0;
    const results: Promise<string>[] = [];
    for (let i = 0; i < CLIENTS; i++) {
      const own = new EtcdClient(address);
      t.after(() => own.close());
      const lease = await scene.lease();
      const pending = beginCall(own, "Lock", { name, lease });
      const fate = random.pick(["stays", "stays", "stays", "hangs up", "loses its lease"] as const);
      results.push(
        pending.answer.then(async (answer) => {
          if (answer.kind === "error") return `${fate}: ${answer.code}`;
          worst = Math.max(worst, ++inside);
          holders.push(Buffer.from(messageOf("Lock", answer)["key"] as Uint8Array).toString());
          await own.put("mark", String(lease));
          inside--;
          await beginCall(own, "Unlock", { key: scene.key(lease, name) }).answer;
          return `${fate}: 0`;
        }),
      );
      await scene.untilKey(scene.key(lease, name), true);
      if (fate === "hangs up") pending.cancel();
      if (fate === "loses its lease") await scene.revoke(lease);
    }
    await beginCall(client, "Unlock", { key: scene.key(guard, name) }).answer;
    const ends = await Promise.all(results);
    assert.equal(worst, 1, binary.name);
    assert.deepEqual([...new Set(ends)].sort(), ["hangs up: 1", "loses its lease: 2", "stays: 0"]);
    assert.deepEqual(holders, holders.toSorted(), "the order of the leases is that of the keys");
    assert.equal(holders.length, ends.filter((end) => end === "stays: 0").length);
    const { count } = await client.call("Range", { key: bytes("l/"), range_end: bytes("l0"), count_only: true });
    assert.equal(count, undefined, "no key is left");
  }
});

test("no space: locks are refused and can be given back", { skip }, async (t) => {
  const told = await Promise.all(
    [reference(), underTest()].map(async (binary) => {
      const stage = Stage.for(t);
      const server = await stage.start(binary, await stage.seat());
      const { client } = server;
      const scene = new Scene(server, 1, await client.revision());
      const [a, b] = [await scene.lease(), await scene.lease()] as const;
      await scene.ask("a", "Lock", { name: scene.name(), lease: a });
      const { memberId } = await client.status();
      await client.call("Alarm", { action: 1, memberID: memberId, alarm: 1 });
      await scene.ask("b", "Lock", { name: scene.name(), lease: b });
      await scene.ask("without a lease", "Lock", { name: scene.name() });
      await scene.ask("campaign", "Campaign", { name: scene.name("e"), lease: b });
      await scene.ask("unlock a", "Unlock", { key: scene.key(a) });
      await scene.ask("nobody leads", "Leader", { name: scene.name("e") });
      scene.close();
      return scene.notes.join("\n");
    }),
  );
  assert.match(told[0]!, /database space exceeded/);
  assert.equal(told[1], told[0]);
});

/**
 * With authentication on, real etcd's wait for a lock has the rights of whoever waited first on that member, and no rights when it takes the
 * key of one who has gone away: the key stays. Walnut asks for both in the name of the caller.
 */
test("waits have the rights of their callers, where etcd mixes them up", { skip }, async (t) => {
  const play = async (binary: ServerBinary): Promise<void> => {
    const stage = Stage.for(t);
    const server = await stage.start(binary, await stage.seat());
    const { client } = server;
    const scene = new Scene(server, 1, await client.revision());
    // Each has leases of its own: one may be put on a lease only by who may write all that hangs on it.
    const holding = { a: await scene.lease(), b: await scene.lease() };
    const waiting = { a: await scene.lease(), b: await scene.lease() };
    const admin = new AuthAdmin(client);
    for (const name of ["a", "b"]) {
      await admin.addRole(name, "readwrite", `${name}/`, `${name}0`);
      await admin.addUser(name, name, [name]);
    }
    await admin.enable("root");
    const tokens = { a: await admin.login("a", "a"), b: await admin.login("b", "b") };
    const asks = (name: "a" | "b", lease: number): PendingCall =>
      beginCall(client, "Lock", { name: bytes(name), lease }, { token: tokens[name] });
    const isThere = async (name: "a" | "b", lease: number): Promise<boolean> => {
      const request = encode("RangeRequest", { key: scene.key(lease, bytes(name)), count_only: true });
      const answer = await client.send("/etcdserverpb.KV/Range", request, undefined, admin.token);
      assert.equal(answer.kind, "response");
      return answer.kind === "response" && decode("RangeResponse", answer.bytes)["count"] !== undefined;
    };
    const until = async (holds: () => Promise<boolean>): Promise<void> => {
      while (!(await holds())) await new Promise((resolve) => void setTimeout(resolve, 5));
    };
    for (const name of ["a", "b"] as const) messageOf("Lock", await asks(name, holding[name]).answer);
    const first = asks("a", waiting.a);
    await until(() => isThere("a", waiting.a));
    await scene.untilWatched();
    const second = asks("b", waiting.b);
    if (binary.family === "etcd") {
      assert.equal(
        endOf(await second.answer),
        "2 rpc error: code = PermissionDenied desc = etcdserver: permission denied",
      );
      first.cancel();
      await first.answer;
      assert.equal(await isThere("a", waiting.a), true);
      return;
    }
    await until(() => isThere("b", waiting.b));
    const unlock = { key: scene.key(holding.b, bytes("b")) };
    messageOf("Unlock", await beginCall(client, "Unlock", unlock, { token: tokens.b }).answer);
    messageOf("Lock", await second.answer);
    first.cancel();
    await first.answer;
    await until(async () => !(await isThere("a", waiting.a)));
  };
  await Promise.all([reference(), underTest()].map(play));
});
