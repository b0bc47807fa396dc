/**
 * Comparisons of the keys between members, by etcd's `hashKV`. At the start a member compares itself with the others and refuses to
 * serve when it differs; while it leads, it compares the others with itself now and then, and raises the CORRUPT alarm, which stops all
 * writing until an operator has looked. The hashes that compactions leave are compared apart (`--experimental-compact-hash-check-*`): all
 * members come by the same one in passing, so that nobody has to read its keys for it.
 *
 * Hashes can be compared only at the same revision and the same compaction: others that are behind, or compacted elsewhere, say nothing.
 */
import { describeError } from "../base/errors.js";
import { memberIdText, type Member } from "../membership/member.js";
import type { StoredHash } from "../mvcc/index.js";
import type { Log } from "../platform/index.js";
import type { HashKVResponse } from "../proto/generated/etcdserverpb/maintenance.js";
import { MemberError } from "./errors.js";
import type { LocalIdentity, PeerDoor } from "./peers.js";

export interface CorruptionCheckDependencies {
  readonly local: LocalIdentity;
  readonly door: PeerDoor | undefined;
  readonly log: Log;
  readonly members: () => readonly Member[];
  /** Of this member; 0 for the current revision. */
  readonly hashKv: (revision: number) => Promise<HashKVResponse>;
  /** Of this member's last compactions. */
  readonly compactionHashes: () => readonly StoredHash[];
  readonly linearizableRead: () => Promise<void>;
  readonly raiseAlarm: () => Promise<void>;
}

interface PeerHash {
  readonly id: bigint;
  readonly answer: HashKVResponse;
}

export class CorruptionCheck {
  readonly #d: CorruptionCheckDependencies;
  #checking = false;
  #checkingCompactions = false;
  /** All members had the same hash of the compaction at this revision. */
  #checkedRevision = 0;

  constructor(d: CorruptionCheckDependencies) {
    this.#d = d;
  }

