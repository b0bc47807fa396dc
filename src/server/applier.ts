/**
 * The state machine: takes committed entries in log order and changes the tables. Synchronous, deterministic, the same on
 * every member.
 *
 * Laws:
 * - entries come without a gap: the next one's index is `appliedIndex + 1`;
 * - an entry at or below `db`'s consistent index is in `db` already: it changes the v2 side of membership only, since that
 *   side is recovered from a `.snap`, which is older;
 * - the consistent index goes into the same `db` transaction as the effects of its entry (`saveProgress` is called by the
 *   backend before each commit, and no commit falls into the middle of an entry, for both are synchronous).
 */
import type { BucketTable } from "../base/bucket-table.js";
import { readUint64BE, writeUint64BE } from "../base/bytes.js";
import { CodedError, invariant } from "../base/errors.js";
import { utf8FromText } from "../base/text.js";
import { NOBODY, type Caller } from "../auth/index.js";
import type { Leases } from "../lease/leases.js";
import type { Alarms } from "../alarm/alarms.js";
import { decodeConfStateJson, encodeConfStateJson } from "../membership/conf-state-json.js";
import { decodeAttributes, memberIdText, parseMemberId } from "../membership/member.js";
import { NO_DOWNGRADE } from "../membership/downgrade.js";
import type { Membership } from "../membership/membership.js";
import { applyCompaction, applyDeleteRange, applyPut, applyRange, applyTxn, type Store } from "../mvcc/index.js";
import type { Log } from "../platform/log.js";
import type { InternalRaftRequest } from "../proto/generated/etcdserverpb/raft_internal.js";
import {
  AlarmRequest_AlarmAction as AlarmAction,
  AlarmType,
  alarmTypeToJSON,
  type AlarmRequest,
  type AlarmResponse,
} from "../proto/generated/etcdserverpb/maintenance.js";
import { requestIdOf, type RequestId } from "../proto/request-id.js";
import { decodePutEntry } from "../proto/fast/put.js";
import { decodeTxnEntry } from "../proto/fast/txn.js";
import type { PutRequest, TxnRequest } from "../proto/generated/etcdserverpb/kv.js";
import { decodeRaftRequest } from "../proto/raft-request.js";
import {
  ConfChangeType,
  decodeConfChange,
  EntryType,
  type ConfChange,
  type ConfState,
  type Entry,
} from "../proto/raft.js";
import type { V2Request } from "../proto/v2-request.js";
import { type AuthApplier, callerOf } from "./auth-applier.js";
import { MemberError, RequestError } from "./errors.js";
import { COST_OF_LEASE, costOfPut, costOfTxn, fitsQuota } from "./quota.js";

const META_BUCKET = "meta";
const CONSISTENT_INDEX_KEY = utf8FromText("consistent_index");
const TERM_KEY = utf8FromText("term");
const CONF_STATE_KEY = utf8FromText("confState");

const CLUSTER_VERSION_PATH = "/0/version";
const ATTRIBUTES_PATH = /^\/0\/members\/([0-9a-f]{1,16})\/attributes$/;

/** What became of a request. */
export type Outcome =
  | {
      readonly kind: "answer";
      readonly response: unknown;
      /** For a compaction: resolves when the old revisions are gone from `db`. */
      readonly finished?: Promise<void>;
    }
  | { readonly kind: "refused"; readonly error: CodedError<string> };

export interface ApplierDependencies {
  readonly store: Store;
  readonly leases: Leases;
  readonly alarms: Alarms;
  readonly auth: AuthApplier;
  readonly membership: Membership;
  /** `db`'s buckets, within the open transaction. */
  readonly table: BucketTable;
  readonly dbBytes: () => number;
  readonly log: Log;
}

