/**
 * Reads that see every write acknowledged before them, without an entry in the log.
 *
 * The leader notes its commit index when the request comes. Before it may answer it must know that it was still the leader at
 * that time: `safe` asks a quorum with the next round of heartbeats, `lease-based` trusts the clock (a quorum was heard of within
 * an election timeout, and members that heard from a leader do not vote for another).
 *
 * Requests are numbered in order of arrival, from 1 in each term. A heartbeat carries the number of the newest request; who
 * answers it confirms that one and all before. So the confirmed number is a quorum's committed index over numbers.
 *
 *     requests  1 2 3 4 5        acked: leader 5, a 3, b 4  ->  4 are confirmed, and answered
 *               confirmed ^
 */
import { EMPTY_BYTES, readUint32LE, readUint64LE, writeUint64LE } from "../base/bytes.js";
import type { Message } from "../proto/raft.js";
import { jointCommittedIndex, type JointVoters } from "./quorum.js";

export type ReadOnlyOption = "safe" | "lease-based";

/** An answer to `readIndex`: state that has applied `index` may serve the request with this context. */
export interface ReadState {
  readonly index: number;
  readonly context: Uint8Array;
}

export interface ReadRequest {
  readonly message: Message;
  /** The commit index when it came. */
  readonly index: number;
}

const CONTEXT_BYTES = 8;

/** High words from here on stand for numbers that this member cannot have sent, since it counts below 2^53. */
const HIGH_WORD_END = 0x20_0000;

export class ReadQueue {
  #waiting: ReadRequest[] = [];
  #confirmed = 0;
  readonly #acks = new Map<bigint, number>();

  /** Forgets everything: the term is over, and who waits must ask again. */
  clear(): void {
    this.#waiting = [];
    this.#confirmed = 0;
    this.#acks.clear();
  }

  add(index: number, message: Message): void {
    this.#waiting.push({ message, index });
  }

  /** What the next heartbeats carry: the number of the newest request, or nothing when none waits. */
  heartbeatContext(): Uint8Array {
    if (this.#waiting.length === 0) return EMPTY_BYTES;
    const context = new Uint8Array(CONTEXT_BYTES);
    writeUint64LE(context, 0, this.#newest());
    return context;
  }

  #newest(): number {
    return this.#confirmed + this.#waiting.length;
  }

  /** `from` answered a heartbeat with this context. One that we did not send in this term is ignored. */
  receiveAck(from: bigint, context: Uint8Array): void {
    if (context.length !== CONTEXT_BYTES || readUint32LE(context, 4) >= HIGH_WORD_END) return;
    const number = readUint64LE(context, 0);
    if (number > this.#newest()) return;
    this.#acks.set(from, Math.max(number, this.#acks.get(from) ?? 0));
  }

  /** Removes and gives the requests that a quorum has confirmed by now. */
  takeConfirmed(voters: JointVoters): ReadRequest[] {
    const confirmed = jointCommittedIndex(voters, (id) => this.#acks.get(id));
    if (confirmed <= this.#confirmed) return [];
    const taken = this.#waiting.splice(0, confirmed - this.#confirmed);
    this.#confirmed += taken.length;
    return taken;
  }
}
