/** The JSON that members tell each other, as Go writes it. */
import { textFromUtf8 } from "../base/text.js";
import { CodedError } from "../base/errors.js";
import { decodeMember, encodeMember, type Member } from "../membership/index.js";
import type { HashKVResponse } from "../proto/index.js";
import type { PeerVersions } from "./contract.js";
import { PeerError, PeerRefusal } from "./errors.js";

export function encodeMembers(members: readonly Member[]): string {
  return `[${members.map((member) => textFromUtf8(encodeMember(member))).join(",")}]\n`;
}

/** @throws PeerError PEER_MALFORMED */
export function decodeMembers(text: string): Member[] {
  // Between quotes a quote is escaped, so `"id":` with a bare one can only be the field. IDs have more digits than numbers have.
  const value = parse(text.replace(/(?<!\\)"id":\s*(\d+)/g, '"id":"$1"'), "members");
  if (!Array.isArray(value)) throw malformed("members", text);
  try {
    return value.map((item) => decodeMember(new TextEncoder().encode(JSON.stringify(item))));
  } catch (cause) {
    throw malformed("members", text, cause);
  }
}

export function encodeVersions({ server, cluster }: PeerVersions): string {
  return JSON.stringify({ etcdserver: server, etcdcluster: cluster });
}

/** @throws PeerError PEER_MALFORMED */
export function decodeVersions(text: string): PeerVersions {
  const { etcdserver: server, etcdcluster: cluster } = fieldsOf(text, "versions");
  if (typeof server !== "string" || typeof cluster !== "string") throw malformed("versions", text);
  return { server, cluster };
}

export function encodeHashKvRequest(revision: number): string {
  return revision === 0 ? "{}" : JSON.stringify({ revision });
}

/** The revision that is asked for. @throws PeerError PEER_MALFORMED */
export function decodeHashKvRequest(text: string): number {
  const revision = fieldsOf(text, "hashKV request")["revision"] ?? 0;
  if (typeof revision !== "number" || !Number.isSafeInteger(revision)) throw malformed("hashKV request", text);
  return revision;
}

export function encodeHashKv({ header, hash, compactRevision }: HashKVResponse): string {
  const revision = header?.revision ?? 0;
  return JSON.stringify({
    header: revision === 0 ? {} : { revision },
    ...(hash === 0 ? {} : { hash }),
    ...(compactRevision === 0 ? {} : { compact_revision: compactRevision }),
  });
}

/** @throws PeerError PEER_MALFORMED */
export function decodeHashKv(text: string): HashKVResponse {
  const fields = fieldsOf(text, "hashKV");
  const header = (fields["header"] ?? {}) as Readonly<Record<string, unknown>>;
  const number = (value: unknown): number => {
    if (value === undefined) return 0;
    if (typeof value !== "number" || !Number.isSafeInteger(value)) throw malformed("hashKV", text);
    return value;
  };
  return {
    header: { clusterId: 0n, memberId: 0n, revision: number(header["revision"]), raftTerm: 0 },
    hash: number(fields["hash"]),
    compactRevision: number(fields["compact_revision"]),
    hashRevision: number(fields["hash_revision"]),
  };
}

function fieldsOf(text: string, what: string): Readonly<Record<string, unknown>> {
  const value = parse(text, what);
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw malformed(what, text);
  return value as Readonly<Record<string, unknown>>;
}

function parse(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (cause) {
    throw malformed(what, text, cause);
  }
}

function malformed(what: string, text: string, cause?: unknown): PeerError {
  const detail = `${what} of another member are not what etcd writes: ${text.slice(0, 200)}`;
  return new PeerError("PEER_MALFORMED", detail, cause === undefined ? undefined : { cause });
}

// ---- refusals -----------------------------------------------------------------------------------------------------

interface Refusal {
  readonly status: number;
  readonly text: string;
}

