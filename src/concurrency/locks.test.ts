import assert from "node:assert/strict";
import { test } from "node:test";
import { SimRandom } from "../../sim/index.js";
import { bytesOf, textOf } from "../server/testing/fixture.js";
import { MvccError } from "../mvcc/index.js";
import { getKey } from "./requests.js";
import { type Hall, hallFixture, Started, through } from "./testing/fixture.js";

const NAME = bytesOf("l");
type Held = Awaited<ReturnType<Hall["locks"]["lock"]>>;

const asks = ({ locks }: Hall, lease: bigint, name = NAME): Started<Held> =>
  new Started((context) => locks.lock({ name, lease }, context));

async function inOrder(hall: Hall, leases: readonly bigint[]): Promise<Started<Held>[]> {
  const all: Started<Held>[] = [];
  for (const lease of leases) {
    await hall.lease(lease);
    all.push(asks(hall, lease));
    await hall.rest();
  }
  return all;
}

const statesOf = (all: readonly Started<unknown>[]): string => all.map(({ state }) => state).join(" ");

test("a lock goes from one to the next in the order in which they came", async (t) => {
  const hall = await hallFixture(t);
  const all = await inOrder(hall, [30n, 10n, 20n]);
  assert.equal(statesOf(all), "answered waits waits");
  assert.equal(textOf(all[0]!.answer!.key), "l/1e");
  await hall.deleteKey("l/1e");
  await hall.rest();
  assert.equal(statesOf(all), "answered answered waits");
  await hall.deleteKey("l/a");
  await hall.rest();
  assert.equal(statesOf(all), "answered answered answered");
  assert.deepEqual(await hall.keys(), ["l/14="]);
});

test("who has it gets it again; who has gone leaves the queue", async (t) => {
  const hall = await hallFixture(t);
  const [first, second, third] = await inOrder(hall, [1n, 2n, 3n]);
  const again = asks(hall, 1n);
  second!.cancel();
  await hall.rest();
  assert.equal(statesOf([again, second!, third!]), "answered SERVER_CANCELED waits");
  assert.deepEqual(await hall.keys(), ["l/1=", "l/3="]);
  assert.deepEqual(again.answer!.key, first!.answer!.key);
});

test("who goes in the very moment of its entry leaves no key", async (t) => {
  const hall = await hallFixture(t);
  await hall.lease(1n);
  const gone = asks(hall, 1n);
  gone.cancel();
  await hall.rest();
  assert.equal(gone.state, "SERVER_CANCELED");
  assert.deepEqual(await hall.keys(), []);
});

test("a lease that ends while its lock waits: told so when its turn comes", async (t) => {
  const hall = await hallFixture(t);
  const [, second, third] = await inOrder(hall, [1n, 2n, 3n]);
  await hall.revoke(2n);
  await hall.rest();
  assert.equal(statesOf([second!, third!]), "waits waits");
  await hall.revoke(1n);
  await hall.rest();
  assert.equal(statesOf([second!, third!]), "LOCK_SESSION_EXPIRED answered");
});

test("a lock without a lease gets one of a minute, which nobody keeps alive", async (t) => {
  const hall = await hallFixture(t);
  const started = asks(hall, 0n);
  await hall.rest();
  assert.equal(started.state, "answered");
  await hall.timePasses(30_000);
  assert.equal((await hall.keys()).length, 1);
  await hall.timePasses(40_000);
  assert.deepEqual(await hall.keys(), []);
});

test("where history was compacted before the watch began, the queue is looked at again", async (t) => {
  let compactions = 1;
  const hall = await hallFixture(t, (member) =>
    through(member, {
      watch: (receiver, options, context) => {
        const stream = member.watch(receiver, options, context);
        if (compactions-- > 0) {
          stream.close();
          const notice = { revision: 0, watchId: 0, created: false, canceled: true, refusal: undefined };
          receiver.onNotice({ ...notice, compactRevision: 9 });
        }
        return stream;
      },
    }),
  );
  const [, second] = await inOrder(hall, [1n, 2n]);
  assert.equal(second!.state, "waits");
  await hall.deleteKey("l/1");
  await hall.rest();
  assert.equal(second!.state, "answered");
  assert.ok(compactions < 0, "it watched again");
});

test("a wait that may not watch fails, and its key is taken away", async (t) => {
  const refusal = new MvccError("MVCC_COMPACTED", "any reason");
  const hall = await hallFixture(t, (member) =>
    through(member, {
      watch: (receiver, options, context) => {
        const stream = member.watch(receiver, options, context);
        const notice = { revision: 1, watchId: -1, created: true, canceled: true, compactRevision: 0 };
        receiver.onNotice({ ...notice, refusal });
        return stream;
      },
    }),
  );
  const [, second] = await inOrder(hall, [1n, 2n]);
  assert.equal(second!.state, "WATCH_REFUSED");
  assert.deepEqual(await hall.keys(), ["l/1="]);
});

test("the end of the member ends the waits", async (t) => {
  const hall = await hallFixture(t);
  const all = await inOrder(hall, [1n, 2n, 3n]);
  await hall.stop();
  assert.equal(statesOf(all), "answered SERVER_STOPPED SERVER_STOPPED");
});

const CLIENTS = 50;

/**
 * Fifty who want one lock, under a seed: whoever has it gives it back, or loses its lease; of those who wait some hang up and some lose their
 * lease. No two have it, and those who get it were made in that order.
 */
for (const seed of [1, 2, 3, 4, 5]) {
  test(`fifty contend, give up and lose their leases: one has it, the oldest (seed ${seed})`, async (t) => {
    const hall = await hallFixture(t);
    const random = new SimRandom(seed);
    const clients: { lease: bigint; started: Started<Held>; ended: boolean }[] = [];
    for (let i = 1; i <= CLIENTS; i++) {
      const lease = BigInt(i);
      await hall.lease(lease);
      clients.push({ lease, started: asks(hall, lease), ended: false });
      if (random.below(3) === 0) await hall.rest();
    }
    await hall.rest();
    const order: number[] = [];
    const counted = new Set<bigint>();
    for (let step = 0; step < 10 * CLIENTS && clients.some(({ ended }) => !ended); step++) {
      const holders = clients.filter(({ started, ended }) => !ended && started.state === "answered");
      assert.ok(holders.length <= 1, `two hold it: ${holders.map(({ lease }) => lease).join(" and ")}`);
      const waiting = clients.filter(({ started, ended }) => !ended && started.state === "waits");
      for (const { lease, started } of holders) {
        if (counted.has(lease)) continue;
        counted.add(lease);
        const { kvs } = await hall.member.range({ ...getKey(started.answer!.key), serializable: true });
        order.push(kvs[0]!.createRevision);
      }
      const chosen = random.below(4) > 0 && waiting.length > 0 ? waiting[random.below(waiting.length)]! : holders[0];
      if (chosen !== undefined) {
        chosen.ended = true;
        if (random.below(2) === 0) await hall.revoke(chosen.lease);
        else if (chosen.started.state === "waits") chosen.started.cancel();
        else await hall.deleteKey(`l/${chosen.lease.toString(16)}`);
      }
      await hall.rest();
    }
    assert.ok(
      clients.every(({ ended }) => ended),
      "somebody waits for ever",
    );
    assert.deepEqual(
      order,
      order.toSorted((a, b) => a - b),
    );
    assert.ok(order.length >= 5, `${order.length} had it`);
    assert.deepEqual(await hall.keys(), []);
    for (const { started } of clients) assert.match(started.state, /^(answered|SERVER_CANCELED|LOCK_SESSION_EXPIRED)$/);
  });
}
