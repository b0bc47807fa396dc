/** etcd's write-ahead log: make, open, append, read, check, repair. The format is told in `docs/formats/wal.md`. */
export { WalError, type WalErrorCode, type WalPlace } from "./errors.js";
export { parseSegmentName, segmentName, type SegmentName } from "./names.js";
export {
  createWal,
  listSegments,
  openWal,
  readWal,
  repairWal,
  validSnapshotEntries,
  verifyWal,
  walExists,
  type OnProgress,
  type OpenOptions,
  type ReadDependencies,
  type RepairReport,
  type SnapshotPoint,
  type VerifyReport,
  type WalContents,
} from "./open.js";
export { type DamagedTail, type DamageKind, type LogCounts, type ReadProgress } from "./reader.js";
export { scanWal, type ScannedRecord, type ScanOptions } from "./scan.js";
export { WalWriter, type SaveOptions, type WalDependencies, type WalOptions } from "./writer.js";
