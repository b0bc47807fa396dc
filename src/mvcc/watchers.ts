/**
 * The watchers of a store. Each gets every change of its keys from its first revision on: in order, once, all of a revision together.
 *
 * A watcher that has seen all there is is in step: it gets the changes of a transaction in the turn in which the transaction ends. Any other
 * is behind: what it lacks is read from the history in `db`, by and by. Nothing is held in memory for it but the revision it has come to.
 *
 *     add, from now on ─────────────▶ in step ◀──────────────────┐ nothing lacks any more
 *     add, from a past revision ──┐      │ a change comes, and   │
 *                                 ▼      ▼ it cannot be taken    │
 *                                behind: in the queue ─── walk ──┘──▶ compacted: the history it lacks is gone
 *                                 ▲          │
 *              its receiver takes │          ▼ its receiver takes nothing now
 *              more               └─── stalled
 *
 * A walk reads a bounded piece of the history once for all watchers of the queue that lack it. The one at the head of the queue says where
 * it begins, so each comes forward in its turn, however far the others are behind.
 *
 * Laws:
 * - `next` of a watcher is the first revision of which it may not have seen everything; it never goes back;
 * - a watcher in step has seen all that concerns it up to the store's revision;
 * - a watcher whose next revision is below the compact revision gets no change any more, only that word;
 * - a turn gives out a bounded number of changes, whatever is put in it: the watchers above that fall behind, and get many changes
 *   at once then.
 *
 * Nothing here waits, or knows the time: whoever owns the watchers calls `catchUp` again and again, between other work, while `hasWork`.
 */
import { invariant } from "../base/errors.js";
import {
  WATCH_ANSWER_BYTES_MAX,
  WATCH_DELIVERIES_PER_TURN_MAX,
  WATCH_WALK_BYTES_MAX,
  WATCH_WALK_ROWS_MAX,
} from "../base/limits.js";
import { latin1FromBytes } from "../base/text.js";
import { decodeKeyValue, encodeKeyValue } from "../proto/fast/key-value.js";
import { StoredPair } from "../proto/fast/stored-pair.js";
import type { KeyValue } from "../proto/generated/mvccpb/kv.js";
import type { KeySpan } from "./key-index.js";
import type { Change, HistoryVisitor, Observer } from "./store.js";
import { WatchEvent, type FindPrevious } from "./watch-event.js";
import { WatcherGroups } from "./watcher-groups.js";

/** Who gets what a watcher sees. Methods must not throw: they are called in the middle of the store's work. */
export interface WatchReceiver {
  /** Whether it takes more now. When it does again, `Watchers.resume` must be told. */
  readonly isReady: boolean;
  /**
   * Changes of one revision; or, for one that was behind, of several, in their order.
   *
   * @param revision the store's
   */
  onEvents(watcher: Watcher, events: readonly WatchEvent[], revision: number): void;
  /** What the watcher lacks is compacted: all before this revision. Nothing comes after. */
  onCompacted(watcher: Watcher, compactRevision: number): void;
}

/** What a watcher asks for, beside its keys. The last three are its receiver's business. */
export interface WatcherOptions {
  /** The first revision to tell of; 0 for what comes from now on. */
  readonly startRevision: number;
  readonly withoutPuts: boolean;
  readonly withoutDeletes: boolean;
  /** Whether it gets what each key was before. */
  readonly withPrevious: boolean;
  /** Whether it takes what is too large for one message in several. */
  readonly inFragments: boolean;
  /** Whether it is told now and then that nothing has happened. */
  readonly reportsProgress: boolean;
}

/** What watchers need of their store. */
export interface WatchedStore {
  readonly revision: number;
  readonly compactRevision: number;
  setObserver(observer: Observer | undefined): void;
  visitHistory(from: number, visit: HistoryVisitor): void;
  pairBefore(key: string, revision: number): Uint8Array | undefined;
}

/** How much is given out and read at once; `limits.ts` has the reasons for the defaults. */
export interface WatchLimits {
  /** Changes given out in one turn, each counted for each of its watchers. */
  readonly deliveriesPerTurnMax: number;
  /** Changes that one walk over the history looks at. */
  readonly walkRowsMax: number;
}

const LIMITS: WatchLimits = {
  deliveriesPerTurnMax: WATCH_DELIVERIES_PER_TURN_MAX,
  walkRowsMax: WATCH_WALK_ROWS_MAX,
};

type WatcherState = "in step" | "behind" | "stalled" | "compacted" | "cancelled";