export interface ApplierEvents {
  /** The outcome of the request with this ID, for whoever waits here. */
  onOutcome(id: RequestId, outcome: Outcome): void;
  /** Hands a valid change to raft; answers the configuration after it. */
  changeConfiguration(change: ConfChange): ConfState;
  /** A refused change is handed to raft without effect, so that it knows the change is over. */
  dropConfiguration(): void;
  onMembershipChanged(change: ConfChange): void;
  /** The cluster decided on a version. Throws when this member cannot serve it. */
  onClusterVersion(version: string): void;
  /** The first entry of a leader's term was applied: what it proposed before it led is settled. */
  onTermBegun(term: number): void;
  /** A request was applied that put `db` over its quota. */
  onQuotaExceeded(): void;
  /** This member was removed: it stops. */
  onRemoved(): void;
}

/** Where a member stands with `db`. */
export interface Progress {
  readonly consistentIndex: number;
  readonly term: number;
  readonly confState: ConfState | undefined;
}

/** Reads what the last commit to `db` left; zeros for a fresh one. */
export function loadProgress(table: Pick<BucketTable, "get">): Progress {
  const number = (key: Uint8Array): number => {
    const value = table.get(META_BUCKET, key);
    return value === undefined ? 0 : readUint64BE(value, 0);
  };
  const confState = table.get(META_BUCKET, CONF_STATE_KEY);
  return {
    consistentIndex: number(CONSISTENT_INDEX_KEY),
    term: number(TERM_KEY),
    confState: confState === undefined ? undefined : decodeConfStateJson(confState),
  };
}

export class Applier {
  readonly #dependencies: ApplierDependencies;
  readonly #events: ApplierEvents;
  readonly #quotaBytes: number | undefined;
  #appliedIndex: number;
  #appliedTerm: number;
  /** `db` has the effects of entries up to here; `saved <= consistent`. */
  #consistentIndex: number;
  #consistentTerm: number;
  #savedIndex: number;
  #confState: ConfState;
  #confStateDirty = false;

  /** @param start the snapshot that the log begins behind, and where `db` stands */
  constructor(
    dependencies: ApplierDependencies,
    events: ApplierEvents,
    start: {
      readonly index: number;
      readonly term: number;
      readonly confState: ConfState;
      readonly progress: Progress;
    },
    quotaBytes: number | undefined,
  ) {
    this.#dependencies = dependencies;
    this.#events = events;
    this.#quotaBytes = quotaBytes;
    this.#appliedIndex = start.index;
    this.#appliedTerm = start.term;
    this.#confState = start.confState;
    this.#consistentIndex = start.progress.consistentIndex;
    this.#consistentTerm = start.progress.term;
    this.#savedIndex = start.progress.consistentIndex;
  }

  get appliedIndex(): number {
    return this.#appliedIndex;
  }

  get appliedTerm(): number {
    return this.#appliedTerm;
  }

  get confState(): ConfState {
    return this.#confState;
  }

