/** Time, clocks, links and platters of the simulated cluster. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { entry, METADATA, state } from "../../src/wal/testing/fixture.js";
import { createWal, readWal } from "../../src/wal/index.js";
import { makeMessage, MessageType, type Message } from "../../src/proto/raft.js";
import type { PeerReceiver } from "../../src/server/peers.js";
import { SimClock } from "../clock.js";
import { SimDisk } from "../disk.js";
import { recordingLog } from "../log.js";
import { CRASH_MODES } from "../platter.js";
import { SimRandom } from "../random.js";
import { Counts } from "./counts.js";
import { DurableLog } from "./durable-log.js";
import { MachineClock } from "./machine-clock.js";
import { CALM_HABITS, SimPeerNetwork, type PeerProcess } from "./peer-network.js";
import { Scheduler } from "./scheduler.js";
import { SnapshotPipe } from "./snapshot-pipe.js";
import { Trace } from "./trace.js";

const passMs = (scheduler: Scheduler, ms: number): Promise<void> => {
  const end = scheduler.now + ms;
  return scheduler.run((next) => next > end);
};

test("events run at their moments, and those of one moment in the order in which they were set", async () => {
  const scheduler = new Scheduler();
  const ran: string[] = [];
  for (const [name, at] of Object.entries({ c: 5, a: 1, b: 1, d: 5 })) {
    scheduler.after(at, undefined, () => ran.push(`${name}${scheduler.now}`));
  }
  scheduler.cancel(scheduler.after(2, undefined, () => ran.push("never")));
  await passMs(scheduler, 10);
  assert.deepEqual(ran, ["a1", "b1", "c5", "d5"]);
});

test("all promises rest before the next event", async () => {
  const scheduler = new Scheduler();
  const seen: number[] = [];
  scheduler.after(1, undefined, () => {
    void (async () => {
      for (let i = 0; i < 50; i++) await Promise.resolve();
      seen.push(scheduler.now);
    })();
  });
  scheduler.after(2, undefined, () => seen.push(scheduler.now));
  await passMs(scheduler, 5);
  assert.deepEqual(seen, [1, 2]);
});

test("what is held waits in its order, what is gone never runs", async () => {
  const scheduler = new Scheduler();
  const owner = { gone: false, heldUntil: 8 };
  const dead = { gone: true, heldUntil: 0 };
  const ran: string[] = [];
  scheduler.after(1, owner, () => ran.push(`first ${scheduler.now}`));
  scheduler.after(2, owner, () => ran.push(`second ${scheduler.now}`));
  scheduler.after(3, dead, () => ran.push("never"));
  scheduler.after(4, undefined, () => ran.push(`other ${scheduler.now}`));
  await passMs(scheduler, 20);
  assert.deepEqual(ran, ["other 4", "first 8", "second 8"]);
});

test("a machine's clock runs at its rate and never back; its wall clock jumps", async () => {
  const scheduler = new Scheduler();
  const clock = new MachineClock(scheduler, new SimRandom(1));
  clock.setRate(1.05);
  const door = clock.doorFor({ gone: false, heldUntil: 0 });
  const rang: number[] = [];
  door.after(105, () => rang.push(scheduler.now));
  await passMs(scheduler, 200);
  assert.deepEqual(rang, [100]);
  const before = door.now();
  clock.setRate(0.95);
  assert.equal(door.now(), before);
  const wall = door.wallNow();
  clock.jumpWall(-3_600_000);
  assert.equal(door.wallNow(), wall - 3_600_000);
  assert.equal(door.now(), before);
});

interface Net {
  readonly scheduler: Scheduler;
  readonly network: SimPeerNetwork;
  readonly counts: Counts;
  /** Machine `a` sends this to `b`. */
  readonly send: (message: Message) => void;
  readonly heard: Message[];
  readonly unreachable: bigint[];
}

function twoMachines(): Net {
  const scheduler = new Scheduler();
  const counts = new Counts();
  const silent = { onSend: () => undefined, onSnapshotStream: () => undefined, onOpen: () => undefined };
  const network = new SimPeerNetwork(scheduler, new SimRandom(3), new Trace(), counts, silent);
  const heard: Message[] = [];
  const unreachable: bigint[] = [];
  const receiver = {
    receive: (message: Message) => heard.push(message),
    isRemoved: () => false,
    onUnreachable: (id: bigint) => unreachable.push(id),
  } as Partial<PeerReceiver> as PeerReceiver;
  const processes = ["a", "b"].map((name, at): PeerProcess => {
    const machine = { name, gone: false, heldUntil: 0 };
    network.addMachine(machine);
    const clock = new MachineClock(scheduler, new SimRandom(at)).doorFor(machine);
    const local = { memberId: BigInt(at + 1), clusterId: 9n };
    return { machine, owner: machine, clock, local, receiver, learn: () => undefined };
  });
  for (const process of processes) network.open(process);
  return {
    scheduler,
    network,
    counts,
    send: (message) => network.send(processes[0]!, "b", message),
    heard,
    unreachable,
  };
}

