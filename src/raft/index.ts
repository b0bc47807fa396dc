/** The public part of `raft`: see `docs/raft.md` for how it is used. */
export { RawNode, type BootstrapPeer, type Ready } from "./raw-node.js";
export type { RaftConfig } from "./config.js";
export type { RaftRole, SoftState } from "./core.js";
export { RaftError, type RaftErrorCode } from "./errors.js";
export { SILENT_LOGGER, type RaftLogger } from "./logger.js";
export { MemoryStorage, type Storage } from "./storage.js";
export type { BasicStatus, Status } from "./status.js";
export type { ReadOnlyOption, ReadState } from "./read-index.js";
export { Progress, type ProgressState } from "./progress.js";
export {
  asConfChangeV2,
  confChangeOf,
  describeConfiguration,
  equalConfStates,
  isConfChange,
  type Configuration,
} from "./configuration.js";
export { isLocalTarget, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NONE } from "./ids.js";
export { isResponseMessage, messageTypeName } from "./message-kinds.js";
export { isEmptySnapshot } from "./snapshots.js";
export {
  describeConfChange,
  describeConfState,
  describeEntries,
  describeEntry,
  describeHardState,
  describeMessage,
  describeReady,
  describeSnapshot,
  describeSoftState,
  describeStatus,
  entryTypeName,
  roleName,
  type EntryFormatter,
} from "./describe.js";
export {
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  makeMessage,
  MessageType,
  type ConfChange,
  type ConfChangeSingle,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
  type SnapshotMetadata,
  isLocalMessage,
} from "../proto/raft.js";