/** What stands below `options` is changed by `Watchers` only. */
export class Watcher {
  /** Its receiver's name for it. */
  readonly id: number;
  readonly span: KeySpan;
  readonly receiver: WatchReceiver;
  readonly options: WatcherOptions;
  /** The first revision of which it may not have seen everything. */
  next = 0;
  state: WatcherState = "cancelled";
  /** What the transaction under way has found for it. */
  found: WatchEvent[] | undefined = undefined;

  constructor(id: number, span: KeySpan, receiver: WatchReceiver, options: WatcherOptions) {
    this.id = id;
    this.span = span;
    this.receiver = receiver;
    this.options = options;
  }

  wants(event: WatchEvent): boolean {
    return event.deleted ? !this.options.withoutDeletes : !this.options.withoutPuts;
  }
}

/** Watchers that take part in one walk, and those of the queue that are looked at for it. */
const WATCHERS_PER_WALK_MAX = 512;
const LOOKS_PER_WALK_MAX = 4_096;

/** Stalled watchers of one receiver that come back to the queue together. */
const BROUGHT_BACK_MAX = 32;

/**
 * Watchers of a walk that lack the same: they watch the same, from the same revision on. What is found for them is found once, and is one array,
 * so that it is encoded once as well.
 */
class Lot {
  readonly span: KeySpan;
  readonly next: number;
  readonly watchers: [Watcher, ...Watcher[]];
  readonly found: WatchEvent[] = [];

  constructor(first: Watcher) {
    this.span = first.span;
    this.next = first.next;
    this.watchers = [first];
  }

  /** Whether a watcher of the same first key lacks the same. */
  suits({ span, next, options }: Watcher): boolean {
    const first = this.watchers[0].options;
    return (
      span.end === this.span.end &&
      next === this.next &&
      options.withoutPuts === first.withoutPuts &&
      options.withoutDeletes === first.withoutDeletes
    );
  }
}

/** Those chosen by what they lack. Of a key the last lot is looked at only: those who fell behind together stand together. */
function lotsOf(chosen: readonly Watcher[]): Lot[] {
  const lots: Lot[] = [];
  const byKey = new Map<string, Lot>();
  for (const watcher of chosen) {
    let lot = byKey.get(watcher.span.key);
    if (lot?.suits(watcher) === true) lot.watchers.push(watcher);
    else {
      lot = new Lot(watcher);
      lots.push(lot);
      byKey.set(watcher.span.key, lot);
    }
  }
  return lots;
}

/** What a walk has found so far. */
interface Found {
  /** Changes looked at. */
  rows: number;
  /** Bytes of the changes that somebody gets, counted once, and for each who gets them. */
  bytes: number;
  givenBytes: number;
  deliveries: number;
  /** What `givenBytes` may come to: a receiver takes about as much as one answer holds, and what is found beyond that is found in vain. */
  readonly givenBytesMax: number;
}

export class Watchers implements Observer {
  readonly #onWork: () => void;
  #store: WatchedStore | undefined;
  /** The revision of the store that was there last: what watchers in step have come to while there is none. */
  #lastRevision = 0;
  readonly #inStep = new WatcherGroups<Watcher>();
  /** How many are behind or stalled. */
  #behindCount = 0;
  /** Those that are behind and whose receivers took more when last looked at, in the order of their turns. */
  readonly #queue = new Set<Watcher>();
  readonly #stalled = new Map<WatchReceiver, Set<Watcher>>();
  /** Receivers that take more again and whose stalled watchers come back to the queue, some at a time. */
  readonly #resuming = new Set<WatchReceiver>();
  readonly #pair = new StoredPair();
  readonly #findPrevious: FindPrevious = (key, revision) => this.#store?.pairBefore(key, revision);
  readonly #limits: WatchLimits;
  #deliveriesLeft: number;
  #eventCount = 0;

  /** @param onWork there is something to do in a later turn: `catchUp`, while `hasWork`, and `beginTurn` before */
  constructor(onWork: () => void, limits: WatchLimits = LIMITS) {
    this.#onWork = onWork;
    this.#limits = limits;
    this.#deliveriesLeft = limits.deliveriesPerTurnMax;
  }

  /** Watchers that are not over. */
  get size(): number {
    return this.#inStep.size + this.#behindCount;
  }

  /** Those that have not seen everything. */
  get behindCount(): number {
    return this.#behindCount;
  }

  /** Changes given out since the beginning, to each watcher its own. */
  get eventCount(): number {
    return this.#eventCount;
  }

  /** Whether `catchUp` would do something. */
  get hasWork(): boolean {
    return this.#store !== undefined && (this.#queue.size > 0 || this.#resuming.size > 0);
  }

