/** Small questions about snapshots. */
import type { Snapshot } from "../proto/raft.js";

/** Whether a snapshot stands for nothing: index 0 is before every entry. */
export function isEmptySnapshot(snapshot: Snapshot | undefined): boolean {
  return snapshot === undefined || snapshot.metadata.index === 0;
}
