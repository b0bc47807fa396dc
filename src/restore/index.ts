/** Snapshots of `db`, offline: what is in one, and a data directory made from it. */
export { newCluster, type ClusterOptions, type NewCluster } from "./cluster.js";
export { RestoreError, type RestoreErrorCode } from "./errors.js";
export { restoreSnapshot, type Restored, type RestoreDependencies, type RestoreOptions } from "./restore.js";
export type { Digest } from "./snapshot-file.js";
export { snapshotStatus, type SnapshotStatus } from "./status.js";