  /** The revision up to which the store is known. */
  get revision(): number {
    return this.#store?.revision ?? this.#lastRevision;
  }

  /** Goes on with a store: the first one, or another one that has all of the last one's history that is not compacted. */
  attach(store: WatchedStore): void {
    invariant(this.#store === undefined, "watchers have one store at a time");
    this.#store = store;
    // Whose next revision is not there yet lacks nothing.
    for (const watcher of [...this.#queue, ...[...this.#stalled.values()].flatMap((set) => [...set])]) {
      if (watcher.next > store.revision) this.#putInStep(watcher);
    }
    this.#observe();
    if (this.hasWork) this.#onWork();
  }

  /** The store is about to be replaced: nobody is told anything until there is another one. */
  detach(): void {
    const store = this.#store;
    if (store === undefined) return;
    store.setObserver(undefined);
    this.#lastRevision = store.revision;
    this.#store = undefined;
    for (const watcher of this.#inStep.all()) {
      this.#inStep.delete(watcher);
      watcher.next = Math.max(watcher.next, this.#lastRevision + 1);
      this.#putBehind(watcher);
    }
  }

  /** Adds a watcher that was not added before. What it lacks comes in later turns, never in this one. */
  add(watcher: Watcher): void {
    const { startRevision } = watcher.options;
    watcher.next = startRevision > 0 ? startRevision : this.revision + 1;
    if (this.#store !== undefined && watcher.next > this.#store.revision) {
      watcher.state = "in step";
      this.#inStep.add(watcher);
      this.#observe();
    } else {
      this.#putBehind(watcher);
      if (this.hasWork) this.#onWork();
    }
  }

  /** Ends a watcher; one that is over stays so. */
  cancel(watcher: Watcher): void {
    if (watcher.state === "in step") this.#inStep.delete(watcher);
    else this.#takeBehind(watcher);
    watcher.state = "cancelled";
    watcher.found = undefined;
    this.#observe();
  }

  /** The receiver takes more again. */
  resume(receiver: WatchReceiver): void {
    if (!this.#stalled.has(receiver)) return;
    this.#resuming.add(receiver);
    if (this.hasWork) this.#onWork();
  }

  /** Whether all that a watcher watches for was told up to the store's revision, and that is not before its first revision. */
  isCurrent(watcher: Watcher): boolean {
    return watcher.state === "in step" && this.revision >= watcher.options.startRevision;
  }

  // ---- as it happens ----------------------------------------------------------------------------------------------

  /** A transaction of one put has ended. */
  onPut(kv: KeyValue): void {
    const key = latin1FromBytes(kv.key);
    const groups = this.#inStep.groupsOf(key);
    if (groups === undefined) return;
    const event = this.#eventOf(key, false, kv);
    const events = [event];
    for (const group of groups) {
      for (const watcher of group) {
        if (watcher.next > event.revision) continue; // it begins later
        if (!this.#mayTake(watcher, event.revision)) continue;
        watcher.next = event.revision + 1;
        if (watcher.wants(event)) this.#give(watcher, events, event.revision);
      }
    }
  }

  /** A transaction of several changes has ended. */
  onTransaction(revision: number, changes: readonly Change[]): void {
    const concerned = new Set<Watcher>();
    for (const { deleted, kv } of changes) {
      const key = latin1FromBytes(kv.key);
      const groups = this.#inStep.groupsOf(key);
      if (groups === undefined) continue;
      const event = this.#eventOf(key, deleted, kv);
      for (const group of groups) {
        for (const watcher of group) {
          if (watcher.next > revision) continue; // it begins later
          concerned.add(watcher);
          if (watcher.wants(event)) (watcher.found ??= []).push(event);
        }
      }
    }
    for (const watcher of concerned) {
      const { found } = watcher;
      watcher.found = undefined;
      if (watcher.state !== "in step" || !this.#mayTake(watcher, revision)) continue;
      watcher.next = revision + 1;
      if (found !== undefined) this.#give(watcher, found, revision);
    }
  }

  #eventOf(key: string, deleted: boolean, kv: KeyValue): WatchEvent {
    const isCreation = !deleted && kv.createRevision === kv.modRevision;
    return new WatchEvent(key, kv.modRevision, deleted, encodeKeyValue(kv), isCreation, this.#findPrevious);
  }

  /** Whether a watcher in step takes a change now; one that does not is behind from this revision on. */
  #mayTake(watcher: Watcher, revision: number): boolean {
    const isReady = watcher.receiver.isReady;
    if (isReady && this.#deliveriesLeft > 0) return true;
    this.#inStep.delete(watcher);
    watcher.next = revision;
    this.#putBehind(watcher);
    if (!isReady) this.#stall(watcher);
    else this.#onWork();
    return false;
  }

  #give(watcher: Watcher, events: readonly WatchEvent[], revision: number): void {
    if (this.#deliveriesLeft === this.#limits.deliveriesPerTurnMax) this.#onWork(); // so that the next turn has its own
    this.#deliveriesLeft -= events.length;
    this.#eventCount += events.length;
    watcher.receiver.onEvents(watcher, events, revision);
  }

  /** Another turn of the loop: as much may be given out as in the one before. */
  beginTurn(): void {
    this.#deliveriesLeft = this.#limits.deliveriesPerTurnMax;
  }

  // ---- those that are behind --------------------------------------------------------------------------------------

  /** Reads one piece of the history, and gives it to those who lack it. A few milliseconds' work at most. */
  catchUp(): void {
    const store = this.#store;
    if (store === undefined) return;
    for (const receiver of this.#resuming) this.#bringBack(receiver);
    const compacted: Watcher[] = [];
    const chosen = this.#choose(store, compacted);
    if (chosen.length > 0) {
      const lots = lotsOf(chosen);
      const reached = this.#walk(store, chosen, lots);
      for (const lot of lots) this.#giveFound(store, lot, reached);
    }
    for (const watcher of compacted) {
      // It may have been cancelled by what another watcher of its receiver was given.
      if (watcher.state === "compacted") watcher.receiver.onCompacted(watcher, store.compactRevision);
    }
  }

  /**
   * Brings some of a receiver's stalled watchers back to the queue: it is soon full again where it has many, and what was found for
   * those behind would be found in vain.
   */
  #bringBack(receiver: WatchReceiver): void {
    const stalled = this.#stalled.get(receiver);
    if (stalled === undefined || !receiver.isReady) {
      this.#resuming.delete(receiver);
      return;
    }
    let left = BROUGHT_BACK_MAX;
    for (const watcher of stalled) {
      if (left-- === 0) return;
      stalled.delete(watcher);
      watcher.state = "behind";
      this.#queue.add(watcher);
    }
    this.#stalled.delete(receiver);
    this.#resuming.delete(receiver);
  }

  /** @param reached the first revision that the walk did not come to */
  #giveFound(store: WatchedStore, { watchers, found }: Lot, reached: number): void {
    for (const watcher of watchers) {
      // It may have been cancelled, and its receiver may be full, by what another watcher of the receiver was given.
      if (watcher.state !== "behind" || watcher.next > reached) continue;
      if (found.length > 0 && !watcher.receiver.isReady) {
        this.#stall(watcher);
        continue;
      }
      watcher.next = reached;
      if (reached > store.revision) this.#putInStep(watcher);
      if (found.length === 0) continue;
      this.#eventCount += found.length;
      watcher.receiver.onEvents(watcher, found, store.revision);
    }
  }

  /**
   * Those that the next walk is for; it begins at the first one's next revision. Those whose history is gone are over, and are added to
   * `compacted`.
   */
  #choose(store: WatchedStore, compacted: Watcher[]): Watcher[] {
    const chosen: Watcher[] = [];
    let looks = 0;
    for (const watcher of this.#queue) {
      if (chosen.length >= WATCHERS_PER_WALK_MAX || ++looks > LOOKS_PER_WALK_MAX) break;
      if (!watcher.receiver.isReady) {
        this.#stall(watcher);
      } else if (watcher.next < store.compactRevision) {
        this.#takeBehind(watcher);
        watcher.state = "compacted";
        compacted.push(watcher);
      } else {
        const from = chosen[0]?.next ?? watcher.next;
        if (watcher.next < from || watcher.next > from + this.#limits.walkRowsMax) continue;
        chosen.push(watcher);
      }
    }
    // They are the last in the queue now, so that the others have their turns.
    for (const watcher of chosen) {
      this.#queue.delete(watcher);
      this.#queue.add(watcher);
    }
    return chosen;
  }

  /** Finds the changes for those chosen, who stand in lots, from a revision on; answers the first revision that it did not come to. */
  #walk(store: WatchedStore, chosen: readonly Watcher[], lots: readonly Lot[]): number {
    const groups = new WatcherGroups<Lot>();
    for (const lot of lots) groups.add(lot);
    const from = chosen[0]!.next;
    const receivers = new Set(chosen.map(({ receiver }) => receiver)).size;
    const givenBytesMax = Math.min(WATCH_WALK_BYTES_MAX, receivers * WATCH_ANSWER_BYTES_MAX);
    const found: Found = { rows: 0, bytes: 0, givenBytes: 0, deliveries: 0, givenBytesMax };
    let main = from;
    let reached = store.revision + 1;
    store.visitHistory(from, (revision, deleted, value, start, end) => {
      if (revision > main) {
        // Only here: of a revision all or nothing is told.
        if (isEnough(found, this.#limits)) {
          reached = revision;
          return false;
        }
        main = revision;
      }
      this.#find(groups, revision, deleted, value, start, end, found);
      return true;
    });
    return reached;
  }

  /** Notes a change for those chosen who watch its key. */
  #find(
    lots: WatcherGroups<Lot>,
    revision: number,
    deleted: boolean,
    value: Uint8Array,
    start: number,
    end: number,
    sum: Found,
  ): void {
    sum.rows++;
    const pair = this.#pair;
    pair.read(value, start, end);
    const key = latin1FromBytes(pair.bytes, pair.keyStart, pair.keyEnd);
    const groups = lots.groupsOf(key);
    if (groups === undefined) return;
    let event: WatchEvent | undefined;
    for (const group of groups) {
      for (const { next, watchers, found } of group) {
        if (next > revision) continue;
        event ??= this.#eventInHistory(key, revision, deleted, value, start, end);
        if (!watchers[0].wants(event)) continue;
        found.push(event);
        sum.deliveries += watchers.length;
        sum.givenBytes += event.pair.length * watchers.length;
      }
    }
    sum.bytes += event?.pair.length ?? 0;
  }

  #eventInHistory(
    key: string,
    revision: number,
    deleted: boolean,
    value: Uint8Array,
    start: number,
    end: number,
  ): WatchEvent {
    const { createRevision, modRevision } = this.#pair;
    // A deletion is stored with its key only.
    const stored = value.subarray(start, end);
    const pair = deleted ? encodeKeyValue({ ...decodeKeyValue(stored), modRevision: revision }) : stored;
    const isCreation = !deleted && createRevision === modRevision;
    return new WatchEvent(key, revision, deleted, pair, isCreation, this.#findPrevious);
  }

  // ---- where a watcher stands -------------------------------------------------------------------------------------

  /** One that is in no group yet. */
  #putBehind(watcher: Watcher): void {
    watcher.state = "behind";
    this.#behindCount++;
    this.#queue.add(watcher);
  }

  /** One of the queue, or one that stalled. */
  #putInStep(watcher: Watcher): void {
    this.#takeBehind(watcher);
    watcher.state = "in step";
    this.#inStep.add(watcher);
    this.#observe();
  }

  #takeBehind(watcher: Watcher): void {
    if (watcher.state === "stalled") this.#unstall(watcher);
    else if (watcher.state === "behind") this.#queue.delete(watcher);
    else return;
    this.#behindCount--;
  }

  /** One of the queue. */
  #stall(watcher: Watcher): void {
    this.#queue.delete(watcher);
    watcher.state = "stalled";
    const stalled = this.#stalled.get(watcher.receiver);
    if (stalled === undefined) this.#stalled.set(watcher.receiver, new Set([watcher]));
    else stalled.add(watcher);
  }

