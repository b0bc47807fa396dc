/**
 * Every call by every kind of caller: what a server answers each. The same script on two servers makes two tables, which must be equal in
 * codes and texts.
 *
 * A caller is nobody, somebody with a token that is none or is over, a user without a role, one who may read, write, or both below `k/`,
 * or root. The rows come in an order that leaves the stage as the next row needs it: what root changes for good comes last.
 */
import { AUTH_CALLS, AuthAdmin, authPath, authRequest, describeAuthAnswer, type AuthCall } from "../support/auth.js";
import type { Answer, EtcdClient } from "../support/client.js";
import { CONCURRENCY_CALLS, type ConcurrencyCall, OBSERVE } from "../support/concurrency.js";
import { encode, wireFields, type Message } from "../support/messages.js";

export const CALLERS = ["none", "bad", "over", "stranger", "reader", "writer", "both", "root"] as const;
export type CallerKind = (typeof CALLERS)[number];

export interface Row {
  readonly name: string;
  readonly path: string;
  readonly request: Uint8Array;
  /** Whether both sides send one message, the server many, or both. */
  readonly form: "unary" | "server" | "both";
  readonly describe: (answer: Answer) => string;
  /** The row without which this one means something else. */
  readonly needs?: string;
}

const b = (text: string): Buffer => Buffer.from(text, "latin1");

const described = (answer: Answer): string => (answer.kind === "error" ? `${answer.code} ${answer.text}` : "ok");

/** Of a watch: whether it was cancelled when it was created, and why. */
function describeWatch(answer: Answer): string {
  if (answer.kind === "error") return `${answer.code} ${answer.text}`;
  const fields = [...wireFields(answer.bytes)];
  const reason = fields.find(({ number }) => number === 6);
  const canceled = fields.some(({ number, value }) => number === 4 && value === 1n);
  return canceled ? `canceled: ${Buffer.from(reason?.bytes ?? []).toString()}` : "ok";
}

/** Fields of numbers and bytes by their numbers, for requests that nothing else here knows. */
function raw(fields: Readonly<Record<number, number | Uint8Array>>): Uint8Array {
  const parts: number[] = [];
  for (const [number, value] of Object.entries(fields)) {
    if (typeof value === "number") parts.push(Number(number) << 3, value);
    else parts.push((Number(number) << 3) | 2, value.length, ...value);
  }
  return Uint8Array.from(parts);
}

const unary = (name: string, path: string, request: Uint8Array): Row => ({
  name,
  path: `/etcdserverpb.${path}`,
  request,
  form: "unary",
  describe: described,
});
const auth = (call: AuthCall, message: Message = {}, note = ""): Row => ({
  name: `Auth.${call}${note}`,
  path: authPath(call),
  request: authRequest(call, message),
  form: "unary",
  describe: (answer) => describeAuthAnswer(call, answer),
});
const range = (note: string, message: Message): Row =>
  unary(`KV.Range ${note}`, "KV/Range", encode("RangeRequest", message));
const put = (note: string, message: Message): Row => unary(`KV.Put ${note}`, "KV/Put", encode("PutRequest", message));
const deletion = (note: string, message: Message): Row =>
  unary(`KV.DeleteRange ${note}`, "KV/DeleteRange", encode("DeleteRangeRequest", message));
const txn = (note: string, message: Message): Row => unary(`KV.Txn ${note}`, "KV/Txn", encode("TxnRequest", message));
const watch = (note: string, create: Readonly<Record<number, Uint8Array>>): Row => ({
  name: `Watch.Watch ${note}`,
  path: "/etcdserverpb.Watch/Watch",
  request: raw({ 1: raw(create) }),
  form: "both",
  describe: describeWatch,
});

const key = b("k/1");
const span = { key: b("k/"), range_end: b("k0") };
const over = { key: b("k/"), range_end: b("k1") };
const from = { key, range_end: b("\0") };
const nestedTwice = (operations: Message): Message => ({
  success: [{ request_txn: { success: [{ request_txn: operations }] } }],
});

