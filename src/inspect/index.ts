/** A data directory that no server uses, looked into. Nothing here writes. */
export { describeEntryRequest, entryRequestJson } from "./describe-request.js";
export { findDb, findWal, InspectError, oldestReadable } from "./places.js";
export { DUMP_HEADING, dumpWal, type DumpOptions } from "./wal-dump.js";
