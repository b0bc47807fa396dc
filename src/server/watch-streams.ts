/**
 * A member's watch streams: the shell around the watchers of its store (`mvcc/watchers.ts`), which has the time that they lack.
 *
 * Watchers that are behind are served between the calls: a few milliseconds, then a rest as long where others have work. When
 * a leader's snapshot replaces the tables, watchers wait and go on with the new store where they were.
 *
 * Laws of a stream:
 * - that a watcher was made is told before anything of it, and nothing of it after its end;
 * - progress is told only where every watcher that it speaks for has been told all there is up to that revision (etcd #15220).
 *
 * A watcher whose history is compacted is over, but its name stays taken until the client cancels it, and the stream's progress is
 * not told meanwhile: as in etcd.
 */
import { CodedError } from "../base/errors.js";
import { WATCH_PROGRESS_MS_MIN, WATCH_REQUESTS_WAITING_MAX } from "../base/limits.js";
import {
  MvccError,
  Watcher,
  Watchers,
  type KeySpan,
  type Store,
  type WatchEvent,
  type WatchLimits,
  type WatchReceiver,
} from "../mvcc/index.js";
import type { Clock, Random, Timer } from "../platform/index.js";
import { SpareTime } from "../platform/spare-time.js";
import type { CallContext } from "./contract.js";
import { RequestError } from "./errors.js";
import { LeaderLoss } from "./leader-loss.js";
import type {
  WatchCreation,
  WatchNotice,
  WatchStream,
  WatchStreamOptions,
  WatchStreamReceiver,
} from "./watch-contract.js";

/** Why a watcher is not made. */
export class WatchError extends CodedError<"WATCH_RANGE_EMPTY" | "WATCH_ID_TAKEN"> {
  override readonly name = "WatchError";
}

/** etcd's number for no watcher, or for all of a stream. */
const NO_WATCH_ID = -1;
/** Rest for each millisecond of catching up, where others have work: as much, which is what etcd rests. */
const REST_PER_MS = 1;
/** Progress is told up to a tenth of the interval later, so that not all streams are told in the same moment. */
const JITTER = 0.1;

export interface WatchStreamsDependencies {
  readonly clock: Clock;
  readonly random: Random;
  readonly electionMs: number;
  /** Between two times that a watcher is told of its progress. */
  readonly progressMs: number;
  /** Left out for the usual ones. */
  readonly limits?: WatchLimits;
  readonly hasLeader: () => boolean;
  /** Throws a coded error, or rejects with it, when the caller may not read the keys. */
  readonly mayWatch: (span: KeySpan, context: CallContext) => void | Promise<void>;
  /** The history could not be read: the member cannot go on. */
  readonly onFailure: (error: unknown) => void;
}

export class WatchStreams {
  readonly #d: WatchStreamsDependencies;
  readonly #leaderLoss: LeaderLoss;
  readonly #watchers: Watchers;
  readonly #streams = new Set<Stream>();
  #isWorking = false;
  #closed: RequestError | undefined;

  constructor(d: WatchStreamsDependencies) {
    this.#d = d;
    this.#watchers = new Watchers(() => this.#schedule(), d.limits);
    this.#leaderLoss = new LeaderLoss(d);
  }

  /** For the figures. */
  get streamCount(): number {
    return this.#streams.size;
  }
  get watcherCount(): number {
    return this.#watchers.size;
  }
  get behindCount(): number {
    return this.#watchers.behindCount;
  }
  get eventCount(): number {
    return this.#watchers.eventCount;
  }