  /** Writes consistent index, term and configuration into the transaction that is about to be committed. */
  saveProgress(table: Pick<BucketTable, "put">): void {
    if (this.#consistentIndex > this.#savedIndex) {
      table.put(META_BUCKET, CONSISTENT_INDEX_KEY, uint64(this.#consistentIndex));
      if (this.#consistentTerm > 0) table.put(META_BUCKET, TERM_KEY, uint64(this.#consistentTerm));
      this.#savedIndex = this.#consistentIndex;
    }
    if (this.#confStateDirty) {
      table.put(META_BUCKET, CONF_STATE_KEY, encodeConfStateJson(this.#confState));
      this.#confStateDirty = false;
    }
  }

  apply(entry: Entry): void {
    invariant(
      entry.index === this.#appliedIndex + 1,
      () => `entry ${entry.index} is to be applied after ${this.#appliedIndex}`,
    );
    const fresh = entry.index > this.#consistentIndex;
    if (entry.type === EntryType.normal) this.#applyNormal(entry, fresh);
    else this.#applyConfiguration(entry, fresh);
    this.#appliedIndex = entry.index;
    this.#appliedTerm = entry.term;
    if (fresh) {
      this.#consistentIndex = entry.index;
      this.#consistentTerm = entry.term;
    }
  }

  // ---- configuration changes --------------------------------------------------------------------------------------

  #applyConfiguration(entry: Entry, fresh: boolean): void {
    if (entry.type !== EntryType.confChange) {
      throw unknownEntry(entry, "is a configuration change of version 2, which etcd 3.5 does not write");
    }
    const { membership, log } = this.#dependencies;
    const change = decodeConfChange(entry.data);
    const refusal = membership.validate(change);
    if (refusal !== undefined) {
      log.error("Validation on configuration change failed", { shouldApplyV3: fresh, error: refusal.message });
      this.#events.dropConfiguration();
      this.#events.onOutcome(requestIdOf(change.id), { kind: "refused", error: refusal });
      return;
    }
    this.#confState = this.#events.changeConfiguration(change);
    this.#confStateDirty = true;
    const table = fresh ? this.#dependencies.table : undefined;
    membership.apply(change, table);
    if (table !== undefined) membership.removeStrays(table);
    this.#events.onMembershipChanged(change);
    this.#events.onOutcome(requestIdOf(change.id), { kind: "answer", response: membership.members() });
    if (change.type === ConfChangeType.removeNode && change.nodeId === membership.localId) this.#events.onRemoved();
  }

  // ---- requests ---------------------------------------------------------------------------------------------------

  #applyNormal(entry: Entry, fresh: boolean): void {
    if (entry.data.length === 0) {
      this.#events.onTermBegun(entry.term);
      return;
    }
    const put = decodePutEntry(entry.data);
    if (put !== undefined) {
      if (fresh) this.#events.onOutcome(put.id, this.#applyPut(put.put, put.caller ?? NOBODY));
      return;
    }
    const txn = decodeTxnEntry(entry.data);
    if (txn !== undefined) {
      if (fresh) this.#events.onOutcome(txn.id, this.#applyTxn(txn.txn, txn.caller ?? NOBODY));
      return;
    }
    const decoded = decodeRaftRequest(entry.data);
    if (decoded.kind === "v2") {
      this.#applyV2(decoded.request, fresh, entry);
      const id = decoded.id === 0n ? decoded.request.id : decoded.id;
      this.#events.onOutcome(requestIdOf(id), { kind: "answer", response: undefined });
      return;
    }
    const request = decoded.request;
    if (this.#applyMembershipRequest(request, fresh) || !fresh) return;
    const id = request.ID === 0n ? (request.header?.ID ?? 0n) : request.ID;
    this.#events.onOutcome(requestIdOf(id), this.#applyRequest(request, entry));
  }

  #applyV2(request: V2Request, fresh: boolean, entry: Entry): void {
    const { membership, log } = this.#dependencies;
    const table = fresh ? this.#dependencies.table : undefined;
    if (request.method === "SYNC" || request.method === "QGET") return; // nothing expires, and nobody reads the v2 store
    const attributes = ATTRIBUTES_PATH.exec(request.path);
    if (request.method === "PUT" && attributes !== null) {
      const id = parseMemberId(attributes[1]!);
      membership.publish(id, decodeAttributes(request.val), table);
      if (table !== undefined && id === membership.localId) membership.removeStrays(table);
    } else if (request.method === "PUT" && request.path === CLUSTER_VERSION_PATH) {
      this.#events.onClusterVersion(request.val);
      membership.setClusterVersion(request.val, table);
    } else {
      // The v2 API is gone since 3.6, and 3.5 has it switched off by default.
      log.warn("passed over a v2 request: the v2 API is not served", {
        method: request.method,
        path: request.path,
        index: entry.index,
      });
    }
  }

  /** The requests that change membership, which an entry in `db` still brings to the v2 side. */
  #applyMembershipRequest(request: InternalRaftRequest, fresh: boolean): boolean {
    const { membership } = this.#dependencies;
    const table = fresh ? this.#dependencies.table : undefined;
    const id = request.header?.ID ?? 0n;
    if (request.clusterVersionSet !== undefined) {
      this.#events.onClusterVersion(request.clusterVersionSet.ver);
      membership.setClusterVersion(request.clusterVersionSet.ver, table);
    } else if (request.clusterMemberAttrSet !== undefined) {
      const { memberID, memberAttributes } = request.clusterMemberAttrSet;
      const attributes = { name: memberAttributes?.name ?? "", clientUrls: memberAttributes?.clientUrls ?? [] };
      membership.publish(memberID, attributes, table);
    } else if (request.downgradeInfoSet !== undefined) {
      const { enabled, ver } = request.downgradeInfoSet;
      membership.setDowngrade(enabled ? { enabled, targetVersion: ver } : NO_DOWNGRADE, table);
    } else {
      return false;
    }
    this.#events.onOutcome(requestIdOf(id), { kind: "answer", response: undefined });
    return true;
  }

  #applyRequest(request: InternalRaftRequest, entry: Entry): Outcome {
    try {
      return this.#mustApply(request, entry);
    } catch (error) {
      return refusalOrThrow(error);
    }
  }

  #applyPut(put: PutRequest, caller: Caller): Outcome {
    try {
      this.#assertNotCorrupt();
      return this.#mustApplyPut(put, caller);
    } catch (error) {
      return refusalOrThrow(error);
    }
  }

