import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingLog, settle, SimClock } from "../../sim/index.js";
import { LEASE_CHECKPOINT_MS, REVOCATIONS_IN_FLIGHT_MAX } from "../base/limits.js";
import { Leases } from "../lease/leases.js";
import type { LeaseCheckpoint } from "../proto/generated/etcdserverpb/lease.js";
import { RequestError } from "./errors.js";
import { LeaseKeeper, type LeaseKeeperOptions } from "./lease-keeper.js";
import { noMetrics } from "./metrics.js";

/** A keeper whose log is a list: what it proposes is applied when the play says so. */
class Play {
  readonly clock = new SimClock();
  readonly log = recordingLog();
  readonly leases: Leases;
  readonly keeper: LeaseKeeper;
  /** Revocations on their way. */
  readonly proposed: { readonly id: bigint; readonly settle: (error?: Error) => void }[] = [];
  readonly checkpoints: LeaseCheckpoint[] = [];
  /** What the majority says of the leadership. */
  confirm: () => Promise<void> = () => Promise.resolve();
  confirmations = 0;

  constructor(options: Partial<LeaseKeeperOptions> = {}) {
    const table = { get: () => undefined, put: () => undefined, delete: () => undefined, keys: () => [] };
    this.leases = new Leases(table, {
      minimumSeconds: 2,
      keepsCheckpoints: false,
      now: () => this.clock.now(),
      onRevoked: (id) => this.keeper.onRevoked(id),
    });
    this.keeper = new LeaseKeeper(
      {
        clock: this.clock,
        log: this.log,
        metrics: noMetrics,
        leases: () => this.leases,
        confirmLeadership: () => {
          this.confirmations++;
          return this.confirm();
        },
        revoke: (id) =>
          new Promise((resolve, reject) => {
            this.proposed.push({ id, settle: (error) => (error === undefined ? resolve() : reject(error)) });
          }),
        checkpoint: async (checkpoints) => {
          await Promise.resolve();
          this.checkpoints.push(...checkpoints);
          for (const { ID, remainingTTL } of checkpoints) this.leases.checkpoint(ID, remainingTTL);
        },
      },
      { extendMs: 1_000, revocationsPerSecond: 0, checkpoints: false, checkpointMs: LEASE_CHECKPOINT_MS, ...options },
    );
  }

  grant(count: number, seconds: number): void {
    for (let id = 1; id <= count; id++) this.leases.grant(BigInt(id), seconds);
  }

  /** Applies what was proposed so far. */
  async apply(): Promise<bigint[]> {
    const applied = this.proposed.splice(0);
    for (const { id, settle: done } of applied) {
      this.leases.revoke(id, { write: () => ({ deleteRange: () => 0, end: () => 0 }) } as never);
      done();
    }
    await settle();
    return applied.map(({ id }) => id);
  }

  renewed(id: bigint): { readonly told: unknown[] } {
    const told: unknown[] = [];
    this.keeper.renewFor(id, {
      resolve: (seconds) => told.push(seconds),
      reject: (error) => told.push((error as { code: string }).code),
    });
    return { told };
  }

  /** The end of each play: no timer is left. */
  end(): void {
    this.keeper.stop();
    assert.equal(this.clock.timers, 0);
  }
}

test("who leads revokes what has run out, once a majority has confirmed that it leads", async () => {
  const p = new Play();
  p.grant(3, 10);
  p.keeper.onLeadership(true);
  await p.clock.run(10_900);
  assert.deepEqual(p.proposed, []);
  assert.equal(p.confirmations, 0);
  await p.clock.run(600);
  assert.equal(p.confirmations, 1);
  assert.deepEqual(new Set(await p.apply()), new Set([1n, 2n, 3n]));
  assert.equal(p.leases.count, 0);
  p.end();
});

test("nothing is revoked while the majority is silent or says that another member leads", async () => {
  const p = new Play();
  p.grant(1, 10);
  p.keeper.onLeadership(true);
  p.confirm = () => Promise.reject(new RequestError("SERVER_NOT_PRIMARY", "another member leads"));
  await p.clock.run(60_000);
  assert.deepEqual(p.proposed, []);
  assert.ok(p.confirmations > 1, "it goes on asking");
  assert.ok(p.log.lines.some(({ message }) => message.includes("are not revoked")));
  p.confirm = () => Promise.resolve();
  await p.clock.run(4_000);
  assert.deepEqual(await p.apply(), [1n]);
  p.end();
});

