/** The real engine under the backend: `src/bolt`, set up as etcd sets up bbolt. */
import { compactBolt, openBolt, type BoltOptions, type ReadTransaction } from "../bolt/index.js";
import { gibibytes } from "../base/units.js";
import type { BoltEngine } from "./bolt-door.js";

/** etcd's InitialMmapSize. Only its effect on growth matters here: the file grows by 16 MiB at a time. */
const INITIAL_MAP_BYTES = gibibytes(10);

/** @param options what differs from etcd's settings */
export function makeBoltEngine(options: BoltOptions = {}): BoltEngine {
  return {
    open: (d, path) => openBolt(d, path, { initialMapBytes: INITIAL_MAP_BYTES, ...options }),
    // Reads come from this engine's own databases, so they are bolt's.
    compact: (read, d, path) => compactBolt(read as ReadTransaction, d, path, { beside: true }),
  };
}

export const boltEngine: BoltEngine = makeBoltEngine();
