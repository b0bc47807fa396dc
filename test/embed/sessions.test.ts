/** Sessions, mutexes and elections of a program: who holds, who waits, who leaves the line, and what a session's end does. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { Client, Election, Mutex, Session, type SessionOptions } from "../../src/client/index.js";
import { Walnut } from "../../src/embed/index.js";
import { PutRequest, RangeRequest } from "../../src/proto/index.js";

async function connected(
  t: TestContext,
): Promise<{ client: Client; open: (options?: SessionOptions) => Promise<Session> }> {
  const dataDir = mkdtempSync(join(tmpdir(), "walnut-sessions-"));
  const walnut = await Walnut.start({ dataDir });
  const client = new Client({ endpoints: walnut.clientUrls, dialTimeoutMs: 2_000, callTimeoutMs: 5_000 });
  const sessions: Session[] = [];
  t.after(async () => {
    for (const session of sessions) session.orphan();
    client.close();
    await walnut.stop();
    rmSync(dataDir, { recursive: true });
  });
  const open = async (options?: SessionOptions): Promise<Session> => {
    const session = await Session.open(client, options);
    sessions.push(session);
    return session;
  };
  return { client, open };
}

/** Waits until the key is there: its owner stands in line. */
async function inLine(client: Client, key: Uint8Array): Promise<void> {
  while ((await client.range({ ...RangeRequest.create(), key })).kvs.length === 0);
}

const textOf = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

test("a mutex goes from one to the next in the order of coming; who gives up leaves the line", async (t) => {
  const { client, open } = await connected(t);
  const [first, second, third] = (await Promise.all([open(), open(), open()])).map((each) => new Mutex(each, "m"));
  await first!.lock();
  await first!.lock(); // has it already
  const order: string[] = [];
  const impatient = new AbortController();
  const givenUp = second!.lock({ signal: impatient.signal });
  await inLine(client, second!.key);
  const waiting = third!.lock().then(() => order.push("third"));
  await inLine(client, third!.key);
  impatient.abort(new Error("enough"));
  await assert.rejects(givenUp, /enough/);
  assert.equal((await client.range({ ...RangeRequest.create(), key: second!.key })).kvs.length, 0);
  assert.equal(await second!.tryLock(), false);
  assert.deepEqual(order, []);
  const before = first!.revision;
  await first!.unlock();
  await waiting;
  assert.ok(third!.revision > before);
});

test("a transaction that is to be done only under the lock is not done after it", async (t) => {
  const { client, open } = await connected(t);
  const mutex = new Mutex(await open(), "m");
  const write = async () => {
    const value = { ...PutRequest.create(), key: Buffer.from("guarded"), value: Buffer.from("x") };
    const request = {
      compare: [mutex.isHeld],
      success: [{ request: { $case: "requestPut", value } } as const],
      failure: [],
    };
    return (await client.txn(request)).succeeded;
  };
  assert.equal(await write(), false);
  assert.equal(await mutex.tryLock(), true);
  assert.equal(await write(), true);
  await mutex.unlock();
  assert.equal(await write(), false);
});

test("a session whose lease is gone has ended, and its places in line with it", async (t) => {
  const { client, open } = await connected(t);
  const [holder, waiter] = [await open(), await open({ ttlSeconds: 2 })];
  await new Mutex(holder, "m").lock();
  const waiting = new Mutex(waiter, "m");
  const refused = assert.rejects(waiting.lock(), { code: "SESSION_OVER" });
  await inLine(client, waiting.key);
  await client.leaseRevoke(waiter.leaseId);
  await refused;
  await waiter.ended;
  assert.equal(waiter.isOver, true);
  assert.equal(holder.isOver, false);
  const next = new Mutex(await open(), "m");
  const taken = next.lock();
  await holder.close();
  await taken;
  await assert.rejects(open({ signal: AbortSignal.abort(new Error("not now")) }), /not now/);
});

test("a session may take over a lease, and hold what it held", async (t) => {
  const { open } = await connected(t);
  const first = await open();
  await new Mutex(first, "m").lock();
  first.orphan();
  const again = await open({ leaseId: first.leaseId });
  assert.equal(await new Mutex(again, "m").tryLock(), true);
  assert.equal(await new Mutex(await open(), "m").tryLock(), false);
});

test("an election has one leader, whose values are observed in order; who resigned may not proclaim", async (t) => {
  const { client, open } = await connected(t);
  const [a, b] = [new Election(await open(), "e"), new Election(await open(), "e")];
  const seen: string[] = [];
  const stop = new AbortController();
  const observed = (async () => {
    for await (const { kvs } of new Election(await open(), "e").observe({ signal: stop.signal })) {
      seen.push(textOf(kvs[0]?.value));
      if (seen.at(-1) === "b") stop.abort();
    }
  })();
  await a.campaign("a");
  await a.campaign("a2"); // another value for who leads already
  assert.equal(textOf((await b.leader())?.value), "a2");
  const next = b.campaign("b");
  await inLine(client, b.key);
  await a.proclaim("a3");
  await a.resign();
  await next;
  await observed;
  await assert.rejects(a.proclaim("a4"), { code: "ELECTION_NOT_LEADER" });
  assert.equal(seen.at(-1), "b");
  assert.equal(textOf((await a.leader())?.value), "b");
  await b.resign();
  assert.equal(await b.leader(), undefined);
});