const KV_ROWS: readonly Row[] = [
  range("one key", { key }),
  range("one key, serializable", { key, serializable: true }),
  range("a span", span),
  range("a span and more", over),
  range("from the key on", from),
  range("all keys", { key: b("\0"), range_end: b("\0") }),
  range("another key", { key: b("x") }),
  range("keys only", { ...span, keys_only: true }),
  range("an old revision", { key, revision: 2 }),
  range("backwards", { key, range_end: b("a") }),
  put("one key", { key, value: b("v") }),
  put("another key", { key: b("x"), value: b("v") }),
  put("with the pair before", { key, value: b("v"), prev_kv: true }),
  put("keeps the value", { key, ignore_value: true }),
  put("on a lease that there is not", { key, value: b("v"), lease: 77 }),
  put("on no key", { value: b("v") }),
  deletion("one key", { key: b("k/absent") }),
  deletion("with the pairs before", { key: b("k/absent"), prev_kv: true }),
  deletion("a span and more", { key: b("k/y"), range_end: b("k1") }),
  deletion("from the key on", { key: b("y"), range_end: b("\0") }),
  txn("a compare", { compare: [{ key, version: 0 }] }),
  txn("a compare of another key", { compare: [{ key: b("x"), version: 0 }] }),
  txn("a compare of a span and more", { compare: [{ key: b("k/"), range_end: b("k1"), version: 0 }] }),
  txn("a read", { success: [{ request_range: { key } }] }),
  txn("a serializable read", { success: [{ request_range: { key, serializable: true } }] }),
  txn("a read in the other branch", {
    compare: [{ key, version: 0, target: 0, result: 0 }],
    failure: [{ request_range: over }],
  }),
  txn("a put", { success: [{ request_put: { key, value: b("v") } }] }),
  txn("a put with the pair before", { success: [{ request_put: { key, value: b("v"), prev_kv: true } }] }),
  txn("a put of another key", { failure: [{ request_put: { key: b("x") } }] }),
  txn("a deletion", { success: [{ request_delete_range: { key: b("k/absent") } }] }),
  txn("a deletion with the pairs before", {
    success: [{ request_delete_range: { key: b("k/absent"), prev_kv: true } }],
  }),
  txn("nested: a put", nestedTwice({ success: [{ request_put: { key, value: b("v") } }] })),
  txn(
    "nested: a put with the pair before",
    nestedTwice({ success: [{ request_put: { key, value: b("v"), prev_kv: true } }] }),
  ),
  txn("nested: a put of another key", nestedTwice({ success: [{ request_put: { key: b("x") } }] })),
  txn("nested: a read", nestedTwice({ success: [{ request_range: { key } }] })),
  txn("nested: a read of another key", nestedTwice({ failure: [{ request_range: { key: b("x") } }] })),
  txn("nested: a compare of another key", nestedTwice({ compare: [{ key: b("x"), version: 0 }] })),
  unary("KV.Compact", "KV/Compact", encode("CompactionRequest", { revision: 1 })),
];

/** Of each lease that the table grants. */
const LEASE = 7;
const LEASE_ROWS: readonly Row[] = [
  unary("Lease.LeaseGrant", "Lease/LeaseGrant", raw({ 1: 100, 2: LEASE })),
  { ...put("on a lease without keys", { key, value: b("v"), lease: LEASE }), needs: "Lease.LeaseGrant" },
  {
    ...txn("a put on a lease", { success: [{ request_put: { key, value: b("v"), lease: LEASE } }] }),
    needs: "Lease.LeaseGrant",
  },
  { ...unary("Lease.LeaseKeepAlive", "Lease/LeaseKeepAlive", raw({ 1: LEASE })), form: "both" },
  unary("Lease.LeaseTimeToLive", "Lease/LeaseTimeToLive", raw({ 1: LEASE })),
  unary("Lease.LeaseTimeToLive with keys", "Lease/LeaseTimeToLive", raw({ 1: LEASE, 2: 1 })),
  unary("Lease.LeaseTimeToLive of none", "Lease/LeaseTimeToLive", raw({ 1: 78, 2: 1 })),
  unary("Lease.LeaseLeases", "Lease/LeaseLeases", raw({})),
  unary("Lease.LeaseRevoke of none", "Lease/LeaseRevoke", raw({ 1: 78 })),
  unary("Lease.LeaseRevoke", "Lease/LeaseRevoke", raw({ 1: LEASE })),
];

const WATCH_ROWS: readonly Row[] = [
  watch("one key", { 1: key }),
  watch("a span", { 1: span.key, 2: span.range_end }),
  watch("a span and more", { 1: over.key, 2: over.range_end }),
  watch("another key", { 1: b("x") }),
  watch("all keys", { 2: b("\0") }),
];

