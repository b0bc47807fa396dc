/**
 * raft's Ready loop: what the core decided, carried out. The order of effects of a write is `#persist`, and nowhere else.
 *
 * raft runs with asynchronous storage writes: each Ready addresses its disk work to the append thread and its committed
 * entries to the apply thread as messages, which carry the messages that may leave when the work is done. Both "threads" are
 * here: the log's writer and the applier. So entries are applied only when this member's own disk has them, a leader's messages
 * leave while its disk works, and a follower's acknowledgements wait for the disk.
 *
 * Gathering: all that comes in during one turn of the event loop becomes one Ready; while a write is in flight the log's
 * writer gathers what follows into its next write. Nothing waits for a timer.
 */
import { SLICE_MS_MAX } from "../base/limits.js";
import type { Clock } from "../platform/clock.js";
import {
  equalHardStates,
  EMPTY_HARD_STATE,
  MessageType,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
} from "../proto/raft.js";
import {
  LOCAL_APPEND_THREAD,
  LOCAL_APPLY_THREAD,
  RaftError,
  type MemoryStorage,
  type RawNode,
  type ReadState,
  type SoftState,
} from "../raft/index.js";
import type { SnapshotStore } from "../snap/index.js";
import type { WalWriter } from "../wal/index.js";
import type { Peers } from "./peers.js";

/** Entries applied between two looks at the clock. */
const ENTRIES_BETWEEN_LOOKS = 64;

export interface ReadyLoopDependencies {
  readonly memberId: bigint;
  readonly node: RawNode;
  /** raft's view of what is durable. */
  readonly storage: MemoryStorage;
  readonly wal: WalWriter;
  readonly snapshots: SnapshotStore;
  readonly peers: Pick<Peers, "send">;
  readonly clock: Clock;
  /** Whether nobody waits for anything but a save of so many entries that is about to be made. */
  readonly isAlone: (entryCount: number) => boolean;
}

export interface ReadyLoopEvents {
  /** A turn's events are in: what was gathered of them is given to the core. */
  giveGathered(): void;
  onSoftState(state: SoftState): void;
  onReadStates(states: readonly ReadState[]): void;
  onHardState(state: HardState): void;
  apply(entry: Entry): void;
  /** Undefined when the state machine takes more entries now; otherwise resolves when it may be asked again. */
  roomToApply(): Promise<void> | undefined;
  /** Entries in `[from, to)` were applied one after the other, in so many milliseconds. */
  onAppliedBatch(entries: readonly Entry[], from: number, to: number, tookMs: number): void;
  /** All entries of a batch are applied. */
  onApplied(): void;
  /** A snapshot is to go to a member that is too far behind for entries: it needs the database with it. */
  sendSnapshot(message: Message): void;
  /** Resolves when no snapshot of this member's own is being taken: one that was received is about to replace the log. */
  beforeSnapshot(): Promise<void>;
  /** Replaces the state machine by what a received snapshot brings. The log's part is durable, nothing is being applied. */
  installSnapshot(snapshot: Snapshot): Promise<void>;
  /** The disk, or a law, failed: the member stops. Nothing is acknowledged after this. */
  onFailure(error: unknown): void;
}

export class ReadyLoop {
  readonly #dependencies: ReadyLoopDependencies;
  readonly #events: ReadyLoopEvents;
  readonly #applyQueue: Message[] = [];
  /** A snapshot that was received is being made durable and installed: later writes wait, for they build on it. */
  #installing: Promise<void> | undefined;
  #applied: (() => void)[] = [];
  #scheduled = false;
  #applying = false;
  #stopped = false;
  #writes = 0;
  #idle: (() => void)[] = [];

  constructor(dependencies: ReadyLoopDependencies, events: ReadyLoopEvents) {
    this.#dependencies = dependencies;
    this.#events = events;
  }