const heartbeat = (commit: number): Message =>
  makeMessage({ type: MessageType.heartbeat, from: 1n, to: 2n, term: 1, commit });

test("a link keeps the order, and what is cut in one direction heals by itself", async () => {
  const { scheduler, network, counts, send, heard, unreachable } = twoMachines();
  for (let i = 0; i < 20; i++) send(heartbeat(i));
  await passMs(scheduler, 50);
  assert.deepEqual(
    heard.map(({ commit }) => commit),
    Array.from({ length: 20 }, (_, i) => i),
  );
  network.cut("a", "b");
  network.cut("a", "b");
  network.mend("a", "b");
  for (let i = 0; i < 20; i++) send(heartbeat(100 + i));
  await passMs(scheduler, 50);
  assert.equal(counts.get("messages cut off"), 20);
  assert.ok(unreachable.length > 0);
  assert.equal(network.openSince("a", "b"), undefined);
  assert.notEqual(network.openSince("b", "a"), undefined);
  network.mend("a", "b");
  send(heartbeat(200));
  await passMs(scheduler, 50);
  assert.equal(heard.at(-1)?.commit, 200);
});

test("a wild link loses, repeats and reorders, but never repeats a proposal", async () => {
  const { scheduler, network, counts, send, heard } = twoMachines();
  network.habits = { ...CALM_HABITS, lossOneIn: 5, repeatOneIn: 3, lateOneIn: 4, reorders: true };
  for (let i = 0; i < 200; i++) send(heartbeat(i));
  await passMs(scheduler, 200);
  assert.ok(counts.get("messages lost") > 10);
  assert.ok(counts.get("messages repeated") > 10);
  const commits = heard.map(({ commit }) => commit);
  assert.notDeepEqual(
    commits,
    [...commits].sort((a, b) => a - b),
  );
  heard.length = 0;
  const entries = [{ type: 0 as const, term: 0, index: 0, data: new Uint8Array(1) }];
  for (let i = 0; i < 100; i++) send(makeMessage({ type: MessageType.propose, from: 1n, to: 2n, entries }));
  await passMs(scheduler, 200);
  assert.ok(heard.length > 50);
  assert.ok(heard.length <= 100);
});

test("a snapshot that breaks off fails at its reader, one that ended does not break any more", async () => {
  const broken = new SnapshotPipe("a", "b");
  broken.put(Uint8Array.of(1));
  broken.break("cut");
  await assert.rejects(bytesOf(broken), { code: "NETWORK_RESET" });
  const whole = new SnapshotPipe("a", "b");
  whole.put(Uint8Array.of(1, 2));
  whole.end();
  assert.equal(await bytesOf(whole), 2);
  whole.finish();
  whole.break("too late");
  assert.equal(whole.broken, false);
});

async function bytesOf(pipe: SnapshotPipe): Promise<number> {
  let bytes = 0;
  for await (const piece of pipe) bytes += piece.length;
  return bytes;
}

test("the log that is read from the platter is the one that a power loss leaves", async () => {
  const walDir = "/data/wal";
  const durable = new DurableLog(walDir);
  const disk: SimDisk = new SimDisk({ onOperation: (operation) => void durable.follow(disk, operation) });
  const world = { disk, clock: new SimClock(), log: recordingLog() };
  const wal = await createWal(world, walDir, METADATA, { segmentBytes: 4096 });
  for (let index = 1; index <= 120; index++) {
    await wal.save(state(1, index - 1), [entry(index, `entry ${index} ${"x".repeat(index)}`)]);
    assert.equal(durable.lastIndex, index);
    if (index % 40 !== 0) continue;
    for (const mode of CRASH_MODES) {
      const left = disk.crash({ mode, random: new SimRandom(index) });
      const contents = await readWal({ ...world, disk: left }, walDir, { index: 0, term: 0 });
      const read = new DurableLog(walDir);
      read.load(left);
      assert.equal(read.lastIndex, contents.entries.at(-1)?.index);
      assert.deepEqual(read.state, contents.hardState);
      assert.ok(read.lastIndex >= durable.lastIndex);
      for (const { index: at, term } of contents.entries) assert.equal(read.entryAt(at)?.term, term);
    }
  }
  await wal.close();
  assert.equal(durable.endsWithZeros(disk), true);
  const segment = [...disk.tree().keys()].filter((path) => path.endsWith(".wal")).sort();
  const tail = disk.file(segment.at(-1)!);
  tail.flipBit(8 * (tail.size - 1));
  assert.equal(durable.endsWithZeros(disk), false);
});