const MAINTENANCE_ROWS: readonly Row[] = [
  unary("Maintenance.Status", "Maintenance/Status", raw({})),
  unary("Maintenance.Hash", "Maintenance/Hash", raw({})),
  unary("Maintenance.HashKV", "Maintenance/HashKV", raw({})),
  unary("Maintenance.Defragment", "Maintenance/Defragment", raw({})),
  unary("Maintenance.Alarm: get", "Maintenance/Alarm", raw({})),
  unary("Maintenance.Alarm: activate none", "Maintenance/Alarm", raw({ 1: 1 })),
  unary("Maintenance.Alarm: deactivate", "Maintenance/Alarm", raw({ 1: 2, 3: 1 })),
  unary("Maintenance.MoveLeader to nobody", "Maintenance/MoveLeader", raw({ 1: 5 })),
  { ...unary("Maintenance.Snapshot", "Maintenance/Snapshot", raw({})), form: "server" },
];

const peer = b("http://127.0.0.1:1");
const CLUSTER_ROWS: readonly Row[] = [
  unary("Cluster.MemberList", "Cluster/MemberList", raw({})),
  unary("Cluster.MemberList, linearizable", "Cluster/MemberList", raw({ 1: 1 })),
  unary("Cluster.MemberAdd without a URL", "Cluster/MemberAdd", raw({})),
  unary("Cluster.MemberRemove of nobody", "Cluster/MemberRemove", raw({ 1: 5 })),
  unary("Cluster.MemberUpdate of nobody", "Cluster/MemberUpdate", raw({ 1: 5, 2: peer })),
  unary("Cluster.MemberPromote of nobody", "Cluster/MemberPromote", raw({ 1: 5 })),
  unary("Cluster.MemberAdd of a learner", "Cluster/MemberAdd", raw({ 1: peer, 2: 1 })),
];

/** Of candidates below `k`, none of whom stands: the lease is not there, and neither is the leader. */
const leader = { name: b("k"), key: b("k/absent"), rev: 5, lease: 77 };
const concurrency = (note: string, call: ConcurrencyCall, message: Message): Row => ({
  ...unary(`${call}${note}`, "", encode(CONCURRENCY_CALLS[call][1], message)),
  path: CONCURRENCY_CALLS[call][0],
});
const CONCURRENCY_ROWS: readonly Row[] = [
  concurrency(" on a lease that there is not", "Lock", { name: b("k"), lease: 77 }),
  concurrency(" of another name", "Lock", { name: b("x"), lease: 77 }),
  concurrency("", "Unlock", { key: b("k/absent") }),
  concurrency(" of another key", "Unlock", { key: b("x") }),
  concurrency(" on a lease that there is not", "Campaign", { name: b("k"), lease: 77 }),
  concurrency(" of another name", "Campaign", { name: b("x"), lease: 77 }),
  concurrency(" for a leader that is none", "Proclaim", { leader, value: b("v") }),
  concurrency(" for no leader", "Proclaim", {}),
  concurrency(" of one that is none", "Resign", { leader }),
  concurrency(" of nobody", "Resign", {}),
  concurrency("", "Leader", { name: b("k") }),
  concurrency(" of another name", "Leader", { name: b("x") }),
  { ...unary("Observe", "", encode("LeaderRequest", { name: b("k") })), path: OBSERVE, form: "server" },
];

