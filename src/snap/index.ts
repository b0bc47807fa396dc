/** Snapshot files: `.snap`, `.snap.db`, and the v2 store inside. */
export * from "./errors.js";
export {
  databaseName,
  decodeSnapshotFile,
  encodeSnapshotFile,
  parseDatabaseName,
  parseSnapshotName,
  snapshotName,
  type SnapshotName,
} from "./format.js";
export * from "./store.js";
export * from "./v2-store.js";
