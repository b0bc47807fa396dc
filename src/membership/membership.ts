/**
 * The cluster as this member knows it: members, removed members, cluster version. It changes only by applying entries of
 * the log, in their order.
 *
 * 3.5 keeps this twice. The v2 store, which travels in `.snap` files, is what a member recovers from; buckets of `db`
 * (`members`, `members_removed`, `cluster`) repeat it for later versions. An entry at or below `db`'s consistent index
 * changes the first only, for the second has it already.
 */
import type { BucketTable } from "../base/bucket-table.js";
import { CodedError, invariant } from "../base/errors.js";
import { latin1FromBytes, utf8FromText } from "../base/text.js";
import { ConfChangeType, type ConfChange } from "../proto/raft.js";
import type { Log } from "../platform/log.js";
import { CLUSTER_BUCKET, MEMBERS_BUCKET, MEMBERS_REMOVED_BUCKET } from "./buckets.js";
import { type Downgrade, NO_DOWNGRADE, readDowngrade, writeDowngrade } from "./downgrade.js";
import {
  compareIds,
  decodeChangeContext,
  decodeMember,
  encodeMember,
  memberIdText,
  type Member,
  type MemberAttributes,
} from "./member.js";

/** Learners that a cluster may have at once (etcd's limit). */
export const LEARNERS_MAX = 1;

/** Why a configuration change may not be applied. The API answers each with etcd's text. */
export type MembershipErrorCode =
  | "MEMBER_ID_REMOVED"
  | "MEMBER_EXISTS"
  | "MEMBER_NOT_FOUND"
  | "MEMBER_PEER_URL_EXISTS"
  | "MEMBER_NOT_LEARNER"
  | "MEMBER_TOO_MANY_LEARNERS";

export class MembershipError extends CodedError<MembershipErrorCode> {
  override readonly name = "MembershipError";
}

export { CLUSTER_BUCKET, MEMBERS_BUCKET, MEMBERS_REMOVED_BUCKET };
const CLUSTER_VERSION_KEY = utf8FromText("clusterVersion");
const REMOVED_MARK = utf8FromText("removed");

/** What a snapshot holds of the cluster. */
export interface MembershipState {
  readonly members: readonly Member[];
  readonly removed: readonly bigint[];
  /** As `3.5.0`; undefined until the cluster has decided. */
  readonly clusterVersion: string | undefined;
}

export class Membership {
  readonly clusterId: bigint;
  readonly localId: bigint;
  readonly #log: Log;
  readonly #members = new Map<bigint, Member>();
  readonly #removed = new Set<bigint>();
  #clusterVersion: string | undefined;
  #downgrade: Downgrade = NO_DOWNGRADE;

