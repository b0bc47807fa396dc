/** Members without raft, each with a peer port of its own. When a test ends no socket and no timer of theirs is left. */
import assert from "node:assert/strict";
import { NodeClock } from "../../platform/node/index.js";
import type { Clock, Log, Timer } from "../../platform/index.js";
import { makeMessage, type Message, MessageType } from "../../proto/raft.js";
import { HttpPeers, type HttpPeersOptions, type PeerMetricName, type PeerMetrics, type Peers } from "../index.js";
import { ScriptedMember } from "./scripted-member.js";

export const CLUSTER_ID = 0xc1c1_c1c1_c1c1_c1c1n;

/** What a test body needs of `node:test`'s context. */
interface Teardown {
  after(fn: () => unknown): void;
}

/** The real clock; it knows which timers are set. */
class CountingClock implements Clock {
  readonly timers = new Set<object>();
  readonly #clock = new NodeClock();

  now(): number {
    return this.#clock.now();
  }

  wallNow(): number {
    return this.#clock.wallNow();
  }

  after(delayMs: number, run: () => void, holds?: "process"): Timer {
    const mark = {};
    this.timers.add(mark);
    const timer = this.#clock.after(
      delayMs,
      () => {
        this.timers.delete(mark);
        run();
      },
      holds,
    );
    return this.#forget(timer, mark);
  }

  every(intervalMs: number, run: () => void): Timer {
    const mark = {};
    this.timers.add(mark);
    return this.#forget(this.#clock.every(intervalMs, run), mark);
  }

  #forget(timer: Timer, mark: object): Timer {
    return {
      cancel: () => {
        this.timers.delete(mark);
        timer.cancel();
      },
    };
  }

  yield(): Promise<void> {
    return this.#clock.yield();
  }
}

/** The same clock for all but people. */
export function wrongWallClock(clock: Clock, aheadMs: number): Clock {
  return {
    now: () => clock.now(),
    wallNow: () => clock.wallNow() + aheadMs,
    after: (delayMs, run, holds) => clock.after(delayMs, run, holds),
    every: (intervalMs, run) => clock.every(intervalMs, run),
    yield: () => clock.yield(),
  };
}

/** Counts what is counted, under `name` and `name ID`. */
class CountingMetrics implements PeerMetrics {
  readonly counts = new Map<string, number>();

  count(name: PeerMetricName, by = 1, labels: Readonly<Record<string, string>> = {}): void {
    for (const key of [name, `${name} ${Object.values(labels).join(" ")}`]) {
      this.counts.set(key, (this.counts.get(key) ?? 0) + by);
    }
  }

  set(): void {}

  observe(name: PeerMetricName, _value: number, labels: Readonly<Record<string, string>> = {}): void {
    this.count(name, 1, labels);
  }
}

export interface Seat {
  readonly id: bigint;
  readonly door: HttpPeers;
  readonly member: ScriptedMember;
  readonly peers: Peers;
  readonly url: string;
}

export class PeerWorld {
  readonly clock = new CountingClock();
  readonly #metrics = new CountingMetrics();
  readonly #lines: string[] = [];
  readonly #log: Log = {
    debug: (message) => this.#lines.push(message),
    info: (message) => this.#lines.push(message),
    warn: (message) => this.#lines.push(message),
    error: (message) => this.#lines.push(message),
    with: () => this.#log,
  };
  readonly #seats: Seat[] = [];
  readonly #doors: HttpPeers[] = [];
  readonly #closers: (() => unknown)[] = [];

  static for(test: Teardown): PeerWorld {
    const world = new PeerWorld();
    test.after(async () => world.clear());
    return world;
  }

  /** Something that a test leaves open until its end. */
  atEnd(close: () => unknown): void {
    this.#closers.push(close);
  }

  /** @param clock another than the world's, for a member whose wall clock is wrong */
  async door(options: Partial<HttpPeersOptions> = {}, clock: Clock = this.clock): Promise<HttpPeers> {
    const door = await HttpPeers.open(
      { listenUrls: ["http://127.0.0.1:0"], ...options },
      { clock, log: this.#log, metrics: this.#metrics },
    );
    this.#doors.push(door);
    return door;
  }

  async seat(id: bigint, options: Partial<HttpPeersOptions> = {}, clock: Clock = this.clock): Promise<Seat> {
    const door = await this.door(options, clock);
    const member = new ScriptedMember({ memberId: id, clusterId: CLUSTER_ID });
    const peers = door.connect({ memberId: id, clusterId: CLUSTER_ID }, member);
    member.peers = peers;
    const seat: Seat = { id, door, member, peers, url: door.listenUrls[0]! };
    this.#seats.push(seat);
    return seat;
  }

  /** Two members that know each other, with all four streams open. */
  async couple(options: Partial<HttpPeersOptions> = {}): Promise<readonly [Seat, Seat]> {
    const a = await this.seat(0xan, options);
    const b = await this.seat(0xbn, options);
    a.peers.add(b.id, [b.url]);
    b.peers.add(a.id, [a.url]);
    return [a, b];
  }

  /** Waits until both have all four streams. */
  async connected(a: Seat, b: Seat): Promise<void> {
    await this.until(() => open(a, b.id) && open(b, a.id), "all streams are open");
  }

  /** What was counted so far; with an ID, of that member alone. */
  counted(name: PeerMetricName, id?: string): number {
    return this.#metrics.counts.get(id === undefined ? name : `${name} ${id}`) ?? 0;
  }

  /** What was said in the logs. */
  said(message: string): number {
    return this.#lines.filter((line) => line === message).length;
  }

  /** Waits for what no event tells. */
  async until(condition: () => boolean, what: string, withinMs = 30_000): Promise<void> {
    const end = performance.now() + withinMs;
    while (!condition()) {
      assert.ok(performance.now() < end, `waited ${withinMs} ms for: ${what}`);
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }

  snapshotMessage(from: Seat, to: Seat, index: number): Message {
    const confState = {
      voters: [from.id, to.id],
      learners: [],
      votersOutgoing: [],
      learnersNext: [],
      autoLeave: false,
    };
    return makeMessage({
      type: MessageType.snapshot,
      from: from.id,
      to: to.id,
      term: 7,
      snapshot: { data: new TextEncoder().encode("{}"), metadata: { index, term: 7, confState } },
    });
  }

  /** Stops everything, and checks that nothing is left. */
  async clear(): Promise<void> {
    for (const { peers } of this.#seats) await peers.stop();
    for (const door of this.#doors) await door.close();
    for (const close of this.#closers) await close();
    const told = this.#seats.map(({ member }) => member.told);
    assert.equal(this.clock.timers.size, 0, "no timer is left");
    // A handle is gone some turns after its last event.
    for (let turn = 0; turn < 10 && openSockets().length > 0; turn++) await new Promise(setImmediate);
    assert.deepEqual(openSockets(), [], "no socket is left");
    assert.deepEqual(
      this.#seats.map(({ member }) => member.told),
      told,
      "nothing is told after the end",
    );
  }
}

function open({ door }: Seat, id: bigint): boolean {
  return door.describe(id) === "append+message out, append+message in";
}

function openSockets(): string[] {
  return process.getActiveResourcesInfo().filter((kind) => /^(TCP|TLS)/.test(kind));
}
