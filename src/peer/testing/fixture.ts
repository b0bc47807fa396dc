/** Members without raft, each with a peer port of its own. When a test ends no socket and no timer of theirs is left. */
import assert from "node:assert/strict";
import { NodeClock } from "../../platform/node/index.js";
import type { Clock, Timer } from "../../platform/index.js";
import { silentLog } from "../../platform/index.js";
import { HttpPeers, type HttpPeersOptions, type Peers } from "../index.js";
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

  after(delayMs: number, run: () => void): Timer {
    const mark = {};
    this.timers.add(mark);
    const timer = this.#clock.after(delayMs, () => {
      this.timers.delete(mark);
      run();
    });
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

export interface Seat {
  readonly id: bigint;
  readonly door: HttpPeers;
  readonly member: ScriptedMember;
  readonly peers: Peers;
  readonly url: string;
}

export class PeerWorld {
  readonly clock = new CountingClock();
  readonly #seats: Seat[] = [];
  readonly #doors: HttpPeers[] = [];

  static for(test: Teardown): PeerWorld {
    const world = new PeerWorld();
    test.after(async () => world.clear());
    return world;
  }

  async door(options: Partial<HttpPeersOptions> = {}): Promise<HttpPeers> {
    const door = await HttpPeers.open(
      { listenUrls: ["http://127.0.0.1:0"], ...options },
      { clock: this.clock, log: silentLog },
    );
    this.#doors.push(door);
    return door;
  }

  async seat(id: bigint, options: Partial<HttpPeersOptions> = {}): Promise<Seat> {
    const door = await this.door(options);
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

  /** Stops everything, and checks that nothing is left. */
  async clear(): Promise<void> {
    for (const { peers } of this.#seats) await peers.stop();
    for (const door of this.#doors) await door.close();
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

function openSockets(): string[] {
  return process.getActiveResourcesInfo().filter((kind) => /^(TCP|TLS)/.test(kind));
}
