/** The multi-version store on `db`, and etcd's requests on it. */
export * from "./backend.js";
export type * from "./bolt-door.js";
export * from "./bolt-engine.js";
export {
  readMarks,
  type CompactionMarks,
  type CompactionOptions,
  type FinishedCompaction,
  type StoredHash,
} from "./compaction.js";
export { MvccError, type MvccErrorCode } from "./errors.js";
export type { KeySpan } from "./key-index.js";
export * from "./leases.js";
export * from "./requests.js";
export { isTombstoneKey, mainOf, revisionBytes, subOf, tombstoneBytes, type Revision } from "./revision.js";
export * from "./store.js";
export type { WatchEvent } from "./watch-event.js";
export { Watcher, Watchers, type WatcherOptions, type WatchLimits, type WatchReceiver } from "./watchers.js";
