import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { BucketTable } from "../base/bucket-table.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { Lease } from "../proto/generated/leasepb/lease.js";
import { DUE_AGAIN_MS } from "./lease-expiry.js";
import { Leases } from "./leases.js";

const bytes = bytesFromLatin1;
const EXTEND_MS = 1_000;
/** What the wheel may be late by. */
const LATE_MS = 200;

const byId = (a: bigint, b: bigint): number => (a < b ? -1 : 1);

/** Leases on a table in memory, and a clock that the play turns. */
class Play {
  readonly stored = new Map<string, Uint8Array>();
  now = 12_345;
  readonly revoked: bigint[] = [];
  leases: Leases;
  readonly table: BucketTable = {
    get: (_, key) => this.stored.get(latin1FromBytes(key)),
    put: (_, key, value) => void this.stored.set(latin1FromBytes(key), value),
    delete: (_, key) => void this.stored.delete(latin1FromBytes(key)),
    keys: () => [...this.stored.keys()].sort().map((key) => bytes(key)),
  };

  constructor() {
    this.leases = this.#make();
  }

  #make(): Leases {
    return new Leases(this.table, {
      minimumSeconds: 2,
      keepsCheckpoints: true,
      now: () => this.now,
      onRevoked: (id) => void this.revoked.push(id),
    });
  }

  restart(): void {
    this.leases = this.#make();
    for (const value of this.stored.values()) this.leases.restore(value);
  }

  promote(): void {
    this.leases.promote(EXTEND_MS);
    while (this.leases.promoteSlice());
  }

  /** A store that deletes nothing but takes the keys off their leases. */
  revoke(id: bigint): string[] {
    const deleted: string[] = [];
    const txn = {
      deleteRange: ({ key }: { key: string }) => {
        deleted.push(key);
        this.leases.detach(bytes(key));
      },
      end: () => undefined,
    };
    this.leases.revoke(id, { write: () => txn } as never);
    return deleted;
  }
}

test("a lease is granted once, kept in db, and is there after a restart with its time", () => {
  const p = new Play();
  assert.equal(p.leases.grant(7n, 60), 60);
  assert.equal(p.leases.grant(-1n, 1), 2, "a time too short for an election is raised");
  assert.throws(() => p.leases.grant(7n, 60), { code: "LEASE_EXISTS" });
  assert.throws(() => p.leases.grant(0n, 60), { code: "LEASE_NOT_FOUND" });
  assert.throws(() => p.leases.grant(8n, 9_000_000_001), { code: "LEASE_TTL_TOO_LARGE" });
  assert.deepEqual(
    [...p.stored].map(([key, value]) => [Buffer.from(key, "latin1").toString("hex"), Lease.decode(value).TTL]),
    [
      ["0000000000000007", 60],
      ["ffffffffffffffff", 2],
    ],
  );
  p.restart();
  assert.deepEqual(p.leases.look(7n), { ttlSeconds: 60, leftMs: Infinity });
  assert.equal(p.leases.look(8n), undefined);
  assert.equal(p.leases.count, 2);
  p.leases.check();
});

test("a key hangs on one lease; what hangs on it is deleted in order with it", () => {
  const p = new Play();
  for (const id of [1n, 2n]) p.leases.grant(id, 60);
  for (const key of ["b", "c", "a"]) assert.equal(p.leases.attach(1n, bytes(key)), true);
  assert.equal(p.leases.attach(3n, bytes("a")), false);
  assert.equal(p.leases.attach(2n, bytes("c")), true, "it changes over to the other lease");
  assert.deepEqual(
    p.leases.keysOf(2n).map((key) => latin1FromBytes(key)),
    ["c"],
  );
  p.leases.attach(1n, bytes("d"));
  p.leases.detach(bytes("d"));
  p.leases.detach(bytes("never there"));
  assert.deepEqual(p.revoke(1n), ["a", "b"]);
  assert.deepEqual(p.revoked, [1n]);
  assert.equal(p.leases.holdsKeys, true);
  assert.throws(() => p.revoke(1n), { code: "LEASE_NOT_FOUND" });
  assert.deepEqual(p.revoke(2n), ["c"]);
  assert.equal(p.leases.holdsKeys, false);
  assert.equal(p.stored.size, 0);
  p.leases.check();
});

test("nothing runs out where nobody leads, and all have their whole time when somebody begins to", () => {
  const p = new Play();
  p.leases.grant(1n, 10);
  p.now += 100_000;
  assert.deepEqual(p.leases.due(10), []);
  p.promote();
  assert.equal(p.leases.look(1n)!.leftMs, 10_000 + EXTEND_MS);
  p.now += 10_000 + EXTEND_MS - 1;
  assert.deepEqual(p.leases.due(10), []);
  p.leases.demote();
  assert.equal(p.leases.look(1n)!.leftMs, Infinity);
  p.now += 100_000;
  assert.deepEqual(p.leases.due(10), []);
});

test("what has run out is told, and again after a while; what was renewed is not", () => {
  const p = new Play();
  p.promote();
  for (const id of [1n, 2n, 3n]) p.leases.grant(id, 10);
  p.now += 9_000;
  p.leases.renew(2n);
  p.now += 1_000 + LATE_MS;
  assert.deepEqual(p.leases.due(10).sort(byId), [1n, 3n]);
  assert.ok(p.leases.look(1n)!.leftMs < 0);
  assert.deepEqual(p.leases.due(10), []);
  p.revoke(3n);
  p.now += DUE_AGAIN_MS + LATE_MS;
  assert.deepEqual(p.leases.due(10), [1n]);
  p.now += 9_000 - DUE_AGAIN_MS;
  assert.deepEqual(p.leases.due(10).sort(byId), [1n, 2n]);
});

