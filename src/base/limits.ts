/**
 * Every limit of Walnut, with its reason. Relations between them are asserted at the end of this file.
 */
import { invariant } from "./errors.js";
import { gibibytes, kibibytes, mebibytes } from "./units.js";

/** etcd's segment size: 64 million bytes, not 64 MiB. A file may exceed it, for it is checked after a save. */
export const SEGMENT_BYTES = 64_000_000;

/** The unit of a torn write: the smallest span that a disk writes whole. */
export const SECTOR_BYTES = 512;

/** Segments and snapshots that purge leaves in place (etcd's `--max-wals` and `--max-snapshots`). */
export const SEGMENTS_KEPT = 5;
export const SNAPSHOTS_KEPT = 5;

/** Pause between two purges: etcd's 30 seconds. */
export const PURGE_INTERVAL_MS = 30_000;

/** An apply or a read over this time is worth a warning (etcd's default of `--experimental-warning-apply-duration`). */
export const SLOW_APPLY_MS = 100;

/** A call with one answer that took longer is worth a warning (etcd's figure). */
export const SLOW_CALL_MS = 300;

/** Bytes of pairs in one message of a range that is streamed, about, and keys in its first one, before it is known how large pairs are. */
export const PIECE_BYTES = 256 * 1024;
export const KEYS_OF_FIRST_PIECE = 16;

/** Of warnings that could come by the thousand, so many are written in a second, and then one in so many (as etcd's log samples). */
export const WARNINGS_FIRST = 100;
export const WARNINGS_THEREAFTER = 100;

/** An fsync over this time is worth a warning: etcd's bound, past which clusters lose leaders. */
export const SLOW_FSYNC_MS = 1_000;

/**
 * A save that nobody else waits beside is written on the loop (docs/decisions/durable-writes.md), when it is not larger than this:
 * about 0.5 ms of a disk's work.
 */
export const LOOP_WRITE_BYTES_MAX = kibibytes(512);

/**
 * Entries of a member's save that may be written on its loop. Where more come together, more are on their way: to read them while
 * the disk works is worth more than the trips to the pool.
 */
export const LOOP_WRITE_ENTRIES_MAX = 8;

/** A durable write over this time is a stall: for `LOOP_WRITE_PAUSE_MS` none is made on the loop, so that it is not held twice. */
export const LOOP_WRITE_STALL_MS = 5;
export const LOOP_WRITE_PAUSE_MS = 1_000;

/**
 * Answers of a watch that wait for one who observes a leader and does not read them; what comes after stays in the store, and is read from there.
 */
export const OBSERVED_PIECES_MAX = 16;

/** Largest client request, etcd's `--max-request-bytes`. */
export const REQUEST_BYTES_MAX = mebibytes(1.5);

/** What a request may be larger than `REQUEST_BYTES_MAX` on the wire, for its envelope (etcd's figure). */
export const REQUEST_OVERHEAD_BYTES = kibibytes(512);

/** Operations in one transaction, etcd's `--max-txn-ops`. */
export const TXN_OPERATIONS_MAX = 128;

/** Entries between the log's applied and its snapshotted index that etcd keeps for slow followers. */
export const CATCH_UP_ENTRIES = 5_000;

/**
 * What a learner lacks is sent at this pace, where one turn gives it more than any turn's own writes are, so that those who share its machine
 * or its wire do not wait. Nothing is held for longer than the span: the entries behind a snapshot stay in memory for 30 s.
 */
export const CATCH_UP_BYTES_PER_SECOND = mebibytes(4);
export const CATCH_UP_HELD_BYTES_MIN = mebibytes(8);
export const CATCH_UP_HELD_MS_MAX = 10_000;

/** Rests that the proof of a received database takes, and its installation: together well below those 30 s. */
export const SNAPSHOT_RESTS_MS_MAX = 4_000;

/** Entries between two snapshots: etcd 3.5's `--snapshot-count`. */
export const SNAPSHOT_ENTRIES = 100_000;

/** etcd's default `--quota-backend-bytes`, and the largest that it suggests. */
export const QUOTA_BYTES_DEFAULT = gibibytes(2);
export const QUOTA_BYTES_SUGGESTED_MAX = gibibytes(8);