  constructor(ids: { readonly clusterId: bigint; readonly localId: bigint }, log: Log) {
    this.clusterId = ids.clusterId;
    this.localId = ids.localId;
    this.#log = log.with({
      "cluster-id": memberIdText(ids.clusterId),
      "local-member-id": memberIdText(ids.localId),
    });
  }

  /** Takes over what a snapshot holds, in place of what was known. */
  recover(state: MembershipState): void {
    this.#members.clear();
    this.#removed.clear();
    for (const member of state.members) this.#members.set(member.id, member);
    for (const id of state.removed) this.#removed.add(id);
    this.#clusterVersion = state.clusterVersion;
    for (const member of this.members()) {
      this.#log.info("recovered/added member from store", {
        "recovered-remote-peer-id": memberIdText(member.id),
        "recovered-remote-peer-urls": member.peerUrls,
      });
    }
    if (state.clusterVersion !== undefined) {
      this.#log.info("set cluster version from store", { "cluster-version": minorVersion(state.clusterVersion) });
    }
  }

  /** The state that goes into the next snapshot. */
  state(): MembershipState {
    return {
      members: this.members(),
      removed: [...this.#removed].sort(compareIds),
      clusterVersion: this.#clusterVersion,
    };
  }

  get clusterVersion(): string | undefined {
    return this.#clusterVersion;
  }

  /** In ascending order of ID. */
  members(): Member[] {
    return [...this.#members.values()].sort((a, b) => compareIds(a.id, b.id));
  }

  member(id: bigint): Member | undefined {
    return this.#members.get(id);
  }

  isRemoved(id: bigint): boolean {
    return this.#removed.has(id);
  }

  /** Whether the change may be applied to the members of now; the verdict is the same on every member. */
  validate(change: ConfChange): MembershipError | undefined {
    const id = memberIdText(change.nodeId);
    if (this.#removed.has(change.nodeId)) {
      return new MembershipError("MEMBER_ID_REMOVED", `member ${id} was removed from the cluster for good`);
    }
    const present = this.#members.get(change.nodeId);
    switch (change.type) {
      case ConfChangeType.addNode:
      case ConfChangeType.addLearnerNode: {
        const { member, isPromote } = decodeChangeContext(change.context);
        if (isPromote) {
          if (present === undefined)
            return new MembershipError("MEMBER_NOT_FOUND", `member ${id} is not in the cluster`);
          if (!present.isLearner) return new MembershipError("MEMBER_NOT_LEARNER", `member ${id} votes already`);
          return undefined;
        }
        if (present !== undefined) return new MembershipError("MEMBER_EXISTS", `member ${id} is in the cluster`);
        return this.#validateUrls(member) ?? this.#validateLearners(member);
      }
      case ConfChangeType.removeNode:
        if (present === undefined) return new MembershipError("MEMBER_NOT_FOUND", `member ${id} is not in the cluster`);
        return undefined;
      case ConfChangeType.updateNode:
        if (present === undefined) return new MembershipError("MEMBER_NOT_FOUND", `member ${id} is not in the cluster`);
        return this.#validateUrls(decodeMember(change.context));
    }
  }

  #validateUrls(candidate: Member): MembershipError | undefined {
    for (const member of this.#members.values()) {
      if (member.id === candidate.id) continue;
      const shared = member.peerUrls.find((url) => candidate.peerUrls.includes(url));
      if (shared !== undefined) {
        return new MembershipError("MEMBER_PEER_URL_EXISTS", `${shared} belongs to member ${memberIdText(member.id)}`);
      }
    }
    return undefined;
  }

  #validateLearners(candidate: Member): MembershipError | undefined {
    if (!candidate.isLearner) return undefined;
    const learners = [...this.#members.values()].filter((member) => member.isLearner).length;
    if (learners < LEARNERS_MAX) return undefined;
    return new MembershipError("MEMBER_TOO_MANY_LEARNERS", `${learners} learners, at most ${LEARNERS_MAX}`);
  }

  /**
   * Applies a valid change.
   *
   * @param table where `db` keeps members; undefined when `db` has this entry already
   */
  apply(change: ConfChange, table: BucketTable | undefined): void {
    switch (change.type) {
      case ConfChangeType.addNode:
      case ConfChangeType.addLearnerNode: {
        const { member, isPromote } = decodeChangeContext(change.context);
        invariant(member.id === change.nodeId, () => `a change of member ${change.nodeId} carries member ${member.id}`);
        if (isPromote) this.#promote(member.id, table);
        else this.#add(member, table);
        return;
      }
      case ConfChangeType.removeNode:
        this.#remove(change.nodeId, table);
        return;
      case ConfChangeType.updateNode: {
        const update = decodeMember(change.context);
        invariant(update.id === change.nodeId, () => `a change of member ${change.nodeId} carries member ${update.id}`);
        // An update carries no word of a learner, and etcd takes that for "none": its list calls a learner whose URLs were changed a voter,
        // which raft does not. Members of both kinds must keep the same list, for what the log may change is judged by it.
        const { peerUrls, isLearner } = update;
        const member = { ...this.#mustMember(update.id), peerUrls, isLearner };
        this.#save(member, table);
        this.#log.info("updated member", this.#peerFields("updated-remote-peer", member));
        return;
      }
    }
  }

  #add(member: Member, table: BucketTable | undefined): void {
    this.#save(member, table);
    this.#log.info("added member", {
      "added-peer-id": memberIdText(member.id),
      "added-peer-peer-urls": member.peerUrls,
      "added-peer-is-learner": member.isLearner,
    });
  }

  #promote(id: bigint, table: BucketTable | undefined): void {
    this.#save({ ...this.#mustMember(id), isLearner: false }, table);
    this.#log.info("promote member", { "promoted-member-id": memberIdText(id) });
  }

  #remove(id: bigint, table: BucketTable | undefined): void {
    const member = this.#mustMember(id);
    this.#members.delete(id);
    this.#removed.add(id);
    table?.put(MEMBERS_REMOVED_BUCKET, memberKey(id), REMOVED_MARK);
    table?.delete(MEMBERS_BUCKET, memberKey(id));
    this.#log.info("removed member", this.#peerFields("removed-remote-peer", member));
  }

  /** A member has published its name and client URLs. One that was removed meanwhile is passed over, as in etcd. */
  publish(id: bigint, attributes: MemberAttributes, table: BucketTable | undefined): void {
    const member = this.#members.get(id);
    if (member === undefined) {
      invariant(this.#removed.has(id), () => `attributes of unknown member ${memberIdText(id)}`);
      this.#log.warn("skipped attributes update of removed member", { "updated-peer-id": memberIdText(id) });
      return;
    }
    this.#save({ ...member, name: attributes.name, clientUrls: attributes.clientUrls }, table);
  }

  /** @param version as `3.5.0` */
  setClusterVersion(version: string, table: BucketTable | undefined): void {
    const before = this.#clusterVersion;
    this.#clusterVersion = version;
    table?.put(CLUSTER_BUCKET, CLUSTER_VERSION_KEY, utf8FromText(version));
    if (before === undefined) {
      this.#log.info("set initial cluster version", { "cluster-version": minorVersion(version) });
    } else {
      this.#log.info("updated cluster version", { from: minorVersion(before), to: minorVersion(version) });
    }
  }

  get downgrade(): Downgrade {
    return this.#downgrade;
  }

  /** Takes over what `db` says: no snapshot file has it. */
  recoverDowngrade(table: Pick<BucketTable, "get">): void {
    this.#downgrade = readDowngrade(table);
  }

  /** @param table undefined when `db` has this entry already, and maybe a later one */
  setDowngrade(downgrade: Downgrade, table: BucketTable | undefined): void {
    if (table === undefined) return;
    writeDowngrade(table, downgrade);
    this.#downgrade = downgrade;
    if (downgrade.enabled) {
      this.#log.info("The server is ready to downgrade", { "target-version": downgrade.targetVersion });
    }
  }

  /** Takes members out of `db` that the log does not know: left there by earlier etcd versions' bugs. */
  removeStrays(table: BucketTable): void {
    const known = new Set([...this.#members.keys()].map(memberIdText));
    for (const key of table.keys(MEMBERS_BUCKET)) {
      const id = latin1FromBytes(key);
      if (known.has(id)) continue;
      this.#log.warn("removing zombie member from v3store", { "removed-member-id": id });
      table.delete(MEMBERS_BUCKET, key);
    }
  }

  #save(member: Member, table: BucketTable | undefined): void {
    this.#members.set(member.id, member);
    table?.put(MEMBERS_BUCKET, memberKey(member.id), encodeMember(member));
  }

  #mustMember(id: bigint): Member {
    const member = this.#members.get(id);
    invariant(member !== undefined, () => `member ${memberIdText(id)} is not in the cluster`);
    return member;
  }

  #peerFields(prefix: string, member: Member): Record<string, unknown> {
    return {
      [`${prefix}-id`]: memberIdText(member.id),
      [`${prefix}-urls`]: member.peerUrls,
      [`${prefix}-is-learner`]: member.isLearner,
    };
  }
}

/** The key of a member in `db`: its ID as text. */
export function memberKey(id: bigint): Uint8Array {
  return utf8FromText(memberIdText(id));
}

/** `3.5` of `3.5.0`. */
export function minorVersion(version: string): string {
  return version.split(".").slice(0, 2).join(".");
}
