/**
 * The watch part of what a member does for those who call it (`contract.ts`): a stream of watchers.
 *
 *     caller ── create, cancel, requestProgress ──▶ WatchStream
 *     caller ◀── onEvents, onNotice, onEnd ──────── the member, in the order in which a client must see them
 */
import type { KeySpan, Watcher, WatcherOptions, WatchEvent } from "../mvcc/index.js";

/** What a client asks a new watcher to be. */
export interface WatchCreation extends WatcherOptions {
  /** Copied from the request: nothing of it is held. */
  readonly span: KeySpan;
  /** The client's name for it; 0 lets the member choose one. */
  readonly watchId: number;
}

/** What a client is told beside changes. */
export interface WatchNotice {
  /** The store's; 0 where the watcher's history is compacted. */
  readonly revision: number;
  /** -1 for a watcher that was not made, and for the progress of all watchers. */
  readonly watchId: number;
  readonly created: boolean;
  readonly canceled: boolean;
  /** Not 0: what the watcher lacked is gone, all before this revision. */
  readonly compactRevision: number;
  /** Why the watcher was not made; undefined where it was. */
  readonly refusal: unknown;
}

/** Who is told what comes of a stream. Methods are called in the middle of the member's work, and must not throw. */
export interface WatchStreamReceiver {
  /** Whether more changes are taken now. When they are again, `WatchStream.resume` must be called. */
  readonly isReady: boolean;
  /** @param revision the store's, which is past the last change's where the watcher was behind */
  onEvents(watcher: Watcher, events: readonly WatchEvent[], revision: number): void;
  onNotice(notice: WatchNotice): void;
  /** The stream is over: the member stops, or knows no leader. Nothing comes after. */
  onEnd(error: unknown): void;
}

export interface WatchStreamOptions {
  /** Whether the stream ends when no leader has been known for a while. */
  readonly requiresLeader: boolean;
}

/** One client's watchers. After the end of the stream nothing here does anything. */
export interface WatchStream {
  create(request: WatchCreation): void;
  /** Ends a watcher, and tells so; one that there is none of is passed over. */
  cancel(watchId: number): void;
  /** Asks for the revision up to which all watchers have seen everything. There is no answer while one of them has not. */
  requestProgress(): void;
  /** The receiver takes more again. */
  resume(): void;
  /** Nobody listens any more. */
  close(): void;
}