test("many that run out at once are told in turns", () => {
  const p = new Play();
  p.promote();
  for (let id = 1n; id <= 1_000n; id++) p.leases.grant(id, 5);
  p.now += 5_000 + LATE_MS;
  const told = new Set<bigint>();
  for (let turn = 0; turn < 10; turn++) {
    const due = p.leases.due(100);
    assert.equal(due.length, 100);
    for (const id of due) told.add(id);
  }
  assert.equal(told.size, 1_000);
  assert.deepEqual(p.leases.due(100), []);
});

test("a checkpoint shortens what a later leader gives, over a restart too, until the lease is renewed", () => {
  const p = new Play();
  p.promote();
  p.leases.grant(1n, 1_000);
  p.leases.grant(2n, 100);
  assert.deepEqual(p.leases.remaining(0, 10, 300), { checkpoints: [], next: undefined });
  p.now += 400_500;
  const { checkpoints } = p.leases.remaining(0, 10, 300);
  assert.deepEqual(checkpoints, [{ ID: 1n, remainingTTL: 600 }], "the short one is not told");
  p.leases.checkpoint(1n, 600);
  p.leases.checkpoint(99n, 1);
  p.restart();
  assert.equal(p.leases.isShortened(1n), true);
  p.promote();
  assert.equal(p.leases.look(1n)!.leftMs, 600_000 + EXTEND_MS);
  p.leases.checkpoint(1n, 0);
  p.leases.renew(1n);
  assert.deepEqual(p.leases.look(1n), { ttlSeconds: 1_000, leftMs: 1_000_000 });
});

const noPause = (): Promise<void> => Promise.resolve();

test("leases are listed in the order in which they run out", async () => {
  const p = new Play();
  p.promote();
  for (const [id, seconds] of [
    [1n, 30],
    [2n, 10],
    [3n, 20],
  ] as const) {
    p.leases.grant(id, seconds);
  }
  assert.deepEqual([...(await p.leases.list(noPause))], [2n, 3n, 1n]);
  p.leases.demote();
  assert.equal((await p.leases.list(noPause)).length, 3);
});

test("any number of leases is listed in slices, and those that go meanwhile are left out", async () => {
  const p = new Play();
  p.promote();
  const count = 70_000n;
  for (let id = 1n; id <= count; id++) p.leases.grant(id, 2 + Number((id * 7_919n) % 5_003n));
  let pauses = 0;
  const ids = await p.leases.list(() => {
    if (++pauses === 2) p.revoke(5n);
    return Promise.resolve();
  });
  assert.ok(pauses > 10);
  assert.equal(ids.length, Number(count) - 1);
  assert.equal(new Set(ids).size, ids.length);
  assert.ok(!ids.includes(5n));
  let before = 0;
  for (const id of ids) {
    const { leftMs } = p.leases.look(id)!;
    assert.ok(leftMs >= before);
    before = leftMs;
  }
});

test("after any work each lease runs out when a list of times says, never before", () => {
  const act = fc.oneof(
    fc.record({
      what: fc.constant("grant" as const),
      id: fc.bigInt(1n, 40n),
      seconds: fc.integer({ min: 2, max: 2_000 }),
    }),
    fc.record({ what: fc.constantFrom("renew" as const, "revoke" as const), id: fc.bigInt(1n, 40n) }),
    fc.record({ what: fc.constant("pass" as const), ms: fc.oneof(fc.nat(500), fc.nat(20_000), fc.nat(2_000_000)) }),
    fc.record({ what: fc.constantFrom("promote" as const, "demote" as const, "restart" as const) }),
  );
  fc.assert(
    fc.property(fc.array(act, { maxLength: 120 }), (acts) => {
      const p = new Play();
      /** By lease: its time, and when it runs out. */
      const known = new Map<bigint, { seconds: number; expiry: number }>();
      let leads = false;
      for (const step of acts) {
        if (step.what === "grant" && !known.has(step.id)) {
          p.leases.grant(step.id, step.seconds);
          known.set(step.id, { seconds: step.seconds, expiry: leads ? p.now + step.seconds * 1000 : Infinity });
        } else if (step.what === "renew" && known.has(step.id) && known.get(step.id)!.expiry > p.now && leads) {
          p.leases.renew(step.id);
          known.get(step.id)!.expiry = p.now + known.get(step.id)!.seconds * 1000;
        } else if (step.what === "revoke" && known.delete(step.id)) {
          p.revoke(step.id);
        } else if (step.what === "pass") {
          p.now += step.ms;
        } else if (step.what === "promote") {
          p.promote();
          leads = true;
          for (const lease of known.values()) lease.expiry = p.now + EXTEND_MS + lease.seconds * 1000;
        } else if (step.what === "demote" || step.what === "restart") {
          if (step.what === "demote") p.leases.demote();
          else p.restart();
          leads = false;
          for (const lease of known.values()) lease.expiry = Infinity;
        }
        for (const [id, { seconds, expiry }] of known) {
          assert.deepEqual(p.leases.look(id), { ttlSeconds: seconds, leftMs: expiry - p.now });
        }
        for (const id of p.leases.due(1_000)) assert.ok(known.get(id)!.expiry <= p.now, "told before its time");
      }
      p.leases.check();
      if (!leads) {
        p.promote();
        for (const lease of known.values()) lease.expiry = p.now + EXTEND_MS + lease.seconds * 1000;
      }
      // Each is told once in a while: whoever waits so long behind the last expiry is told of all.
      p.now = Math.max(p.now, ...[...known.values()].map(({ expiry }) => expiry)) + DUE_AGAIN_MS + LATE_MS;
      assert.deepEqual(p.leases.due(1_000).sort(byId), [...known.keys()].sort(byId));
    }),
    { numRuns: 300 },
  );
});