/** A batch of writes to `db` is committed after this time or this many writes, as in etcd. */
export const BATCH_INTERVAL_MS = 100;
export const BATCH_WRITES_MAX = 10_000;

/** So many bytes make a batch full, too: etcd counts writes only, and 10,000 large ones would be gigabytes in memory. */
export const BATCH_BYTES_MAX = mebibytes(16);

/**
 * Full batches that may gather behind a commit that is under way. Past this entries wait to be applied: where `db` is slower than the log, or a
 * long log is replayed, what waits to be written must not grow without bound.
 */
export const BATCHES_BEHIND_COMMIT_MAX = 4;

/** Revisions that a compaction looks at in one batch, and its pause after each: etcd's `--experimental-compaction-*` defaults. */
export const COMPACTION_BATCH_MAX = 1_000;
export const COMPACTION_PAUSE_MS = 10;
/** Bytes of values in one such batch: they are read and hashed in one turn of the loop, in some 2 ms. */
export const COMPACTION_BATCH_BYTES_MAX = mebibytes(2);

/**
 * Revocations of expired leases on their way at once: each is an entry of its own, and calls of clients stand behind them in the queue. With 1,000 one
 * put in a hundred waited 59 to 78 ms while 100,000 leases ran out in ten seconds; with 250 it waits 23 to 38, and no lease ends later.
 */
export const REVOCATIONS_IN_FLIGHT_MAX = 250;

/** Between two notes of what long leases have left, and how many leases one entry tells of (etcd's figures). */
export const LEASE_CHECKPOINT_MS = 300_000;
export const LEASE_CHECKPOINTS_PER_ENTRY = 1_000;

/** Requests of one watch stream that may wait for the token of its caller to come through the log. */
export const WATCH_REQUESTS_WAITING_MAX = 1_000;

/** Keep-alive requests of one stream that may wait for an answer: most wait for nothing. */
export const KEEP_ALIVES_WAITING_MAX = 1_000;

/** Bytes of entries in one message between members (etcd's `maxSizePerMsg`), and of requests that are proposed together. */
export const MESSAGE_ENTRY_BYTES_MAX = mebibytes(1);

/** Proposals that may be committed but not applied before new ones are turned away (etcd's `maxGapBetweenApplyAndCommitIndex`). */
export const APPLY_BACKLOG_MAX = 5_000;

/**
 * Election timeouts without any leader after which a member with a damaged end of its log votes for those who may have what it lost: ten
 * elections that members without damage could have won (docs/decisions/damaged-end.md) ...
 */
export const DAMAGED_END_LEADERLESS_TIMEOUTS = 10;
/** ... and after so many for anyone: whoever has what it may have lost does not come back, or nobody ever had it. */
export const DAMAGED_END_FORSAKEN_TIMEOUTS = 30;

/**
 * Between members. A read of a connection may take this long, and so may a write that makes no progress: etcd's 5 seconds. A quiet
 * stream is kept alive by a link heart-beat every third of it.
 */
export const PEER_CONNECTION_TIMEOUT_MS = 5_000;

/** etcd's pause between two attempts to open the same stream. */
export const PEER_DIAL_PAUSE_MS = 100;

/** Messages that wait for one stream, and for the pipeline where there is no stream (etcd's figures). Further ones are dropped. */
export const STREAM_MESSAGES_MAX = 4_096;
export const PIPELINE_MESSAGES_MAX = 64;
/** Requests of the pipeline that are on their way at the same time (etcd's figure). */
export const PIPELINE_REQUESTS_MAX = 4;

/** Bytes of entries that wait for one stream: etcd has no bound but raft's 512 appends of 512 KiB. Past this a follower is probed. */
export const STREAM_BYTES_MAX = mebibytes(64);

/** A stream is written in pieces of about this size, each of which has `PEER_CONNECTION_TIMEOUT_MS`; encoding one takes under 1 ms. */
export const STREAM_WRITE_BYTES = kibibytes(256);

/**
 * Largest raft message that is taken. An honest one has at most 512 KiB of entries, or one entry as large as a request may be; etcd
 * itself takes 512 MiB, which is more than a stranger should be able to make this member hold.
 */
export const PEER_MESSAGE_BYTES_MAX = mebibytes(64);

/** Entries in one message: raft packs at most 512 KiB of them, and none is smaller than 6 bytes. */
export const PEER_MESSAGE_ENTRIES_MAX = 131_072;