  /** Goes on with a store: the first, or the one that a snapshot brought. */
  attach(store: Store): void {
    if (this.#closed === undefined) this.#watchers.attach(store);
  }

  /** The store is about to be replaced. */
  detach(): void {
    this.#watchers.detach();
  }

  open(receiver: WatchStreamReceiver, options: WatchStreamOptions, context: CallContext): WatchStream {
    const d = this.#d;
    let forgetLeader = (): void => undefined;
    const stream = new Stream(receiver, this.#watchers, context, {
      mayWatch: d.mayWatch,
      startTicking: (run) => {
        const intervalMs = Math.max(WATCH_PROGRESS_MS_MIN, d.progressMs);
        return d.clock.every(intervalMs + d.random.below(Math.ceil(intervalMs * JITTER)), run);
      },
      onClosed: () => {
        this.#streams.delete(stream);
        forgetLeader();
      },
    });
    if (this.#closed !== undefined) {
      stream.end(this.#closed);
      return stream;
    }
    this.#streams.add(stream);
    if (options.requiresLeader) {
      forgetLeader = this.#leaderLoss.onLost(() => {
        stream.end(new RequestError("SERVER_NO_LEADER", "no leader was known for three election timeouts"));
      });
    }
    return stream;
  }

  /** Ends all streams, and those that are still to come. */
  close(error: RequestError): void {
    if (this.#closed !== undefined) return;
    this.#closed = error;
    this.#leaderLoss.close();
    for (const stream of this.#streams) stream.end(error);
    this.#watchers.detach();
  }

  #schedule(): void {
    if (this.#isWorking || this.#closed !== undefined) return;
    this.#isWorking = true;
    this.#work().catch((error: unknown) => this.#d.onFailure(error));
  }

  /** Serves those that are behind, until there is nobody. */
  async #work(): Promise<void> {
    const watchers = this.#watchers;
    try {
      await this.#d.clock.yield();
      watchers.beginTurn();
      const spareTime = new SpareTime(this.#d.clock, REST_PER_MS);
      while (watchers.hasWork) {
        watchers.catchUp();
        if (!spareTime.isOver) continue;
        await spareTime.rest();
        watchers.beginTurn();
      }
    } finally {
      this.#isWorking = false;
    }
  }
}

interface StreamDoors {
  readonly mayWatch: (span: KeySpan, context: CallContext) => void | Promise<void>;
  startTicking(run: () => void): Timer;
  onClosed(): void;
}

class Stream implements WatchStream, WatchReceiver {
  readonly #receiver: WatchStreamReceiver;
  readonly #watchers: Watchers;
  readonly #context: CallContext;
  readonly #doors: StreamDoors;
  /** By name: those that are not over, and those that are compacted and not cancelled yet. */
  readonly #byId = new Map<number, Watcher>();
  #nextId = 0;
  #ticking: Timer | undefined;
  /** Those that are told their progress and had changes since the last tick: they need not be told this time. */
  readonly #hadEvents = new Set<Watcher>();
  #isOver = false;
  /** What waits to be done, the first of it under way. */
  #waiting: (() => void | Promise<void>)[] = [];

  constructor(receiver: WatchStreamReceiver, watchers: Watchers, context: CallContext, doors: StreamDoors) {
    this.#receiver = receiver;
    this.#watchers = watchers;
    this.#context = context;
    this.#doors = doors;
  }

  // ---- what the client asks ---------------------------------------------------------------------------------------

  create(request: WatchCreation): void {
    this.#inOrder(() => this.#create(request));
  }

  #create(request: WatchCreation): void | Promise<void> {
    let asked: void | Promise<void>;
    try {
      // The order of the checks is etcd's: of two mistakes the first is told.
      if (request.startRevision < 0)
        throw new MvccError("MVCC_COMPACTED", `revision ${request.startRevision} never was`);
      asked = this.#doors.mayWatch(request.span, this.#context);
    } catch (error) {
      this.#refuse(error);
      return;
    }
    if (asked === undefined) this.#add(request);
    else {
      return asked.then(
        () => this.#add(request),
        (error: unknown) => this.#refuse(error),
      );
    }
  }

  #add(request: WatchCreation): void {
    if (this.#isOver) return;
    let watcher: Watcher;
    try {
      watcher = this.#make(request);
    } catch (error) {
      this.#refuse(error);
      return;
    }
    this.#watchers.add(watcher);
    this.#byId.set(watcher.id, watcher);
    if (request.reportsProgress) this.#ticking ??= this.#doors.startTicking(() => this.#tick());
    this.#tell({ watchId: watcher.id, created: true });
  }

  #refuse(error: unknown): void {
    if (!(error instanceof CodedError)) throw error;
    if (!this.#isOver) this.#tell({ watchId: NO_WATCH_ID, created: true, canceled: true, refusal: error });
  }

  #make(request: WatchCreation): Watcher {
    const { span, watchId } = request;
    if (span.end !== undefined && span.end !== "" && span.key >= span.end) {
      throw new WatchError("WATCH_RANGE_EMPTY", "the end of the range is not after its beginning");
    }
    if (watchId !== 0 && this.#byId.has(watchId)) {
      throw new WatchError("WATCH_ID_TAKEN", `another watcher of this stream is number ${watchId}`);
    }
    return new Watcher(watchId === 0 ? this.#freeId() : watchId, span, this, request);
  }

  /** What a client asks is done in the order in which it asks; who it is may have to be waited for. */
  #inOrder(run: () => void | Promise<void>): void {
    if (this.#isOver) return;
    if (this.#waiting.length > 0) {
      this.#waiting.push(run);
      if (this.#waiting.length > WATCH_REQUESTS_WAITING_MAX) {
        this.end(new RequestError("SERVER_TOO_MANY_REQUESTS", "too many requests of one stream wait for its token"));
      }
      return;
    }
    const work = run();
    if (work === undefined) return;
    this.#waiting.push(run);
    void work.then(
      () => this.#goOn(),
      (error: unknown) => this.end(error),
    );
  }

  #goOn(): void {
    const [, ...rest] = this.#waiting;
    this.#waiting = [];
    for (const run of rest) this.#inOrder(run);
  }

  #freeId(): number {
    while (this.#byId.has(this.#nextId)) this.#nextId++;
    return this.#nextId++;
  }

  cancel(watchId: number): void {
    this.#inOrder(() => this.#cancel(watchId));
  }

  #cancel(watchId: number): void {
    const watcher = this.#byId.get(watchId);
    if (watcher === undefined) return;
    this.#byId.delete(watchId);
    this.#hadEvents.delete(watcher);
    this.#watchers.cancel(watcher);
    this.#tell({ watchId, canceled: true });
  }

  requestProgress(): void {
    this.#inOrder(() => this.#tellProgress());
  }

  #tellProgress(): void {
    // Who does not read what it is sent gets no more of it for the asking; etcd drops such answers as well.
    if (this.#byId.size === 0 || !this.#receiver.isReady) return;
    for (const watcher of this.#byId.values()) if (!this.#watchers.isCurrent(watcher)) return;
    this.#tell({ watchId: NO_WATCH_ID });
  }

  resume(): void {
    this.#watchers.resume(this);
  }

  close(): void {
    if (this.#isOver) return;
    this.#isOver = true;
    this.#ticking?.cancel();
    for (const watcher of this.#byId.values()) this.#watchers.cancel(watcher);
    this.#byId.clear();
    this.#hadEvents.clear();
    this.#doors.onClosed();
  }

  /** Closes the stream, and tells why. */
  end(error: unknown): void {
    if (this.#isOver) return;
    this.close();
    this.#receiver.onEnd(error);
  }

  // ---- what watchers see ------------------------------------------------------------------------------------------

  get isReady(): boolean {
    return this.#receiver.isReady;
  }

  onEvents(watcher: Watcher, events: readonly WatchEvent[], revision: number): void {
    if (watcher.options.reportsProgress) this.#hadEvents.add(watcher);
    this.#receiver.onEvents(watcher, events, revision);
  }

  onCompacted(watcher: Watcher, compactRevision: number): void {
    this.#receiver.onNotice({
      revision: 0,
      watchId: watcher.id,
      created: false,
      canceled: true,
      compactRevision,
      refusal: undefined,
    });
  }

  #tick(): void {
    for (const watcher of this.#byId.values()) {
      if (!watcher.options.reportsProgress || this.#hadEvents.has(watcher)) continue;
      if (this.#receiver.isReady && this.#watchers.isCurrent(watcher)) this.#tell({ watchId: watcher.id });
    }
    this.#hadEvents.clear();
  }

  #tell(notice: Partial<WatchNotice> & Pick<WatchNotice, "watchId">): void {
    const { revision } = this.#watchers;
    const usual = { revision, created: false, canceled: false, compactRevision: 0, refusal: undefined };
    this.#receiver.onNotice({ ...usual, ...notice });
  }
}
