/**
 * Mistakes put into the server on purpose, each one that somebody made once or could have: the simulation must find them, or it is
 * blind where it claims to see.
 *
 * A canary changes the compiled JavaScript as it is loaded, so that the product has no switch for it. Its place must be found exactly
 * once: a canary that no longer applies fails loudly instead of passing for a healthy server.
 */
import { readFileSync } from "node:fs";
import { patched, type Patch } from "./canary-hooks.js";

export interface Canary {
  readonly name: string;
  /** The mistake, and where it was made when it was made before. */
  readonly what: string;
  readonly changes: readonly {
    /** From the folder of the compiled sources, as `src/wal/writer.js`. */
    readonly file: string;
    readonly find: string;
    readonly replace: string;
  }[];
  /** Members of the cluster in which it shows; drawn when left out. */
  readonly members?: number;
}

/** One change in one file. */
function change(file: string, find: string, replace: string): Canary["changes"][number] {
  return { file, find, replace };
}

export const CANARIES: readonly Canary[] = [
  // ---- durability ----
  {
    name: "ack-before-fsync",
    what: "what a save stands for is told before its sync",
    changes: [
      change(
        "src/server/ready-loop.js",
        "await wal.save(hardState, message.entries, { alone });",
        "void wal.save(hardState, message.entries, { alone });",
      ),
    ],
  },
  {
    name: "ack-before-fsync-alone",
    what: "a cluster of one acknowledges before its sync (#14370)",
    members: 1,
    changes: [
      change(
        "src/server/ready-loop.js",
        "await wal.save(hardState, message.entries, { alone });",
        "void wal.save(hardState, message.entries, { alone });",
      ),
    ],
  },
  {
    name: "save-of-nothing-overtakes",
    what: "a save without entries resolves before the one in front of it (found here)",
    changes: [
      change(
        "src/wal/writer.js",
        "given === undefined && entries.length === 0 && this.#running === undefined",
        "given === undefined && entries.length === 0",
      ),
    ],
  },
  {
    name: "follower-acks-early",
    what: "a follower's acknowledgement does not wait for its disk",
    changes: [
      change(
        "src/raft/core.js",
        "if (type === MessageType.appendResponse ||\n            type === MessageType.voteResponse ||",
        "if ((type === MessageType.appendResponse && sent.to === this.id) ||\n            type === MessageType.voteResponse ||",
      ),
    ],
  },
  {
    name: "vote-not-durable",
    what: "a vote leaves before it is on the disk",
    changes: [
      change(
        "src/raft/core.js",
        "type === MessageType.voteResponse ||\n            type === MessageType.preVoteResponse) {\n            this.messagesAfterAppend",
        "(type === MessageType.voteResponse && sent.to === this.id) ||\n            type === MessageType.preVoteResponse) {\n            this.messagesAfterAppend",
      ),
    ],
  },
  {
    name: "vote-not-synced",
    what: "a changed vote alone is written without a sync",
    changes: [
      change(
        "src/wal/writer.js",
        "return entries.length > 0 || state.term !== (before?.term ?? 0) || state.vote !== (before?.vote ?? 0n);",
        "return entries.length > 0;",
      ),
    ],
  },
  {
    name: "fsync-tried-again",
    what: "a failed sync is passed over, and the next one is trusted",
    changes: [
      change(
        "src/wal/writer.js",
        "catch (error) {\n            throw this.#failure(code, what, error);\n        }",
        'catch (error) {\n            if (code !== "FSYNC_FAILED")\n                throw this.#failure(code, what, error);\n        }',
      ),
    ],
  },
  {
    name: "clean-pages-trusted",
    what: "the last segment is not written again at the start, although a failed sync may have left it in doubt",
    changes: [
      change(
        "src/wal/open.js",
        "await copyBytes(file, file, end.offset);\n    await writeZeros(file, end.offset, fileSize);\n    await file.sync();",
        "",
      ),
    ],
  },
  {
    name: "applied-before-durable",
    what: "entries are applied that are not on the own disk yet",
    changes: [
      change(
        "src/raft/log.js",
        "return allowUnstable ? this.committed : Math.min(this.committed, this.unstable.offset - 1);",
        "return this.committed;",
      ),
    ],
  },
  // ---- segments and files ----
  {
    name: "cut-without-folder-sync",
    what: "entries are acknowledged in a segment whose name is not durable (#6368)",
    changes: [
      change(
        "src/wal/writer.js",
        'await this.#try("FSYNC_FAILED", "sync of the folder", () => this.#disk.syncFolder(this.#folder));\n        this.#log.info("created',
        'this.#log.info("created',
      ),
    ],
  },
  {
    name: "tail-not-zeroed",
    what: "what lies behind the end of the log is left there when it is opened",
    changes: [
      change(
        "src/wal/open.js",
        "await writeZeros(file, end.offset, fileSize);\n    await file.sync();",
        "await file.sync();",
      ),
      change("src/wal/open.js", "await file.truncate(offset);\n    await file.sync(); //", "await file.sync(); //"),
    ],
  },
  {
    name: "old-snapshot-hides-segment",
    what: "a snapshot record older than its segment is taken for the end of the log (found here)",
    changes: [
      change(
        "src/wal/rules.js",
        "snapshot.index > (this.last ?? this.#firstIndex - 2)",
        "snapshot.index > (this.last ?? -1)",
      ),
    ],
  },
  {
    name: "stale-entries-resurrected",
    what: "entries that were overwritten below a snapshot come back at the next start (#22442)",
    changes: [
      change(
        "src/wal/open.js",
        "entries.length = Math.max(0, position);\n            if (position < 0)\n                return undefined;",
        "if (position < 0)\n                return undefined;\n            entries.length = position;",
      ),
    ],
  },
  {
    name: "replaced-entries-resurrected",
    what: "entries that a leader's snapshot replaced come back at the next start",
    changes: [
      change("src/wal/reader.js", "if (this.#rules.isReset)", "if (this.#rules.isReset && this.#stopAt === -1)"),
    ],
  },
  {
    name: "unknown-snapshot-loaded",
    what: "a snapshot file that the log does not name is loaded (#21369)",
    changes: [change("src/server/boot.js", "await snapshots.loadNewest(known)", "await snapshots.loadNewestAny()")],
  },
  {
    name: "published-without-sync",
    what: "snapshot files and others get their name before their bytes are durable",
    changes: [change("src/platform/publish.js", "await file.sync();", "")],
  },
  {
    name: "published-without-folder-sync",
    what: "the names of snapshot files are not durable when the log names them (#22340)",
    changes: [change("src/platform/publish.js", "await disk.syncFolder(parentPath(final));", "")],
  },
  {
    name: "partial-database-installed",
    what: "a stream that breaks off leaves a database that is taken for whole (#20271)",
    changes: [
      change(
        "src/snap/store.js",
        "async (file) => {\n            for await (const chunk of stream) {",
        "async (file) => {\n            const untilBroken = async function* () { try { yield* stream; } catch { return; } };\n            for await (const chunk of untilBroken()) {",
      ),
      // What came is proved before it is taken, which would see through this one.
      change(
        "src/server/snapshot-exchange.js",
        "await checkReceivedDatabase(platform, snapshots.databasePath(index), index);",
        "",
      ),
    ],
  },
  {
    name: "db-behind-snapshot",
    what: "a snapshot is taken without a commit of db before it",
    changes: [change("src/server/snapshotter.js", "await backend().commitNow();", "")],
  },
  // ---- db ----
  {
    name: "index-outside-transaction",
    what: "the consistent index is committed after the effects that it speaks of (#13766)",
    changes: [
      change(
        "src/mvcc/backend.js",
        "this.#beforeCommit(this);\n            this.#disarmTimer();\n            landed = this.#write.commit();\n            this.#beginWrite(this.#database);",
        "this.#disarmTimer();\n            landed = this.#write.commit();\n            this.#beginWrite(this.#database);\n            this.#beforeCommit(this);",
      ),
    ],
  },
  {
    name: "entries-applied-twice",
    what: "after a restart entries are applied that db has already",
    changes: [
      change("src/server/applier.js", "const fresh = entry.index > this.#consistentIndex;", "const fresh = true;"),
    ],
  },
  {
    name: "defragmented-without-index",
    what: "the defragmented file has the last changes without their consistent index (#14685)",
    changes: [
      change("src/mvcc/backend.js", "this.#beforeCommit(this);\n            copy.repeatAll();", "copy.repeatAll();"),
    ],
  },
  {
    name: "revision-lost-by-compaction",
    what: "a compaction takes the newest revision, a deletion, and a restart goes back behind it (#17780)",
    changes: [
      change(
        "src/mvcc/compaction.js",
        "return keep.has(mainOf(key), subOf(key)) ?",
        "return keep.has(mainOf(key), subOf(key)) && !isTombstoneKey(key) ?",
      ),
      change(
        "src/mvcc/store.js",
        "this.#revision = Math.max(this.#revision, marks.finished ?? 0, marks.scheduled ?? 0);",
        "",
      ),
    ],
  },
  {
    name: "compaction-not-marked",
    what: "revisions are deleted, two at a time, without a mark of the compaction: a crash leaves a part of them",
    changes: [
      change("src/mvcc/compaction.js", "options.compactionBatchMax ?? COMPACTION_BATCH_MAX", "2"),
      change(
        "src/mvcc/compaction.js",
        "const began = clock.now();\n        await backend.commitNow();",
        "const began = clock.now();",
      ),
      change(
        "src/mvcc/compaction.js",
        "this.#d.backend.put(BUCKETS.meta, SCHEDULED_KEY, revisionBytes(revision, 0));",
        "",
      ),
    ],
  },
  {
    name: "transaction-applied-in-part",
    what: "a transaction that reads a compacted revision is refused after its first writes (#18667)",
    changes: [
      change("src/mvcc/requests.js", "throw compactedError(revision, view.compactRevision);", "return;"),
      change(
        "src/mvcc/requests.js",
        'if (!(error instanceof MvccError) || error.code === "MVCC_CORRUPT")\n            throw error;',
        "txn.end();\n        throw error;",
      ),
    ],
  },
  {
    name: "meta-before-pages",
    what: "a meta page of db may reach the disk before the pages that it names",
    changes: [
      change(
        "src/bolt/database.js",
        "if (this.#settings.sync)\n                    await this.#file.datasync();\n                await this.#writeMeta",
        "await this.#writeMeta",
      ),
      change(
        "src/bolt/database.js",
        "await this.#file.writeDurably([bytes], id * this.pageSize);",
        "await this.#file.write([bytes], id * this.pageSize).then(() => this.#file.datasync());",
      ),
    ],
  },
  {
    name: "db-of-a-killed-process-trusted",
    what: "pages that a killed process left in the system's cache are taken for durable (found here)",
    changes: [
      change("src/bolt/open.js", "if (!readOnly && options.sync !== false)", "if (readOnly && options.sync !== false)"),
      // It syncs, too, before it matters.
      change(
        "src/bolt/database.js",
        "return (this.#madeDurable ??= this.#writeMeta(this.#openedWith));",
        "return Promise.resolve();",
      ),
    ],
  },
  // ---- reads ----
  {
    name: "read-without-quorum",
    what: "a leader answers linearizable reads without asking whether it still leads",
    changes: [
      change(
        "src/raft/leader.js",
        'core.config.readOnlyOption === "lease-based" || core.tracker.isOnlyVoter(core.id)',
        "true",
      ),
    ],
  },
  {
    name: "read-on-a-lease",
    what: "linearizable reads trust clocks that run apart and loops that stall",
    changes: [change("src/server/boot.js", 'options.leaseReads ? "lease-based" : "safe"', '"lease-based"')],
  },
  {
    name: "read-index-used-again",
    what: "a late answer to an earlier read confirms a later one (#20418)",
    changes: [
      change(
        "src/server/reads.js",
        "!current.contexts.some((context) => equalBytes(context, state.context))",
        "current.waiting.length === 0",
      ),
    ],
  },
  {
    name: "read-before-applied",
    what: "a read does not wait until its index is applied",
    changes: [
      change(
        "src/server/reads.js",
        "current?.index === undefined || this.#dependencies.appliedIndex() < current.index",
        "current?.index === undefined",
      ),
    ],
  },
  {
    name: "read-before-first-commit",
    what: "a new leader answers reads before it has committed an entry of its term",
    changes: [change("src/raft/leader.js", "else if (core.hasCommittedInTerm()) {", "else if (core.term > 0) {")],
  },
  // ---- watch ----
  {
    name: "watch-event-lost-when-behind",
    what: "a watcher that cannot take a change loses it (#17529)",
    changes: [change("src/mvcc/watchers.js", "watcher.next = revision;", "watcher.next = revision + 1;")],
  },
  {
    name: "watch-event-told-again-when-behind",
    what: "a watcher that falls behind is told once more of the change before",
    changes: [change("src/mvcc/watchers.js", "watcher.next = revision;", "watcher.next = revision - 1;")],
  },
  {
    name: "watch-begins-one-late",
    what: "a watch that is resumed misses its first revision",
    changes: [
      change(
        "src/mvcc/watchers.js",
        "watcher.next = startRevision > 0 ? startRevision : this.revision + 1;",
        "watcher.next = startRevision > 0 ? startRevision + 1 : this.revision + 1;",
      ),
    ],
  },
  {
    name: "watch-rewinds-after-snapshot",
    what: "after a leader's snapshot watchers are told of the last revision again (#15271)",
    changes: [
      change(
        "src/mvcc/watchers.js",
        "watcher.next = Math.max(watcher.next, this.#lastRevision + 1);",
        "watcher.next = Math.max(Math.min(watcher.next, this.#lastRevision), this.#lastRevision);",
      ),
    ],
  },
  {
    name: "watch-events-lost-at-snapshot",
    what: "what a leader's snapshot brought is not told to the watchers that were there before",
    changes: [change("src/mvcc/watchers.js", "if (watcher.next > store.revision)", "if (watcher.next > 0)")],
  },
  {
    name: "watch-progress-too-early",
    what: "progress is told although a watcher has not been told of everything (#15220)",
    changes: [
      change(
        "src/mvcc/watchers.js",
        'return watcher.state === "in step" && this.revision >= watcher.options.startRevision;',
        "return this.revision >= watcher.options.startRevision;",
      ),
    ],
  },
  {
    name: "watch-torn-between-pieces",
    what: "a piece of the history that ends within a revision is the end of that revision",
    changes: [
      change("src/mvcc/watchers.js", "if (revision > main) {", "if (found.rows > 0) {"),
      change("src/mvcc/watchers.js", "reached = revision;", "reached = revision > main ? revision : revision + 1;"),
    ],
  },
  {
    name: "watch-compacted-not-told",
    what: "a watcher whose history is compacted goes on with what is left of it",
    changes: [change("src/mvcc/watchers.js", "else if (watcher.next < store.compactRevision) {", "else if (false) {")],
  },
  {
    name: "watch-future-told-early",
    what: "a watcher of a revision to come is told of what comes before (#20221)",
    changes: [
      change(
        "src/mvcc/watchers.js",
        "if (watcher.next > event.revision)\n                    continue; // it begins later",
        "",
      ),
    ],
  },
  {
    name: "watch-previous-too-old",
    what: "what was there before a change is looked up one revision too early",
    changes: [
      change(
        "src/mvcc/store.js",
        "this.#index.visitAt({ key, end: undefined }, revision - 1,",
        "this.#index.visitAt({ key, end: undefined }, revision - 2,",
      ),
    ],
  },
  // ---- leases ----
  {
    name: "lease-expired-by-follower",
    what: "every member lets leases run out, and not only the one that hears of renewals",
    changes: [
      change(
        "src/server/member.js",
        "this.#leaseKeeper.onLeadership(leader === this.memberId);",
        "this.#leaseKeeper.onLeadership(leader !== NONE);",
      ),
      change(
        "src/server/lease-keeper.js",
        "await this.#d.confirmLeadership();\n                this.#confirmedAt = asked;",
        "this.#confirmedAt = asked;",
      ),
    ],
  },
  {
    name: "lease-early-after-election",
    what: "a new leader gives leases half of their time",
    changes: [
      change(
        "src/lease/lease-expiry.js",
        "now + secondsLeft(this.#rows, row) * 1000 + this.#extendMs",
        "now + secondsLeft(this.#rows, row) * 500",
      ),
    ],
  },
  {
    name: "lease-keys-stay",
    what: "the keys of a lease stay when it ends",
    changes: [
      change(
        "src/lease/leases.js",
        "for (const key of this.keysOf(id))\n            txn.deleteRange",
        "for (const key of [])\n            txn.deleteRange",
      ),
    ],
  },
  {
    name: "lease-keys-go-one-by-one",
    what: "the keys of a lease are deleted each in a revision of its own",
    changes: [
      change(
        "src/lease/leases.js",
        "const txn = store.write();\n        for (const key of this.keysOf(id))\n            txn.deleteRange({ key: latin1FromBytes(key), end: undefined });\n        txn.end();",
        "for (const key of this.keysOf(id)) {\n            const txn = store.write();\n            txn.deleteRange({ key: latin1FromBytes(key), end: undefined });\n            txn.end();\n        }",
      ),
    ],
  },
  {
    name: "attachment-lost-at-restart",
    what: "a restart, and a leader's snapshot, forget which keys hang on leases",
    changes: [change("src/mvcc/store.js", "if (lease !== 0n && this.#leases.attach(lease, key))", "if (lease !== 0n)")],
  },
  {
    name: "lease-not-stored",
    what: "a lease is kept in memory only: a restart, and a leader's snapshot, lose it",
    changes: [change("src/lease/leases.js", "this.#store(row);\n        this.#expiry.granted", "this.#expiry.granted")],
  },
  {
    name: "revocation-not-logged",
    what: "the leader ends leases that have run out in its own tables only",
    changes: [
      change(
        "src/server/member.js",
        "void (await this.#request({ leaseRevoke: { ID } }, rootOf(this.#tables.auth)))",
        "void this.#tables.leases.revoke(ID, this.#tables.store)",
      ),
    ],
  },
  {
    name: "renewed-without-right",
    what: "a deposed leader that stood still renews leases as if it led (#15247)",
    changes: [change("src/server/member.js", "|| this.#doubt.holds(this.#clock.now()))", "|| false)")],
  },
  {
    name: "lease-told-before-applied",
    what: "a leader whose disk hangs does not find a lease that others have applied and told of (found here)",
    changes: [
      change(
        "src/server/member.js",
        "return this.#applier.appliedIndex >= this.#booted.node.basicStatus().commit;",
        "return this.#applier.appliedIndex >= this.#commitIndex;",
      ),
    ],
  },
  {
    name: "checkpoint-shortens-renewal",
    what: "a renewal gives a lease only what the last note left of it (#17132)",
    changes: [
      change(
        "src/server/lease-keeper.js",
        "this.#options.checkpoints && leases.isShortened(id)",
        "this.#options.checkpoints && false",
      ),
    ],
  },
  // ---- authentication ----
  {
    name: "rights-kept-after-a-change",
    what: "what a user may do is not put together anew when users or roles change",
    changes: [
      change("src/auth/auth-tables.js", "this.#revision++;\n        this.#rights.clear();", "this.#revision++;"),
    ],
  },
  {
    name: "puts-not-asked-when-applied",
    what: "a put is applied whoever makes it",
    changes: [change("src/server/applier.js", "this.#dependencies.auth.checks?.put(caller, put);", "")],
  },
  {
    name: "auth-revision-not-compared",
    what: "a request that was let in before the last change of users is applied as if nothing had changed (#11651)",
    changes: [change("src/auth/auth-tables.js", "if (revision < this.#revision) {", "if (false) {")],
  },
  {
    name: "token-outlives-its-user",
    what: "the tokens of a user that is deleted are good for the next one of his name",
    changes: [
      change(
        "src/auth/auth-tables.js",
        'this.#tokens.invalidate(name);\n        this.#log.info("deleted a user"',
        'this.#log.info("deleted a user"',
      ),
    ],
  },
  {
    name: "nested-transactions-not-asked",
    what: "what stands in a nested transaction is for everybody",
    changes: [change("src/auth/request-checks.js", "this.txn(caller, request.value);", "")],
  },
  {
    name: "previous-pair-for-everybody",
    what: "a put tells what was there before to who may write and not read",
    changes: [
      change(
        "src/auth/request-checks.js",
        'if (prevKv)\n            this.#tables.assertMay("read", caller, key, EMPTY_BYTES);',
        "",
      ),
    ],
  },
  // ---- raft ----
  {
    name: "older-terms-committed-by-counting",
    what: "a leader commits entries of earlier terms by counting who has them (raft's figure 8)",
    changes: [
      change(
        "src/raft/log.js",
        "if (id.term === 0 || id.index <= this.committed || !this.matches(id))",
        "if (id.term === 0 || id.index <= this.committed)",
      ),
    ],
  },
  {
    name: "append-without-match",
    what: "entries are appended behind one that the leader's log does not have",
    changes: [
      change(
        "src/raft/log.js",
        "if (!this.matches(previous))\n            return undefined;",
        "if (previous.index > this.lastIndex())\n            return undefined;",
      ),
    ],
  },
  {
    name: "old-term-taken",
    what: "messages of an older term are taken as if they were of this one",
    changes: [
      change(
        "src/raft/core.js",
        "else if (message.term !== 0 && message.term < this.term) {",
        "else if (message.term !== 0 && message.term < this.term && message.type !== MessageType.append) {",
      ),
    ],
  },
  {
    name: "vote-for-a-shorter-log",
    what: "a vote is given without looking at the candidate's log",
    changes: [
      change(
        "src/raft/core.js",
        "if (mayVote && this.log.isUpToDate({ term: message.logTerm, index: message.index })) {",
        "if (mayVote) {",
      ),
    ],
  },
  {
    name: "half-is-a-majority",
    what: "an entry is committed when one voter less than a majority has it",
    changes: [
      change(
        "src/raft/quorum.js",
        "return indexes[Math.ceil(count / 2) - 1];",
        "return indexes[Math.ceil(count / 2)];",
      ),
    ],
  },
  {
    name: "vote-forgotten-at-restart",
    what: "a restart does not know whom it voted for",
    changes: [
      change("src/raft/core.js", "this.term = term;\n        this.vote = vote;\n    }", "this.term = term;\n    }"),
    ],
  },
];

/** @throws Error for a name that no canary has */
export function canaryNamed(name: string): Canary {
  const canary = CANARIES.find((each) => each.name === name);
  if (canary === undefined) {
    throw new Error(`there is no canary "${name}"; there are ${CANARIES.map((each) => each.name).join(", ")}`);
  }
  return canary;
}

export function patchesOf(canary: Canary): Patch[] {
  return canary.changes.map(({ file, find, replace }) => ({
    url: new URL(`../../${file}`, import.meta.url).href,
    find,
    replace,
  }));
}

/** @throws Error when a place of the canary is not found exactly once */
export function checkApplies(canary: Canary): void {
  for (const { url, find, replace } of patchesOf(canary)) {
    patched(readFileSync(new URL(url), "utf8"), find, replace, url);
  }
}
