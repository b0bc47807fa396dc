/**
 * Snapshots between members. raft asks for one when a follower needs entries that are gone from memory; what is sent is the state of
 * now: the v2 store in the message, `db` behind it.
 *
 * Law: the database holds the effects of every entry up to the message's, as both are fixed in one turn; it is streamed from a pinned
 * read, and writes go on meanwhile. It may be ahead of the message where the sender has just started and still applies entries that its
 * database holds already: the receiver then passes over them by the database's own index, as the sender does.
 */
import { describeError, invariant } from "../base/errors.js";
import { memberIdText } from "../membership/member.js";
import type { MembershipState } from "../membership/membership.js";
import type { Backend, BackendSnapshot } from "../mvcc/index.js";
import type { Platform, Timer } from "../platform/index.js";
import type { ConfState, Message, Snapshot } from "../proto/raft.js";
import type { SnapshotStore } from "../snap/index.js";
import type { DatabaseStream } from "./contract.js";
import type { Peers } from "./peers.js";
import { checkReceivedDatabase } from "./received-database.js";
import type { SnapshotData } from "./snapshot-data.js";

/** Entries stay in memory for so long after a snapshot was sent: its receiver reads it, and then asks for them (etcd's figure). */
const HOLD_AFTER_SENT_MS = 30_000;

export interface SnapshotExchangeDependencies {
  readonly platform: Platform;
  readonly snapshots: SnapshotStore;
  readonly data: SnapshotData;
  readonly backend: () => Backend;
  readonly applied: () => {
    readonly index: number;
    readonly term: number;
    readonly confState: ConfState;
    readonly state: MembershipState;
  };
  /** Writes the consistent index into db's open transaction. */
  readonly saveProgress: () => void;
  readonly peers: () => Peers;
}

export class SnapshotExchange {
  readonly #d: SnapshotExchangeDependencies;
  #sending = 0;
  readonly #holds = new Set<Timer>();

  constructor(d: SnapshotExchangeDependencies) {
    this.#d = d;
  }

  /** Whether somebody may soon need the entries behind a snapshot. */
  get isSending(): boolean {
    return this.#sending > 0 || this.#holds.size > 0;
  }

  /** Sends the state of now in place of the snapshot that raft named. How it ended comes through `onSnapshotSent`. */
  async send(message: Message): Promise<void> {
    this.#sending++;
    let snapshot: Snapshot | undefined;
    try {
      const database = await this.#d.backend().snapshot(() => {
        const { index, term, confState, state } = this.#d.applied();
        this.#d.saveProgress();
        snapshot = { data: this.#d.data.encode(state), metadata: { index, term, confState } };
      });
      invariant(snapshot !== undefined, "a snapshot of db is prepared before it is made");
      this.#d.platform.log.info("sending database snapshot", {
        "snapshot-index": snapshot.metadata.index,
        "remote-peer-id": memberIdText(message.to),
        bytes: database.sizeBytes,
      });
      this.#d.peers().sendSnapshot({ ...message, snapshot }, streamOf(database));
    } catch (error) {
      this.#d.platform.log.warn("failed to send a database snapshot", {
        "remote-peer-id": memberIdText(message.to),
        error: describeError(error),
      });
      this.onSent();
    }
  }

  /** A snapshot was delivered, or lost. */
  onSent(): void {
    this.#sending--;
    const hold = this.#d.platform.clock.after(HOLD_AFTER_SENT_MS, () => this.#holds.delete(hold));
    this.#holds.add(hold);
  }

  /**
   * Keeps the database of a snapshot under a name of its own, beside `db`. Only when it is durable, and proved to be what the
   * snapshot says, may raft see the message.
   *
   * @throws MemberError `SNAPSHOT_DAMAGED`; what the stream or the disk throws
   */
  async receive({ snapshot, from }: Message, database: AsyncIterable<Uint8Array>): Promise<void> {
    invariant(snapshot !== undefined, "a snapshot message carries a snapshot");
    const { index } = snapshot.metadata;
    const { platform, snapshots } = this.#d;
    platform.log.info("receiving database snapshot", {
      "remote-peer-id": memberIdText(from),
      "incoming-leader-snapshot-index": index,
    });
    await snapshots.saveDatabase(index, database);
    try {
      await checkReceivedDatabase(platform, snapshots.databasePath(index), index);
    } catch (error) {
      await snapshots.removeDatabase(index);
      throw error;
    }
  }

  stop(): void {
    for (const hold of this.#holds) hold.cancel();
    this.#holds.clear();
  }
}

function streamOf(snapshot: BackendSnapshot): DatabaseStream {
  return { totalBytes: snapshot.sizeBytes, chunks: untilEnd(snapshot) };
}

/**
 * The pages of a snapshot; it is ended with the reading of them, early or not. Not a generator: the return of one that was never read
 * skips its `finally`, and the pages would stay pinned.
 *
 * @param onAllRead told once when all pages were read
 */
export function untilEnd(snapshot: BackendSnapshot, onAllRead?: () => void): AsyncIterable<Uint8Array> {
  return { [Symbol.asyncIterator]: () => new PagesUntilEnd(snapshot, onAllRead) };
}

class PagesUntilEnd implements AsyncIterator<Uint8Array, undefined> {
  readonly #snapshot: BackendSnapshot;
  #onAllRead: (() => void) | undefined;
  readonly #pages: AsyncIterator<Uint8Array, unknown>;

  constructor(snapshot: BackendSnapshot, onAllRead: (() => void) | undefined) {
    this.#snapshot = snapshot;
    this.#onAllRead = onAllRead;
    this.#pages = snapshot.pages()[Symbol.asyncIterator]();
  }

  async next(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      const { done, value } = await this.#pages.next();
      if (done !== true) return { done: false, value };
    } catch (error) {
      this.#snapshot.end();
      throw error;
    }
    this.#snapshot.end();
    this.#onAllRead?.();
    this.#onAllRead = undefined;
    return { done: true, value: undefined };
  }

  async return(): Promise<IteratorResult<Uint8Array, undefined>> {
    try {
      await this.#pages.return?.();
    } finally {
      this.#snapshot.end();
    }
    return { done: true, value: undefined };
  }
}