const perm = (rangeEnd: string, of = "k/"): Message => ({ permType: 0, key: b(of), range_end: b(rangeEnd) });
const AUTH_ROWS: readonly Row[] = [
  auth("AuthStatus"),
  auth("Authenticate", { name: "reader", password: "reader" }),
  auth("Authenticate", { name: "reader", password: "wrong" }, " with a wrong password"),
  auth("Authenticate", { name: "nobody", password: "x" }, " of nobody"),
  auth("Authenticate", { name: "bare", password: "x" }, " without a password"),
  auth("Authenticate", { name: "", password: "" }, " of no name"),
  auth("UserGet", { name: "reader" }),
  auth("UserGet", { name: "nobody" }, " of nobody"),
  auth("UserGet", { name: "" }, " of no name"),
  auth("UserList"),
  auth("RoleGet", { name: "readers" }),
  auth("RoleGet", { name: "none" }, " of none"),
  auth("RoleGet", { name: "root" }, " of root"),
  auth("RoleList"),
  auth("UserAdd", { name: "reader", password: "x" }, " of one who is there"),
  auth("UserAdd", { name: "", password: "x" }, " of no name"),
  auth("UserAdd", { name: "long", password: "x".repeat(72) }, " with 72 bytes of password"),
  auth("UserChangePassword", { name: "nobody", password: "x" }, " of nobody"),
  auth("UserChangePassword", { name: "victim", hashedPassword: "no base64" }, " to no hash"),
  auth("UserChangePassword", { name: "victim", password: "y" }),
  auth("UserGrantRole", { user: "victim", role: "none" }, " of none"),
  auth("UserGrantRole", { user: "nobody", role: "readers" }, " to nobody"),
  auth("UserGrantRole", { user: "victim", role: "readers" }),
  auth("UserRevokeRole", { user: "victim", role: "none" }, " of none"),
  auth("UserRevokeRole", { user: "nobody", role: "readers" }, " from nobody"),
  auth("UserRevokeRole", { user: "victim", role: "readers" }),
  auth("UserRevokeRole", { user: "root", role: "root" }, " from root"),
  auth("UserDelete", { name: "nobody" }, " of nobody"),
  auth("UserDelete", { name: "root" }, " of root"),
  auth("UserDelete", { name: "victim" }),
  auth("RoleAdd", { name: "readers" }, " of one that is there"),
  auth("RoleAdd", { name: "" }, " of no name"),
  auth("RoleAdd", { name: "fresh" }),
  auth("RoleGrantPermission", { name: "fresh" }, " of nothing"),
  auth("RoleGrantPermission", { name: "fresh", perm: perm("a") }, " of a span backwards"),
  auth("RoleGrantPermission", { name: "fresh", perm: perm("", "") }, " of no key"),
  auth("RoleGrantPermission", { name: "none", perm: perm("k0") }, " to none"),
  auth("RoleGrantPermission", { name: "fresh", perm: perm("k0") }),
  auth("RoleRevokePermission", { role: "none", key: b("k/") }, " from none"),
  auth("RoleRevokePermission", { role: "fresh", key: b("q") }, " of none"),
  auth("RoleRevokePermission", { role: "fresh", key: b("k/"), range_end: b("k0") }),
  auth("RoleDelete", { name: "none" }, " of none"),
  auth("RoleDelete", { name: "root" }, " of root"),
  auth("RoleDelete", { name: "fresh" }),
  auth("AuthEnable"),
  auth("AuthDisable"),
  auth("AuthStatus", {}, " when it is off"),
  auth("Authenticate", { name: "reader", password: "reader" }, " when it is off"),
  auth("UserGet", { name: "reader" }, " when it is off"),
];

export const ROWS: readonly Row[] = [
  ...KV_ROWS,
  ...WATCH_ROWS,
  ...CONCURRENCY_ROWS,
  ...LEASE_ROWS,
  ...MAINTENANCE_ROWS,
  ...CLUSTER_ROWS,
  ...AUTH_ROWS,
];

export const cellName = ({ name }: Row, caller: CallerKind): string => `${name} by ${caller}`;

/** The answers of one server, by the names of the cells. */
export async function playTable(client: EtcdClient): Promise<Map<string, string>> {
  const tokens = await prepare(client);
  const answers = new Map<string, string>();
  for (const row of ROWS) {
    for (const caller of CALLERS) {
      const token = tokens.get(caller);
      const answer =
        row.form === "unary"
          ? await client.send(row.path, row.request, undefined, token)
          : await client.first(row.form, row.path, row.request, token);
      answers.set(cellName(row, caller), row.describe(answer));
    }
  }
  return answers;
}

async function prepare(client: EtcdClient): Promise<Map<CallerKind, string | undefined>> {
  const admin = new AuthAdmin(client);
  await client.put("k/1", "v");
  await client.put("x", "v");
  await admin.addRole("readers", "read", "k/", "k0");
  await admin.addRole("writers", "write", "k/", "k0");
  await admin.addUser("stranger", "stranger");
  await admin.addUser("reader", "reader", ["readers"]);
  await admin.addUser("writer", "writer", ["writers"]);
  await admin.addUser("both", "both", ["readers", "writers"]);
  await admin.addUser("victim", "victim");
  await admin.call("UserAdd", { name: "bare", options: { no_password: true } });
  await admin.enable("root");
  const over = await admin.login("victim", "victim");
  await admin.call("UserChangePassword", { name: "victim", password: "victim" });
  const users = ["stranger", "reader", "writer", "both"] as const;
  const tokens = new Map<CallerKind, string | undefined>([
    ["none", undefined],
    ["bad", "no token"],
    ["over", over],
    ["root", admin.token],
  ]);
  for (const name of users) tokens.set(name, await admin.login(name, name));
  return tokens;
}

/** Every call of the Auth service is in the table. */
export const missingAuthCalls = (): string[] =>
  Object.keys(AUTH_CALLS).filter((call) => !ROWS.some(({ path }) => path === authPath(call as AuthCall)));