  /** @throws MemberError `DATA_INCONSISTENT` when another member has other keys at the same revision */
  async checkAtStart(): Promise<void> {
    const { local, log } = this.#d;
    log.info("starting initial corruption check", { "local-member-id": memberIdText(local.memberId) });
    const own = await this.#d.hashKv(0);
    const differing = (await this.#peerHashes(own.hashRevision)).filter(({ answer }) => differs(own, answer));
    if (differing.length === 0) {
      log.info("initial corruption checking passed; no corruption", {
        "local-member-id": memberIdText(local.memberId),
      });
      return;
    }
    throw new MemberError(
      "DATA_INCONSISTENT",
      `${memberIdText(local.memberId)} found data inconsistency with peers: at revision ${own.hashRevision} its keys differ from those of ` +
        `${differing.map(({ id }) => memberIdText(id)).join(", ")}. If the others agree with each other, remove this member and add it again; ` +
        "if not, restore the cluster from a snapshot",
    );
  }

  /** Raises the alarm when members differ. A check under way is not doubled. */
  async check(): Promise<void> {
    if (this.#checking) return;
    this.#checking = true;
    try {
      await this.#check();
    } finally {
      this.#checking = false;
    }
  }

  async #check(): Promise<void> {
    const { log, local } = this.#d;
    const before = await this.#d.hashKv(0);
    const peers = await this.#peerHashes(before.hashRevision);
    await this.#d.linearizableRead(); // from here on nobody may know more than this member
    const after = await this.#d.hashKv(0);
    const findings = peers.flatMap(({ id, answer }) =>
      findingsOf(before, after, answer).map((found) => ({ id, found })),
    );
    if (before.hashRevision === after.hashRevision && differs(before, after)) {
      findings.unshift({ id: local.memberId, found: "its own keys changed without a new revision" });
    }
    for (const { id, found } of findings) {
      log.warn("found corruption", { "member-id": memberIdText(id), revision: before.hashRevision, found });
    }
    log.info("finished peer corruption check", { "number-of-peers-checked": peers.length });
    // Which of them is wrong is not known: the alarm names nobody, as 3.5's.
    if (findings.length > 0) await this.#d.raiseAlarm();
  }

  /**
   * Compares the hashes of compactions that were not compared yet, the newest first: when all members have one, those before it need not be
   * looked at. Raises the alarm when members differ. A check under way is not doubled.
   */
  async checkCompactions(): Promise<void> {
    if (this.#checkingCompactions) return;
    this.#checkingCompactions = true;
    try {
      await this.#checkCompactions();
    } finally {
      this.#checkingCompactions = false;
    }
  }

  async #checkCompactions(): Promise<void> {
    const { log, local } = this.#d;
    log.info("starting compact hash check", { "local-member-id": memberIdText(local.memberId) });
    const unchecked = this.#d.compactionHashes().filter(({ revision }) => revision > this.#checkedRevision);
    let looked = 0;
    for (const own of unchecked.toReversed()) {
      looked++;
      const verdict = await this.#compareCompaction(own);
      if (verdict === "differs") return this.#d.raiseAlarm(); // which of them is wrong is not known
      if (verdict === "agreed") {
        this.#checkedRevision = own.revision;
        break;
      }
    }
    log.info("finished compaction hash check", { "number-of-hashes-checked": looked });
  }

  async #compareCompaction({ revision, compactRevision, hash }: StoredHash): Promise<"agreed" | "differs" | "unknown"> {
    const { log, local } = this.#d;
    const others = this.#d.members().filter(({ id }) => id !== local.memberId).length;
    if (others === 0) return "unknown";
    const comparable = (await this.#peerHashes(revision)).filter(
      ({ answer }) => answer.compactRevision === compactRevision,
    );
    for (const { id, answer } of comparable) {
      if (answer.hash === hash) {
        log.info("successfully checked hash on follower", { revision, "peer-id": memberIdText(id) });
        continue;
      }
      log.error("failed compaction hash check", {
        revision,
        "leader-compact-revision": compactRevision,
        "leader-hash": hash,
        "follower-compact-revision": answer.compactRevision,
        "follower-hash": answer.hash,
        "follower-peer-id": memberIdText(id),
      });
      return "differs";
    }
    const counts = { "number-of-peers-checked": comparable.length, revision };
    if (comparable.length === others) {
      log.info("successfully checked hash on whole cluster", counts);
      return "agreed";
    }
    log.warn("skipped revision in compaction hash check; was not able to check all peers", {
      ...counts,
      "number-of-peers": others,
    });
    return "unknown";
  }

  async #peerHashes(revision: number): Promise<PeerHash[]> {
    const { door, local, log } = this.#d;
    if (door === undefined) return [];
    const hashes: PeerHash[] = [];
    for (const { id, peerUrls } of this.#d.members()) {
      if (id === local.memberId) continue;
      try {
        const answer = await door.fetchHashKv(peerUrls, revision, local);
        if (answer !== undefined) hashes.push({ id, answer });
      } catch (error) {
        log.warn("cannot fetch hash from remote peer", {
          "remote-peer-id": memberIdText(id),
          error: describeError(error),
        });
      }
    }
    return hashes;
  }
}

function differs(a: HashKVResponse, b: HashKVResponse): boolean {
  return a.compactRevision === b.compactRevision && a.hash !== b.hash;
}

/** What is wrong with another member's answer, given this leader's before and after it. */
function findingsOf(before: HashKVResponse, after: HashKVResponse, answer: HashKVResponse): string[] {
  const findings: string[] = [];
  const revision = answer.header?.revision ?? 0;
  if (revision > after.hashRevision) {
    findings.push(`it is at revision ${revision}, the leader at ${after.hashRevision}`);
  }
  if (answer.compactRevision > after.compactRevision) {
    findings.push(`it is compacted at ${answer.compactRevision}, the leader at ${after.compactRevision}`);
  }
  if (differs(before, answer)) findings.push(`its hash is ${answer.hash}, the leader's ${before.hash}`);
  return findings;
}
