/** How a leader feeds its followers: appends, snapshots and heartbeats, as far as each one's progress lets it. */
import { invariant } from "../base/errors.js";
import { EMPTY_BYTES } from "../base/bytes.js";
import { makeMessage, MessageType, type Entry, type Snapshot } from "../proto/raft.js";
import type { RaftCore } from "./core.js";
import { payloadBytes } from "./entry-window.js";
import { RaftError } from "./errors.js";
import { idText } from "./ids.js";
import type { Progress } from "./progress.js";

/** Sends the next append to `to`, even an empty one: it carries the commit index. */
export function sendAppend(core: RaftCore, to: bigint): void {
  maybeSendAppend(core, to, true);
}

/**
 * Sends the next entries to `to`, or a snapshot when they are compacted. Says whether something was sent; nothing is while the
 * follower's progress is paused.
 *
 * @param emptyToo whether an append without entries is worth sending
 */
export function maybeSendAppend(core: RaftCore, to: bigint, emptyToo: boolean): boolean {
  const progress = core.tracker.progress.get(to);
  invariant(progress !== undefined, () => `no progress for ${idText(to)}`);
  if (progress.isPaused()) return false;

  const index = progress.next - 1;
  const logTerm = core.log.term(index);
  if (logTerm === undefined) return maybeSendSnapshot(core, to, progress);
  const entries = entriesFor(core, progress);
  if (entries === undefined) return maybeSendSnapshot(core, to, progress);
  if (entries.length === 0 && !emptyToo) return false;

  const commit = core.log.committed;
  core.send(makeMessage({ type: MessageType.append, to, index, logTerm, entries, commit }));
  progress.sentEntries(entries.length, payloadBytes(entries));
  progress.sentCommit = commit;
  return true;
}

/** None while too many are on their way; undefined when they are compacted. */
function entriesFor(core: RaftCore, progress: Progress): readonly Entry[] | undefined {
  if (progress.state === "replicate" && progress.inflights.isFull()) return [];
  return core.log.entries(progress.next, core.config.maxSizePerMessage);
}

function maybeSendSnapshot(core: RaftCore, to: bigint, progress: Progress): boolean {
  const { logger, log, name } = core;
  const receiver = idText(to);
  if (!progress.recentActive) {
    logger.debug(`ignore sending snapshot to ${receiver} since it is not recently active`);
    return false;
  }
  const snapshot = availableSnapshot(core);
  if (snapshot === undefined) {
    logger.debug(`${name} failed to send snapshot to ${receiver} because snapshot is temporarily unavailable`);
    return false;
  }
  const { index, term } = snapshot.metadata;
  invariant(index !== 0, "entries were compacted, but there is no snapshot in their place");
  logger.debug(
    `${name} [firstindex: ${log.firstIndex()}, commit: ${log.committed}] sent snapshot[index: ${index}, ` +
      `term: ${term}] to ${receiver} [${progress.describe()}]`,
  );
  progress.becomeSnapshot(index);
  logger.debug(`${name} paused sending replication messages to ${receiver} [${progress.describe()}]`);
  core.send(makeMessage({ type: MessageType.snapshot, to, snapshot }));
  return true;
}

function availableSnapshot(core: RaftCore): Snapshot | undefined {
  try {
    return core.log.snapshot();
  } catch (error) {
    if (error instanceof RaftError && error.code === "RAFT_SNAPSHOT_TEMPORARILY_UNAVAILABLE") return undefined;
    throw error;
  }
}

/** Sends everyone the next append, empty ones too. */
export function broadcastAppend(core: RaftCore): void {
  for (const [id] of core.tracker.members) if (id !== core.id) sendAppend(core, id);
}

/** Sends an append to everyone for whom there are entries. */
export function sendPendingAppends(core: RaftCore): void {
  for (const [id] of core.tracker.members) if (id !== core.id) maybeSendAppend(core, id, false);
}

/** Sends everyone a heartbeat, with the number of the newest read that waits. */
export function broadcastHeartbeat(core: RaftCore): void {
  const context = core.reads.heartbeatContext();
  for (const [id, progress] of core.tracker.members) {
    if (id === core.id) continue;
    // Never beyond what the follower is known to have: it could commit entries of its own in their place.
    const commit = Math.min(progress.match, core.log.committed);
    core.send(makeMessage({ type: MessageType.heartbeat, to: id, commit, context }));
    progress.sentCommit = commit;
  }
}

/** Tells a member to campaign at once. */
export function sendTimeoutNow(core: RaftCore, to: bigint): void {
  core.send(makeMessage({ type: MessageType.timeoutNow, to, context: EMPTY_BYTES }));
}
