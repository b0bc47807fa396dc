/**
 * The time of the simulated world, and what happens when.
 *
 * Everything that takes time or comes from outside is an event in one queue: timers, the end of a disk operation, a message that
 * arrives, a call of a client, a fault. Laws:
 * - one event at a time; all promises that it lets go on have come to rest before the next is taken;
 * - events of one moment run in the order in which they were set;
 * - an event of an owner that is gone never runs; that of one that is held waits until it is let go.
 * So a run depends on nothing but its seed.
 */
import { invariant } from "../../src/base/errors.js";

/** Who an event belongs to: a machine, or one life of a process. */
export interface Owner {
  /** Nothing of it runs any more. */
  readonly gone: boolean;
  /** Nothing of it runs before this moment. */
  readonly heldUntil: number;
}

export interface ScheduledEvent {
  at: number;
  order: number;
  readonly owner: Owner | undefined;
  /** Undefined when it was taken back. */
  run: (() => void) | undefined;
}

export class Scheduler {
  #now = 0;
  #order = 0;
  #ran = 0;
  #lastOwner: Owner | undefined;
  readonly #heap: ScheduledEvent[] = [];

  /** Milliseconds since the world began. */
  get now(): number {
    return this.#now;
  }

  /** The owner of the event that ran last. */
  get lastOwner(): Owner | undefined {
    return this.#lastOwner;
  }

  /** Events that ran. */
  get ran(): number {
    return this.#ran;
  }

  /** Runs something after `delayMs`; 0 is after all that is due now. */
  after(delayMs: number, owner: Owner | undefined, run: () => void): ScheduledEvent {
    invariant(delayMs >= 0, () => `an event ${delayMs} ms from now`);
    const event = { at: this.#now + delayMs, order: this.#order++, owner, run };
    this.#push(event);
    return event;
  }

  cancel(event: ScheduledEvent): void {
    event.run = undefined;
  }

  /** Resolves after `delayMs`; never when the owner is gone by then. */
  sleep(delayMs: number, owner: Owner | undefined): Promise<void> {
    return new Promise((resolve) => {
      this.after(delayMs, owner, resolve);
    });
  }

  /**
   * Lets time pass: takes events until `done` answers true, which is asked before each, when all is at rest. Rejects with what
   * an event or `done` throws.
   */
  run(done: (next: number) => boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      const turn = (): void => {
        try {
          const event = this.#take(done);
          if (event === undefined) {
            resolve();
            return;
          }
          this.#now = Math.max(this.#now, event.at);
          this.#ran++;
          this.#lastOwner = event.owner;
          event.run!();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        setImmediate(turn); // all promises that this event let go on have their turn before
      };
      setImmediate(turn);
    });
  }

  /** The next event that may run; undefined when there is none, or enough has happened. */
  #take(done: (next: number) => boolean): ScheduledEvent | undefined {
    if (done(this.#heap[0]?.at ?? Number.POSITIVE_INFINITY)) return undefined;
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      if (event.run === undefined || event.owner?.gone === true) continue;
      const heldUntil = event.owner?.heldUntil ?? 0;
      if (heldUntil <= event.at) return event;
      event.at = heldUntil;
      this.#push(event); // with its old order: what is held keeps its sequence
    }
    return undefined;
  }

  #push(event: ScheduledEvent): void {
    const heap = this.#heap;
    let at = heap.length;
    heap.push(event);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!before(event, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = event;
  }

  #pop(): ScheduledEvent | undefined {
    const heap = this.#heap;
    const top = heap[0];
    const last = heap.pop();
    if (top === undefined || last === undefined || heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
      if (!before(heap[child]!, last)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}

function before(a: ScheduledEvent, b: ScheduledEvent): boolean {
  return a.at < b.at || (a.at === b.at && a.order < b.order);
}