/** What all requests of the pipeline that are being read may hold together. */
export const PEER_REQUESTS_BYTES_MAX = mebibytes(256);

/** Bodies of the small requests (`/members/hashkv` and the like), and what is read of the answers to ours. */
export const PEER_BODY_BYTES_MAX = kibibytes(64);
export const PEER_ANSWER_BYTES_MAX = mebibytes(4);

/** Connections to the peer port. A member of a large cluster has about ten to each other one: two streams, pipeline, probes. */
export const PEER_CONNECTIONS_MAX = 512;

/**
 * Open files that clients' connections leave to the member: its log, `db`, what it listens on (etcd's 150). Without a reserve, whoever opens enough
 * connections keeps the log from its next segment, and the member fails.
 */
export const FILES_RESERVED = 150;

/** Heads of requests: etcd's are under 1 KiB. */
export const PEER_HEADER_BYTES_MAX = kibibytes(16);

/** Snapshots that are received at the same time: one leader sends one, and an old leader may still be at it. */
export const SNAPSHOTS_RECEIVED_MAX = 4;

/** A snapshot that is being sent may rest this long (the receiver syncs what it has), and its answer may take this long. */
export const SNAPSHOT_STALL_MS = 30_000;
export const SNAPSHOT_ANSWER_MS = 300_000;

/** Bytes of a snapshot between two turns of the loop. */
export const SNAPSHOT_SLICE_BYTES = kibibytes(256);

/** Members that are known by their own word alone (a joining member's leader), and URLs that one may have. */
export const PEER_REMOTES_MAX = 64;
export const PEER_URLS_MAX = 16;

/** A term that no cluster comes to; it leaves as many to campaign in. A higher one is an attack. */
export const RAFT_TERM_MAX = 2 ** 52;

/**
 * Changes that watchers are given in one turn of the loop, each counted for each of its watchers: some 5 ms. The watchers above that fall
 * behind, and get several changes at once in the next turns, which costs less for each.
 */
export const WATCH_DELIVERIES_PER_TURN_MAX = 10_000;

/**
 * A watcher that is behind is told so many revisions at once (etcd's 1,000, `watchBatchMaxRevs`), or so many bytes: etcd has no bound there. The
 * bytes bound what a stream that nobody reads holds beyond its mark. One revision is told whole, however large it is.
 */
export const WATCH_WALK_ROWS_MAX = 1_000;
export const WATCH_ANSWER_BYTES_MAX = kibibytes(256);

/** The same for all watchers that are told of one walk over the history, each counted: one to two milliseconds of copying. */
export const WATCH_WALK_BYTES_MAX = mebibytes(2);

/**
 * What may wait to be sent on a watch stream, for each of its watchers and at most: one put that a thousand watchers of a stream are told of is
 * 300 KB at once, and whoever cannot be given it falls behind and is served from `db`. The connection has a bound of its own over all streams.
 */
export const WATCH_QUEUE_BYTES_PER_WATCHER = kibibytes(1);
export const WATCH_QUEUE_BYTES_MAX = mebibytes(1);

/** etcd's `--experimental-watch-progress-notify-interval`: its default, and the least that it takes. */
export const WATCH_PROGRESS_MS = 600_000;
export const WATCH_PROGRESS_MS_MIN = 100;

/** No slice of work on the loop is planned longer than this: heart-beats share the loop (design decision 14). */
export const SLICE_MS_MAX = 10;

invariant(SEGMENT_BYTES % SECTOR_BYTES === 0, "a segment ends on a sector boundary");
invariant(REQUEST_BYTES_MAX < SEGMENT_BYTES, "a request fits into a segment");
invariant(CATCH_UP_ENTRIES < SNAPSHOT_ENTRIES, "entries for catch-up are fewer than those between snapshots");
invariant(CATCH_UP_HELD_BYTES_MIN > MESSAGE_ENTRY_BYTES_MAX, "one message is not held");
invariant(PEER_MESSAGE_BYTES_MAX < PEER_REQUESTS_BYTES_MAX, "one message fits into what all requests may hold");
invariant(STREAM_WRITE_BYTES < STREAM_BYTES_MAX, "a piece of a stream is smaller than what may wait for it");