  #mustApplyPut(put: PutRequest, caller: Caller): Outcome {
    this.#dependencies.auth.checks?.put(caller, put);
    const fits = this.#checkQuota(costOfPut(put));
    return this.#unlessOverQuota(applyPut(this.#dependencies.store, put), fits);
  }

  #applyTxn(txn: TxnRequest, caller: Caller): Outcome {
    try {
      this.#assertNotCorrupt();
      return this.#mustApplyTxn(txn, caller);
    } catch (error) {
      return refusalOrThrow(error);
    }
  }

  #mustApplyTxn(txn: TxnRequest, caller: Caller): Outcome {
    this.#dependencies.auth.checks?.txn(caller, txn);
    const fits = this.#checkQuota(costOfTxn(txn));
    return this.#unlessOverQuota(applyTxn(this.#dependencies.store, txn), fits);
  }

  #assertNotCorrupt(): void {
    if (!this.#dependencies.alarms.has(AlarmType.CORRUPT)) return;
    throw new RequestError("SERVER_CORRUPT", "the CORRUPT alarm stands: nothing is applied until it is disarmed");
  }

  #mustApply(request: InternalRaftRequest, entry: Entry): Outcome {
    const { store, auth } = this.#dependencies;
    if (request.alarm !== undefined) return { kind: "answer", response: this.#applyAlarm(request.alarm) };
    const caller = callerOf(request);
    const answer = auth.apply(request, caller, entry.index);
    if (answer !== undefined) return { kind: "answer", response: answer };
    this.#assertNotCorrupt();
    if (request.put !== undefined) return this.#mustApplyPut(request.put, caller);
    if (request.range !== undefined) {
      auth.checks?.range(caller, request.range);
      return { kind: "answer", response: applyRange(store, request.range) };
    }
    if (request.deleteRange !== undefined) {
      auth.checks?.deleteRange(caller, request.deleteRange);
      return { kind: "answer", response: applyDeleteRange(store, request.deleteRange) };
    }
    if (request.txn !== undefined) return this.#mustApplyTxn(request.txn, caller);
    if (request.compaction !== undefined) {
      const { response, finished } = applyCompaction(store, request.compaction);
      return { kind: "answer", response, finished };
    }
    if (request.leaseRevoke !== undefined) auth.checks?.writesOfLease(caller, request.leaseRevoke.ID);
    const lease = this.#applyLeaseRequest(request);
    if (lease !== undefined) return lease;
    throw unknownEntry(entry, `holds a request of a kind that this version does not serve (${kindOf(request)})`);
  }

  #applyLeaseRequest(request: InternalRaftRequest): Outcome | undefined {
    const { store, leases } = this.#dependencies;
    const header = { clusterId: 0n, memberId: 0n, revision: 0, raftTerm: 0 };
    if (request.leaseGrant !== undefined) {
      const { ID, TTL } = request.leaseGrant;
      const fits = this.#checkQuota(COST_OF_LEASE);
      const granted = leases.grant(ID, TTL);
      const response = { header: { ...header, revision: store.revision }, ID, TTL: granted, error: "" };
      return this.#unlessOverQuota(response, fits);
    }
    if (request.leaseRevoke !== undefined) {
      leases.revoke(request.leaseRevoke.ID, store);
      return { kind: "answer", response: { header: { ...header, revision: store.revision } } };
    }
    if (request.leaseCheckpoint !== undefined) {
      for (const { ID, remainingTTL } of request.leaseCheckpoint.checkpoints) leases.checkpoint(ID, remainingTTL);
      return { kind: "answer", response: { header } };
    }
    return undefined;
  }

  /**
   * With the alarm up a request that costs is refused. Without it, it is applied, and refused nevertheless when it went over:
   * that raises the alarm (both as etcd does).
   *
   * @returns whether it fits, to be told to `#unlessOverQuota` when it is applied
   */
  #checkQuota(cost: number): boolean {
    if (cost > 0 && this.#dependencies.alarms.has(AlarmType.NOSPACE)) {
      throw new RequestError("SERVER_NO_SPACE", "the NOSPACE alarm stands: compact, defragment, then disarm it");
    }
    return fitsQuota(cost, this.#dependencies.dbBytes(), this.#quotaBytes);
  }

  #unlessOverQuota(response: unknown, fits: boolean): Outcome {
    if (fits) return { kind: "answer", response };
    this.#events.onQuotaExceeded();
    const error = new RequestError("SERVER_NO_SPACE", `db has reached its quota of ${this.#quotaBytes} bytes`);
    return { kind: "refused", error };
  }

  #applyAlarm(request: AlarmRequest): AlarmResponse {
    const { alarms, log } = this.#dependencies;
    const alarm = { memberID: request.memberID, alarm: request.alarm };
    const fields = { alarm: alarmTypeToJSON(request.alarm), from: memberIdText(request.memberID) };
    const stood = alarms.has(request.alarm);
    switch (request.action) {
      case AlarmAction.GET:
        return { header: undefined, alarms: alarms.list(request.alarm) };
      case AlarmAction.ACTIVATE: {
        if (request.alarm === AlarmType.NONE) return { header: undefined, alarms: [] };
        const raised = alarms.raise(alarm);
        if (!stood) log.warn("alarm raised", fields);
        return { header: undefined, alarms: [raised] };
      }
      case AlarmAction.DEACTIVATE: {
        const cleared = alarms.clear(alarm);
        if (cleared === undefined) return { header: undefined, alarms: [] };
        if (!alarms.has(request.alarm)) log.warn("alarm disarmed", fields);
        return { header: undefined, alarms: [cleared] };
      }
      default:
        return { header: undefined, alarms: [] };
    }
  }
}