  #unstall(watcher: Watcher): void {
    const stalled = this.#stalled.get(watcher.receiver)!;
    stalled.delete(watcher);
    if (stalled.size === 0) this.#stalled.delete(watcher.receiver);
  }

  /** A store that nobody is in step with need not tell what changes. */
  #observe(): void {
    this.#store?.setObserver(this.#inStep.size > 0 ? this : undefined);
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    this.#inStep.check();
    let stalled = 0;
    for (const set of this.#stalled.values()) stalled += set.size;
    invariant(this.#behindCount === this.#queue.size + stalled, "one that is behind is in the queue or stalled");
    const revision = this.revision;
    for (const watcher of this.#queue) invariant(watcher.state === "behind", "the queue is of those behind");
    for (const watcher of this.#inStep.all()) {
      invariant(watcher.state === "in step", "a watcher's state says where it stands");
      invariant(watcher.found === undefined, () => `changes are kept for a watcher at revision ${revision}`);
    }
  }
}

/** Whether a walk has as much as one turn should give out. */
function isEnough({ rows, bytes, givenBytes, deliveries, givenBytesMax }: Found, limits: WatchLimits): boolean {
  return (
    rows >= limits.walkRowsMax ||
    bytes >= WATCH_ANSWER_BYTES_MAX ||
    givenBytes >= givenBytesMax ||
    deliveries >= limits.deliveriesPerTurnMax
  );
}