  /** Something was put into the core: what it decides of it is carried out when this turn's other events are in, too. */
  schedule(): void {
    if (this.#scheduled || this.#stopped) return;
    this.#scheduled = true;
    this.#dependencies.clock.yield().then(
      () => {
        this.#scheduled = false;
        this.#guard(() => this.#carryOut());
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** Carries out nothing more, and resolves when no write is in flight. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const resolve of this.#applied) resolve();
    if (this.#writes > 0) await new Promise<void>((resolve) => this.#idle.push(resolve));
  }

  #carryOut(): void {
    const { node } = this.#dependencies;
    if (!this.#stopped) this.#events.giveGathered();
    while (!this.#stopped && node.hasReady()) {
      const ready = node.ready();
      if (ready.softState !== undefined) this.#events.onSoftState(ready.softState);
      if (ready.readStates.length > 0) this.#events.onReadStates(ready.readStates);
      const forOthers = ready.messages.filter(({ to }) => to !== LOCAL_APPEND_THREAD && to !== LOCAL_APPLY_THREAD);
      const outgoing = forOthers.filter(({ type }) => type !== MessageType.snapshot);
      if (outgoing.length > 0) this.#dependencies.peers.send(outgoing); // first: the others' disks work while ours does
      for (const message of ready.messages) {
        if (message.to === LOCAL_APPEND_THREAD) this.#startPersisting(message, forOthers.length === 0);
        else if (message.to === LOCAL_APPLY_THREAD) this.#applyQueue.push(message);
        else if (message.type === MessageType.snapshot) this.#events.sendSnapshot(message);
      }
    }
    this.#applySlice();
  }

  #startPersisting(message: Message, mayBeAlone: boolean): void {
    const alone = mayBeAlone && this.#applyQueue.length === 0 && this.#dependencies.isAlone(message.entries.length);
    this.#writes++;
    const { snapshot } = message;
    const before = this.#installing;
    const written =
      snapshot !== undefined
        ? this.#install(message, snapshot, before)
        : before === undefined
          ? this.#persist(message, alone)
          : before.then(() => this.#persist(message, false));
    // Writes behind a snapshot keep their order among themselves: each waits for the one before it until the queue is empty.
    if (snapshot !== undefined || before !== undefined) this.#waitFor(written);
    written.then(
      () => this.#writeEnded(),
      (error: unknown) => {
        this.#fail(error);
        this.#writeEnded();
      },
    );
  }

  #waitFor(written: Promise<void>): void {
    const gate = written.catch(() => undefined); // told where the write was started
    this.#installing = gate;
    void gate.then(() => {
      if (this.#installing === gate) this.#installing = undefined;
    });
  }

  #writeEnded(): void {
    this.#writes--;
    if (this.#writes > 0) return;
    const idle = this.#idle;
    this.#idle = [];
    for (const resolve of idle) resolve();
  }

  /** The order of effects. The log resolves saves in the order in which they were given. */
  async #persist(message: Message, alone: boolean): Promise<void> {
    if (this.#stopped) return;
    const { wal, storage } = this.#dependencies;
    const hardState = hardStateOf(message);
    await wal.save(hardState, message.entries, { alone }); // durable before anybody hears of it, this member's own vote included
    if (this.#stopped) return;
    this.#guard(() => {
      if (hardState !== undefined) {
        storage.setHardState(hardState);
        this.#events.onHardState(hardState);
      }
      storage.append(message.entries); // before the answers, which let the core forget its copy
      this.#deliver(message.responses);
    });
  }

  /**
   * The order of effects of a snapshot that a leader sent. Its database lies beside `db` already, durable under a name of its own.
   * A crash after any step leaves a directory that opens: until the log's hard state reaches the snapshot the old state counts, from
   * then on the new one, whose database boot puts in place where this did not come to it.
   */
  async #install(message: Message, snapshot: Snapshot, before: Promise<void> | undefined): Promise<void> {
    const { wal, storage, snapshots } = this.#dependencies;
    const { index, term, confState } = snapshot.metadata;
    const hardState = hardStateOf(message);
    await before; //                                              what was decided before goes first
    await this.#events.beforeSnapshot();
    if (this.#stopped) return;
    await snapshots.save(snapshot); //                            the file ...
    await wal.saveSnapshot({ index, term, confState }); //        ... the record that names it ...
    await wal.save(hardState, message.entries); //                ... the state that makes it count ...
    await wal.sync(); //                                          ... also when its commit alone has changed
    if (this.#stopped) return;
    storage.applySnapshot(snapshot);
    if (hardState !== undefined) {
      storage.setHardState(hardState);
      this.#events.onHardState(hardState);
    }
    storage.append(message.entries);
    wal.releaseTo(index); //                                      only now may older segments go
    await this.#allApplied(); //                                  entries handed out before are older than the snapshot
    if (this.#stopped) return;
    await this.#events.installSnapshot(snapshot);
    if (this.#stopped) return;
    this.#guard(() => this.#deliver(message.responses)); //       the leader hears that we are there
  }

  #allApplied(): Promise<void> {
    if (this.#applyQueue.length === 0) return Promise.resolve();
    return new Promise((resolve) => this.#applied.push(resolve));
  }

  #deliver(responses: readonly Message[]): void {
    const { memberId, peers } = this.#dependencies;
    const outgoing: Message[] = [];
    for (const response of responses) {
      if (response.to === memberId) this.#stepOwn(response);
      else outgoing.push(response);
    }
    if (outgoing.length > 0) peers.send(outgoing);
    this.schedule();
  }

  /** What this member's own disk tells the core. Removed in the meantime, it counts for nobody: then the word is lost, as a peer's is. */
  #stepOwn(response: Message): void {
    try {
      this.#dependencies.node.step(response);
    } catch (error) {
      if (!(error instanceof RaftError) || error.code !== "RAFT_PEER_UNKNOWN") throw error;
    }
  }

  /** Applies what is queued, in slices, so that heart-beats have their turn, and no faster than the state machine takes it. */
  #applySlice(): void {
    if (this.#applying) return;
    const { clock } = this.#dependencies;
    let now = clock.now();
    const until = now + SLICE_MS_MAX;
    for (let message = this.#applyQueue[0]; message !== undefined; message = this.#applyQueue[0]) {
      while (this.#applyFrom < message.entries.length) {
        const pause = this.#events.roomToApply() ?? (now >= until ? clock.yield() : undefined);
        if (pause !== undefined) {
          this.#continueAfter(pause);
          return;
        }
        const from = this.#applyFrom;
        const to = Math.min(from + ENTRIES_BETWEEN_LOOKS, message.entries.length);
        for (let position = from; position < to; position++) {
          if (this.#stopped) return;
          this.#events.apply(message.entries[position]!);
        }
        this.#applyFrom = to;
        const began = now;
        now = clock.now();
        this.#events.onAppliedBatch(message.entries, from, to, now - began);
      }
      this.#applyFrom = 0;
      this.#applyQueue.shift();
      this.#deliver(message.responses);
      this.#events.onApplied();
    }
    const waiting = this.#applied;
    this.#applied = [];
    for (const resolve of waiting) resolve();
  }

  /** How many entries of the first queued message are applied. */
  #applyFrom = 0;

  #continueAfter(pause: Promise<void>): void {
    this.#applying = true;
    pause.then(
      () => {
        this.#applying = false;
        this.#guard(() => this.#applySlice());
      },
      (error: unknown) => this.#fail(error),
    );
  }

  /** A failure below ends the member: state may be half changed. */
  #guard(work: () => void): void {
    if (this.#stopped) return;
    try {
      work();
    } catch (error) {
      this.#fail(error);
    }
  }

  #fail(error: unknown): void {
    if (this.#stopped) return;
    this.#stopped = true;
    this.#events.onFailure(error);
  }
}

/** The hard state that a storage message carries: all three fields, or none when nothing changed. */
function hardStateOf(message: Message): HardState | undefined {
  const state = { term: message.term, vote: message.vote, commit: message.commit };
  return equalHardStates(state, EMPTY_HARD_STATE) ? undefined : state;
}