/** Codes of requests that were wrong or came at the wrong time; all others are failures of the member itself. */
const REFUSALS = ["MVCC_COMPACTED", "MVCC_FUTURE_REVISION", "KEY_NOT_FOUND"];

/** A refusal is an outcome, the same on every member; anything else is a failure of this one. */
function refusalOrThrow(error: unknown): Outcome {
  if (error instanceof CodedError && !(error instanceof MemberError) && isRefusal(error.code)) {
    return { kind: "refused", error };
  }
  throw error;
}

function isRefusal(code: string): boolean {
  return code.startsWith("SERVER_") || code.startsWith("LEASE_") || code.startsWith("AUTH_") || REFUSALS.includes(code);
}

function unknownEntry(entry: Entry, what: string): MemberError {
  return new MemberError(
    "ENTRY_UNKNOWN",
    `entry ${entry.index} of term ${entry.term} ${what}: this member stops before it would pass over a committed entry. ` +
      "Start the etcd version that wrote the directory, stop it cleanly so that its db holds the entry, then start Walnut again",
  );
}

function kindOf(request: InternalRaftRequest): string {
  const kinds = Object.entries(request).filter(([name, value]) => {
    return value !== undefined && name !== "header" && name !== "ID" && !(value instanceof Uint8Array);
  });
  return kinds.map(([name]) => name).join(", ") || "none that etcd 3.5 knows";
}

function uint64(value: number): Uint8Array {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, value);
  return bytes;
}
