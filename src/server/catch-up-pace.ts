/**
 * The pace at which a leader brings a learner up to date.
 *
 * raft hands out all that a member lacks in one go, as many messages as may be in flight. A learner that was sent the database lacks what was
 * written meanwhile, and to take, log and apply that is the work of minutes of the cluster done in seconds: where members share a
 * machine or a wire, those that clients wait for stand behind it. Nobody waits for a learner. So what is too much for one go is held
 * here and leaves evenly, message by message, over a span of time that is fixed when holding begins. All that comes in the
 * meantime goes behind it, and the span does not move: at its end nothing is held, however much the cluster writes.
 *
 * Laws: appends to one member leave in the order in which raft gave them; only appends to learners are held, and what is held for one leaves at
 * once when it becomes a voter. Whatever is held may be lost, as on any wire.
 */
import { CATCH_UP_BYTES_PER_SECOND, CATCH_UP_HELD_BYTES_MIN, CATCH_UP_HELD_MS_MAX } from "../base/limits.js";
import type { Clock, Timer } from "../platform/clock.js";
import { MessageType, type Message } from "../proto/raft.js";

export interface CatchUpPaceDependencies {
  readonly clock: Clock;
  readonly isLearner: (id: bigint) => boolean;
  readonly send: (messages: readonly Message[]) => void;
}

/** What is held for one member. */
interface Held {
  readonly messages: Message[];
  bytes: number;
  /** What was held when holding began, until when all of it has left, and how long that takes. */
  readonly bytesAtFirst: number;
  readonly endsAt: number;
  readonly spanMs: number;
  timer: Timer | undefined;
}

export class CatchUpPace {
  readonly #d: CatchUpPaceDependencies;
  readonly #held = new Map<bigint, Held>();

  constructor(d: CatchUpPaceDependencies) {
    this.#d = d;
  }

  /** Sends on what need not be held. */
  send(messages: readonly Message[]): void {
    if (!messages.some((message) => this.#mayBeHeld(message))) {
      this.#d.send(messages);
      return;
    }
    const leaving: Message[] = [];
    const appends = new Map<bigint, Message[]>();
    for (const message of messages) {
      if (!this.#mayBeHeld(message)) leaving.push(message);
      else if (!appends.get(message.to)?.push(message)) appends.set(message.to, [message]);
    }
    for (const [to, given] of appends) if (!this.#hold(to, given)) leaving.push(...given);
    if (leaving.length > 0) this.#d.send(leaving);
  }

  #mayBeHeld({ type, to }: Message): boolean {
    return type === MessageType.append && (this.#held.has(to) || this.#d.isLearner(to));
  }

  /** False when this is little enough to leave as it is. */
  #hold(to: bigint, messages: readonly Message[]): boolean {
    let bytes = 0;
    for (const message of messages) bytes += entryBytes(message);
    let held = this.#held.get(to);
    if (held === undefined) {
      if (bytes < CATCH_UP_HELD_BYTES_MIN) return false;
      const spanMs = Math.min((1000 * bytes) / CATCH_UP_BYTES_PER_SECOND, CATCH_UP_HELD_MS_MAX);
      const endsAt = this.#d.clock.now() + spanMs;
      held = { messages: [], bytes: 0, bytesAtFirst: bytes, endsAt, spanMs, timer: undefined };
      this.#held.set(to, held);
    }
    held.messages.push(...messages);
    held.bytes += bytes;
    this.#sendDue(to, held);
    return true;
  }

  /**
   * What is held sinks evenly from what it was at first to nothing. So whatever comes meanwhile lets as much leave, from the front, and
   * the rest leaves no faster towards the end.
   */
  #sendDue(to: bigint, held: Held): void {
    held.timer?.cancel();
    const { messages, bytesAtFirst, endsAt, spanMs } = held;
    const leftMs = endsAt - this.#d.clock.now();
    const mayHold = leftMs > 0 ? (bytesAtFirst * leftMs) / spanMs : 0;
    let count = 0;
    while (count < messages.length && held.bytes >= mayHold) {
      held.bytes -= entryBytes(messages[count]!);
      count++;
    }
    const leaving = messages.splice(0, count);
    if (messages.length === 0) this.#held.delete(to);
    else {
      const dueAt = endsAt - (held.bytes / bytesAtFirst) * spanMs;
      held.timer = this.#d.clock.after(Math.max(1, dueAt - this.#d.clock.now()), () => this.#sendDue(to, held));
    }
    if (leaving.length > 0) this.#d.send(leaving);
  }

  /** Whether a member is still being sent what it lacks. */
  isHolding(id: bigint): boolean {
    return this.#held.has(id);
  }

  /** The member is a learner no more: others count on it now. */
  release(id: bigint): void {
    const messages = this.#held.get(id)?.messages ?? [];
    this.drop(id);
    if (messages.length > 0) this.#d.send(messages);
  }

  /** What is held for this member cannot arrive any more, or is of no use: raft finds out anew what the member has. */
  drop(id: bigint): void {
    this.#held.get(id)?.timer?.cancel();
    this.#held.delete(id);
  }

  dropAll(): void {
    for (const id of this.#held.keys()) this.drop(id);
  }
}

/** An entry is work by itself, too, however small it is. */
const ENTRY_OVERHEAD_BYTES = 64;

function entryBytes({ entries }: Message): number {
  let bytes = ENTRY_OVERHEAD_BYTES * entries.length;
  for (const { data } of entries) bytes += data.length;
  return bytes;
}
