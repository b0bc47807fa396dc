/**
 * bbolt's database file, read and written: what `walnut/bolt` exports.
 *
 *   const db = await openBolt({ disk, clock, log }, path);
 *   const tx = db.beginWrite();
 *   tx.createBucketIfNotExists(name).put(key, value);
 *   await tx.commit();
 */
export { openBolt, type BoltOptions } from "./open.js";
export { CACHE_BYTES_DEFAULT, type BoltDatabase, type BoltDoors, type BoltStats } from "./database.js";
export { ReadTransaction, WriteTransaction } from "./transaction.js";
export { Bucket, FILL_PERCENT_DEFAULT, type Visit } from "./bucket.js";
export { Cursor } from "./cursor.js";
export { type PairVisitor } from "./page.js";
export { BoltError, describePlace, type BoltErrorCode, type BoltPlace } from "./errors.js";
export { type BoltProblem, type BucketFigures, type OnProgress } from "./check.js";
export { compactBolt, type CompactOptions } from "./compact.js";
export { boltStats, checkBolt, type BoltFileReport } from "./offline.js";