const HASH_KV_REFUSALS = {
  MVCC_COMPACTED: { status: 400, text: "mvcc: required revision has been compacted" },
  MVCC_FUTURE_REVISION: { status: 400, text: "mvcc: required revision is a future revision" },
  CLUSTER_MISMATCH: { status: 412, text: "cluster ID mismatch" },
} as const satisfies Readonly<Record<string, Refusal>>;

const PROMOTE_REFUSALS = {
  MEMBER_NOT_FOUND: { status: 404, text: "membership: ID not found" },
  MEMBER_NOT_LEARNER: { status: 412, text: "membership: can only promote a learner member" },
  SERVER_LEARNER_NOT_READY: {
    status: 412,
    text: "etcdserver: can only promote a learner member which is in sync with leader",
  },
} as const satisfies Readonly<Record<string, Refusal>>;

const LEASE_REFUSALS = {
  LEASE_NOT_FOUND: { status: 404, text: "lease not found" },
  SERVER_TIMEOUT_APPLIED_INDEX: {
    status: 408,
    text: "waiting for node to catch up its applied index has timed out",
  },
  SERVER_NOT_PRIMARY: { status: 400, text: "not a primary lessor" },
} as const satisfies Readonly<Record<string, Refusal>>;

/** How another member is told what became of its question about a lease, in etcd's words. */
export function leaseRefusal(thrown: unknown): Refusal {
  return refusalOf(LEASE_REFUSALS, thrown) ?? { status: 400, text: textOf(thrown) };
}

/** What another member's refusal means: that there is no such lease, or that it is to be asked again. */
export function leaseError(status: number, text: string): PeerRefusal | PeerError {
  return status === 404 ? new PeerRefusal("LEASE_NOT_FOUND", "the leader has no such lease") : refused(status, text);
}

/** How another member is told that its hash is refused, in etcd's words. */
export function hashKvRefusal(thrown: unknown): Refusal {
  return refusalOf(HASH_KV_REFUSALS, thrown) ?? { status: 400, text: textOf(thrown) };
}

/** How another member is told that its promotion is refused; undefined for what etcd hides behind 500. */
export function promoteRefusal(thrown: unknown): Refusal | undefined {
  return refusalOf(PROMOTE_REFUSALS, thrown);
}

function refusalOf(table: Readonly<Record<string, Refusal>>, thrown: unknown): Refusal | undefined {
  return thrown instanceof CodedError ? table[(thrown as CodedError<string>).code] : undefined;
}

function textOf(thrown: unknown): string {
  return thrown instanceof Error ? thrown.message : String(thrown);
}

/** What another member's refusal of a hash means. */
export function hashKvError(status: number, text: string): PeerRefusal | PeerError {
  return errorOf(HASH_KV_REFUSALS, status, text) ?? refused(status, text);
}

/** What another member's refusal of a promotion means. etcd tells no other 404 there. */
export function promoteError(status: number, text: string): PeerRefusal | PeerError {
  if (status === 408) return new PeerRefusal("SERVER_TIMEOUT", "the leader did not agree on the promotion in time");
  if (status === 404) return new PeerRefusal("MEMBER_NOT_FOUND", text.trimEnd());
  return errorOf(PROMOTE_REFUSALS, status, text) ?? refused(status, text);
}

function errorOf<Code extends keyof typeof HASH_KV_REFUSALS | keyof typeof PROMOTE_REFUSALS>(
  table: Readonly<Record<Code, Refusal>>,
  status: number,
  text: string,
): PeerRefusal | undefined {
  const codes = Object.keys(table) as Code[];
  const code = codes.find((code) => table[code].status === status && text.includes(table[code].text));
  return code === undefined ? undefined : new PeerRefusal(code, `the other member answers: ${text.trimEnd()}`);
}

function refused(status: number, text: string): PeerError {
  return new PeerError("PEER_REFUSED", `the other member answers ${status}: ${text.trimEnd().slice(0, 200)}`);
}
