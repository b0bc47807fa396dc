/**
 * `--force-new-cluster`: what is left of a cluster becomes a cluster of this one member, with all that was committed.
 *
 * What was not committed is dropped. Configuration changes that take out everybody else are appended and count as committed
 * at once, for the majority that would have to agree is gone.
 */
import { compareIds, encodeChangeContext, type Member } from "../membership/member.js";
import {
  ConfChangeType,
  decodeConfChange,
  encodeConfChange,
  EntryType,
  type ConfState,
  type Entry,
  type HardState,
} from "../proto/raft.js";
import { EMPTY_BYTES } from "../base/bytes.js";

export interface ForcedLog {
  /** Entries of the log, the new ones included. */
  readonly entries: readonly Entry[];
  /** Those that must be written before the member starts. */
  readonly appended: readonly Entry[];
  readonly hardState: HardState;
  readonly discarded: number;
}

/**
 * @param consistentIndex `db` holds entries up to here, so they were committed even where the hard state does not say so yet
 */
export function forceNewCluster(
  localId: bigint,
  snapshotConfState: ConfState | undefined,
  entries: readonly Entry[],
  hardState: HardState,
  consistentIndex: number,
): ForcedLog {
  const commit = Math.max(hardState.commit, consistentIndex);
  const kept = entries.filter((entry) => entry.index <= commit);
  const ids = memberIds(snapshotConfState, kept);
  const changes: { type: ConfChangeType; nodeId: bigint; context: Uint8Array }[] = [];
  if (!ids.includes(localId)) {
    // First in, then the others out: the voters must never be none.
    const self: Member = {
      id: localId,
      peerUrls: ["http://localhost:2380"],
      isLearner: false,
      name: "",
      clientUrls: [],
    };
    const context = encodeChangeContext({ member: self, isPromote: false });
    changes.push({ type: ConfChangeType.addNode, nodeId: localId, context });
  }
  for (const nodeId of ids) {
    if (nodeId !== localId) changes.push({ type: ConfChangeType.removeNode, nodeId, context: EMPTY_BYTES });
  }
  const appended = changes.map((change, position): Entry => ({
    type: EntryType.confChange,
    term: hardState.term,
    index: commit + 1 + position,
    data: encodeConfChange({ id: 0n, ...change }),
  }));
  return {
    entries: [...kept, ...appended],
    appended,
    hardState: { ...hardState, commit: commit + appended.length },
    discarded: entries.length - kept.length,
  };
}

/** Members as snapshot and entries leave them, in ascending order. */
function memberIds(confState: ConfState | undefined, entries: readonly Entry[]): bigint[] {
  const ids = new Set<bigint>([...(confState?.voters ?? []), ...(confState?.learners ?? [])]);
  for (const entry of entries) {
    if (entry.type !== EntryType.confChange) continue;
    const change = decodeConfChange(entry.data);
    if (change.type === ConfChangeType.removeNode) ids.delete(change.nodeId);
    else if (change.type !== ConfChangeType.updateNode) ids.add(change.nodeId);
  }
  return [...ids].sort(compareIds);
}