test("after a standstill in the midst of revocations leadership is confirmed anew before the next one", async () => {
  const p = new Play();
  p.keeper.onLeadership(true);
  p.grant(2 * REVOCATIONS_IN_FLIGHT_MAX, 10);
  await p.clock.run(10_400);
  assert.equal(p.proposed.length, REVOCATIONS_IN_FLIGHT_MAX);
  p.confirm = () => Promise.reject(new RequestError("SERVER_NOT_PRIMARY", "another member leads"));
  p.clock.advance(30_000);
  await p.apply();
  await p.clock.run(1_000);
  assert.deepEqual(p.proposed, [], "what landed made no room for others");
  p.confirm = () => Promise.resolve();
  await p.clock.run(4_000);
  assert.equal((await p.apply()).length, REVOCATIONS_IN_FLIGHT_MAX);
  p.end();
});

test("a revocation that fails is proposed again", async () => {
  const p = new Play();
  p.grant(1, 10);
  p.keeper.onLeadership(true);
  await p.clock.run(11_500);
  p.proposed.splice(0)[0]!.settle(new RequestError("SERVER_TIMEOUT", "no answer"));
  await p.clock.run(4_000);
  assert.deepEqual(await p.apply(), [1n]);
  p.end();
});

test("a lease is renewed at once; one that has run out is waited for until it is gone", async () => {
  const p = new Play();
  p.keeper.onLeadership(true);
  p.grant(1, 10);
  await p.clock.run(9_000);
  assert.deepEqual(p.renewed(1n).told, [10]);
  assert.deepEqual(p.renewed(2n).told, ["LEASE_NOT_FOUND"]);
  await p.clock.run(10_050);
  const late = p.renewed(1n);
  assert.deepEqual(late.told, []);
  await p.clock.run(500);
  await p.apply();
  assert.deepEqual(late.told, ["LEASE_NOT_FOUND"]);
  p.end();
});

test("who waits is told when the member does not lead any more, and nothing runs out then", async () => {
  const p = new Play();
  p.keeper.onLeadership(true);
  p.grant(1, 10);
  await p.clock.run(10_050);
  const late = p.renewed(1n);
  p.keeper.onLeadership(false);
  assert.deepEqual(late.told, ["SERVER_NOT_PRIMARY"]);
  assert.deepEqual(p.renewed(1n).told, ["SERVER_NOT_PRIMARY"]);
  await p.clock.run(60_000);
  assert.deepEqual(p.proposed, []);
  assert.equal(p.clock.timers, 0);
  p.keeper.onLeadership(true);
  assert.deepEqual(p.renewed(1n).told, [10]);
  p.end();
});

test("many that run out at once are revoked as others land, never too many on their way", async () => {
  const p = new Play();
  p.keeper.onLeadership(true);
  p.grant(3 * REVOCATIONS_IN_FLIGHT_MAX, 10);
  await p.clock.run(10_500);
  assert.equal(p.proposed.length, REVOCATIONS_IN_FLIGHT_MAX);
  let revoked = 0;
  for (let round = 0; round < 3; round++) {
    const applied = await p.apply();
    revoked += applied.length;
    assert.ok(p.proposed.length <= REVOCATIONS_IN_FLIGHT_MAX);
  }
  assert.equal(revoked, 3 * REVOCATIONS_IN_FLIGHT_MAX, "in one turn, without a pause");
  p.end();
});

test("a limit of revocations in a second is kept", async () => {
  const p = new Play({ revocationsPerSecond: 50 });
  p.keeper.onLeadership(true);
  p.grant(100, 10);
  await p.clock.run(10_000);
  const counts: number[] = [];
  for (let turn = 0; turn < 12; turn++) {
    await p.clock.run(200);
    counts.push((await p.apply()).length);
  }
  assert.ok(Math.max(...counts) <= 10, counts.join(" "));
  assert.equal(p.leases.count, 0);
  p.end();
});

test("checkpoints tell what long leases have left, and a renewal takes that back first", async () => {
  const p = new Play({ checkpoints: true });
  p.keeper.onLeadership(true);
  p.leases.grant(1n, 1_000);
  p.leases.grant(2n, 301);
  p.leases.grant(3n, 300);
  await p.clock.run(300_500);
  assert.deepEqual(
    p.checkpoints.map(({ ID }) => ID),
    [1n, 2n],
  );
  assert.ok(p.checkpoints[0]!.remainingTTL <= 700 && p.checkpoints[0]!.remainingTTL >= 699);
  const { told } = p.renewed(1n);
  await settle();
  assert.deepEqual(told, [1_000]);
  assert.deepEqual(p.checkpoints.at(-1), { ID: 1n, remainingTTL: 0 });
  assert.equal(p.leases.look(1n)!.leftMs, 1_000_000);
  p.end();
});
