/**
 * etcd's client messages as the compatibility tests see them: a table of field numbers and a small codec of their own.
 *
 * The tests do not use the project's generated messages: a field number that is wrong there would be wrong on both sides of
 * a round trip and never be noticed. Fields keep etcd's names. Numbers are decoded to `number` where they fit and to
 * `bigint` past 2^53; a field that is not on the wire is not in the decoded message.
 */

/** What a field holds: a scalar, or `[message]`; `repeated` fields hold arrays. */
type FieldKind = "bytes" | "string" | "int" | "bool" | MessageName;
interface Field {
  readonly number: number;
  readonly kind: FieldKind;
  readonly repeated: boolean;
}

/** A message: field names and what they hold. */
export interface Message {
  readonly [field: string]: Value;
}
export type Scalar = Uint8Array | string | number | bigint | boolean | Message;
export type Value = Scalar | readonly Scalar[] | undefined;

const one = (number: number, kind: string): Field => ({ number, kind: kind as FieldKind, repeated: false });
const many = (number: number, kind: string): Field => ({ number, kind: kind as FieldKind, repeated: true });

const TABLE = {
  ResponseHeader: {
    cluster_id: one(1, "int"),
    member_id: one(2, "int"),
    revision: one(3, "int"),
    raft_term: one(4, "int"),
  },
  KeyValue: {
    key: one(1, "bytes"),
    create_revision: one(2, "int"),
    mod_revision: one(3, "int"),
    version: one(4, "int"),
    value: one(5, "bytes"),
    lease: one(6, "int"),
  },
  RangeRequest: {
    key: one(1, "bytes"),
    range_end: one(2, "bytes"),
    limit: one(3, "int"),
    revision: one(4, "int"),
    sort_order: one(5, "int"),
    sort_target: one(6, "int"),
    serializable: one(7, "bool"),
    keys_only: one(8, "bool"),
    count_only: one(9, "bool"),
    min_mod_revision: one(10, "int"),
    max_mod_revision: one(11, "int"),
    min_create_revision: one(12, "int"),
    max_create_revision: one(13, "int"),
  },
  RangeResponse: {
    header: one(1, "ResponseHeader"),
    kvs: many(2, "KeyValue"),
    more: one(3, "bool"),
    count: one(4, "int"),
  },
  PutRequest: {
    key: one(1, "bytes"),
    value: one(2, "bytes"),
    lease: one(3, "int"),
    prev_kv: one(4, "bool"),
    ignore_value: one(5, "bool"),
    ignore_lease: one(6, "bool"),
  },
  PutResponse: { header: one(1, "ResponseHeader"), prev_kv: one(2, "KeyValue") },
  DeleteRangeRequest: { key: one(1, "bytes"), range_end: one(2, "bytes"), prev_kv: one(3, "bool") },
  DeleteRangeResponse: { header: one(1, "ResponseHeader"), deleted: one(2, "int"), prev_kvs: many(3, "KeyValue") },
  RequestOp: {
    request_range: one(1, "RangeRequest"),
    request_put: one(2, "PutRequest"),
    request_delete_range: one(3, "DeleteRangeRequest"),
    request_txn: one(4, "TxnRequest"),
  },
  ResponseOp: {
    response_range: one(1, "RangeResponse"),
    response_put: one(2, "PutResponse"),
    response_delete_range: one(3, "DeleteRangeResponse"),
    response_txn: one(4, "TxnResponse"),
  },
  Compare: {
    result: one(1, "int"),
    target: one(2, "int"),
    key: one(3, "bytes"),
    version: one(4, "int"),
    create_revision: one(5, "int"),
    mod_revision: one(6, "int"),
    value: one(7, "bytes"),
    lease: one(8, "int"),
    range_end: one(64, "bytes"),
  },
  TxnRequest: { compare: many(1, "Compare"), success: many(2, "RequestOp"), failure: many(3, "RequestOp") },
  TxnResponse: { header: one(1, "ResponseHeader"), succeeded: one(2, "bool"), responses: many(3, "ResponseOp") },
  CompactionRequest: { revision: one(1, "int"), physical: one(2, "bool") },
  CompactionResponse: { header: one(1, "ResponseHeader") },
  HashKVRequest: { revision: one(1, "int") },
  HashKVResponse: { header: one(1, "ResponseHeader"), hash: one(2, "int"), compact_revision: one(3, "int") },
  WatchRequest: {
    create_request: one(1, "WatchCreateRequest"),
    cancel_request: one(2, "WatchCancelRequest"),
    progress_request: one(3, "WatchProgressRequest"),
  },
  WatchCreateRequest: {
    key: one(1, "bytes"),
    range_end: one(2, "bytes"),
    start_revision: one(3, "int"),
    progress_notify: one(4, "bool"),
    filters: many(5, "int"),
    prev_kv: one(6, "bool"),
    watch_id: one(7, "int"),
    fragment: one(8, "bool"),
  },
  WatchCancelRequest: { watch_id: one(1, "int") },
  WatchProgressRequest: {},
  Event: { type: one(1, "int"), kv: one(2, "KeyValue"), prev_kv: one(3, "KeyValue") },
  WatchResponse: {
    header: one(1, "ResponseHeader"),
    watch_id: one(2, "int"),
    created: one(3, "bool"),
    canceled: one(4, "bool"),
    compact_revision: one(5, "int"),
    cancel_reason: one(6, "string"),
    fragment: one(7, "bool"),
    events: many(11, "Event"),
  },
  StatusRequest: {},
  StatusResponse: {
    header: one(1, "ResponseHeader"),
    version: one(2, "string"),
    dbSize: one(3, "int"),
    leader: one(4, "int"),
    raftIndex: one(5, "int"),
    raftTerm: one(6, "int"),
    raftAppliedIndex: one(7, "int"),
    errors: many(8, "string"),
    dbSizeInUse: one(9, "int"),
    isLearner: one(10, "bool"),
  },
  AlarmRequest: { action: one(1, "int"), memberID: one(2, "int"), alarm: one(3, "int") },
  AlarmMember: { memberID: one(1, "int"), alarm: one(2, "int") },
  AlarmResponse: { header: one(1, "ResponseHeader"), alarms: many(2, "AlarmMember") },
  MemberListRequest: { linearizable: one(1, "bool") },
  Member: {
    ID: one(1, "int"),
    name: one(2, "string"),
    peerURLs: many(3, "string"),
    clientURLs: many(4, "string"),
    isLearner: one(5, "bool"),
  },
  MemberListResponse: { header: one(1, "ResponseHeader"), members: many(2, "Member") },
  MemberAddRequest: { peerURLs: many(1, "string"), isLearner: one(2, "bool") },
  MemberAddResponse: { header: one(1, "ResponseHeader"), member: one(2, "Member"), members: many(3, "Member") },
  MemberRemoveRequest: { ID: one(1, "int") },
  MemberRemoveResponse: { header: one(1, "ResponseHeader"), members: many(2, "Member") },
  MemberUpdateRequest: { ID: one(1, "int"), peerURLs: many(2, "string") },
  MemberUpdateResponse: { header: one(1, "ResponseHeader"), members: many(2, "Member") },
  MemberPromoteRequest: { ID: one(1, "int") },
  MemberPromoteResponse: { header: one(1, "ResponseHeader"), members: many(2, "Member") },
  MoveLeaderRequest: { targetID: one(1, "int") },
  MoveLeaderResponse: { header: one(1, "ResponseHeader") },
  LeaseGrantRequest: { TTL: one(1, "int"), ID: one(2, "int") },
  LeaseGrantResponse: {
    header: one(1, "ResponseHeader"),
    ID: one(2, "int"),
    TTL: one(3, "int"),
    error: one(4, "string"),
  },
  LeaseRevokeRequest: { ID: one(1, "int") },
  LeaseRevokeResponse: { header: one(1, "ResponseHeader") },
  LeaseKeepAliveRequest: { ID: one(1, "int") },
  LeaseKeepAliveResponse: { header: one(1, "ResponseHeader"), ID: one(2, "int"), TTL: one(3, "int") },
  LeaseTimeToLiveRequest: { ID: one(1, "int"), keys: one(2, "bool") },
  LeaseTimeToLiveResponse: {
    header: one(1, "ResponseHeader"),
    ID: one(2, "int"),
    TTL: one(3, "int"),
    grantedTTL: one(4, "int"),
    keys: many(5, "bytes"),
  },
  LeaseLeasesRequest: {},
  LeaseStatus: { ID: one(1, "int") },
  LeaseLeasesResponse: { header: one(1, "ResponseHeader"), leases: many(2, "LeaseStatus") },
  // locks and elections
  LockRequest: { name: one(1, "bytes"), lease: one(2, "int") },
  LockResponse: { header: one(1, "ResponseHeader"), key: one(2, "bytes") },
  UnlockRequest: { key: one(1, "bytes") },
  UnlockResponse: { header: one(1, "ResponseHeader") },
  LeaderKey: { name: one(1, "bytes"), key: one(2, "bytes"), rev: one(3, "int"), lease: one(4, "int") },
  CampaignRequest: { name: one(1, "bytes"), lease: one(2, "int"), value: one(3, "bytes") },
  CampaignResponse: { header: one(1, "ResponseHeader"), leader: one(2, "LeaderKey") },
  ProclaimRequest: { leader: one(1, "LeaderKey"), value: one(2, "bytes") },
  ProclaimResponse: { header: one(1, "ResponseHeader") },
  LeaderRequest: { name: one(1, "bytes") },
  LeaderResponse: { header: one(1, "ResponseHeader"), kv: one(2, "KeyValue") },
  ResignRequest: { leader: one(1, "LeaderKey") },
  ResignResponse: { header: one(1, "ResponseHeader") },
  DowngradeRequest: { action: one(1, "int"), version: one(2, "string") },
  DowngradeResponse: { header: one(1, "ResponseHeader"), version: one(2, "string") },
  DefragmentRequest: {},
  DefragmentResponse: { header: one(1, "ResponseHeader") },
  // authentication
  Permission: { permType: one(1, "int"), key: one(2, "bytes"), range_end: one(3, "bytes") },
  UserAddOptions: { no_password: one(1, "bool") },
  AuthenticateRequest: { name: one(1, "string"), password: one(2, "string") },
  AuthUserAddRequest: {
    name: one(1, "string"),
    password: one(2, "string"),
    options: one(3, "UserAddOptions"),
    hashedPassword: one(4, "string"),
  },
  AuthUserChangePasswordRequest: {
    name: one(1, "string"),
    password: one(2, "string"),
    hashedPassword: one(3, "string"),
  },
  /** Of every request that names a user or a role alone. */
  AuthNameRequest: { name: one(1, "string") },
  /** Of the grant and of the revocation of a role. */
  AuthUserRoleRequest: { user: one(1, "string"), role: one(2, "string") },
  AuthRoleGrantPermissionRequest: { name: one(1, "string"), perm: one(2, "Permission") },
  AuthRoleRevokePermissionRequest: { role: one(1, "string"), key: one(2, "bytes"), range_end: one(3, "bytes") },
  /** Every answer of the Auth service: its second field is a flag, a token, names or permissions. */
  AuthStatusResponse: { header: one(1, "ResponseHeader"), enabled: one(2, "bool"), authRevision: one(3, "int") },
  AuthenticateResponse: { header: one(1, "ResponseHeader"), token: one(2, "string") },
  AuthNamesResponse: { header: one(1, "ResponseHeader"), names: many(2, "string") },
  AuthRoleGetResponse: { header: one(1, "ResponseHeader"), perm: many(2, "Permission") },
} satisfies Record<string, Record<string, Field>>;

export type MessageName = keyof typeof TABLE;

export const tableOf = (name: MessageName): Readonly<Record<string, Field>> => TABLE[name];

/** The message on the wire, fields in the order of their numbers; `undefined`, 0, "" and false are left out, as in proto3. */
export function encode(name: MessageName, message: Message): Uint8Array {
  const bytes: number[] | Uint8Array[] = [];
  const parts: Uint8Array[] = bytes as Uint8Array[];
  const table = tableOf(name);
  for (const field of Object.keys(message)) {
    if (!(field in table)) throw new Error(`${name} has no field '${field}'`);
  }
  for (const [fieldName, field] of Object.entries(table).sort(([, a], [, b]) => a.number - b.number)) {
    const value = message[fieldName];
    if (value === undefined) continue;
    for (const item of field.repeated ? (value as readonly Scalar[]) : [value as Scalar]) {
      encodeField(parts, name, fieldName, field, item);
    }
  }
  return Buffer.concat(parts);
}

/** The parts of a oneof: etcd writes them even when they are zero, since their presence says which one was chosen. */
const ONE_OF = new Set(["version", "create_revision", "mod_revision", "value", "lease"]);

function encodeField(parts: Uint8Array[], owner: MessageName, name: string, field: Field, value: Scalar): void {
  const explicit = field.repeated || (owner === "Compare" && ONE_OF.has(name));
  switch (field.kind) {
    case "int":
    case "bool": {
      const number = BigInt(value as number | bigint | boolean);
      if (number !== 0n || explicit) parts.push(varint(BigInt(field.number << 3)), varint(BigInt.asUintN(64, number)));
      return;
    }
    case "string":
    case "bytes": {
      const bytes = typeof value === "string" ? Buffer.from(value) : (value as Uint8Array);
      if (bytes.length > 0 || explicit) pushDelimited(parts, field.number, bytes);
      return;
    }
    default:
      pushDelimited(parts, field.number, encode(field.kind, value as Message));
  }
}

function pushDelimited(parts: Uint8Array[], number: number, bytes: Uint8Array): void {
  parts.push(varint(BigInt((number << 3) | 2)), varint(BigInt(bytes.length)), bytes);
}

function varint(value: bigint): Uint8Array {
  const bytes: number[] = [];
  let rest = value;
  while (rest > 0x7fn) {
    bytes.push(Number(rest & 0x7fn) | 0x80);
    rest >>= 7n;
  }
  bytes.push(Number(rest));
  return Uint8Array.from(bytes);
}

/** One field as it lies on the wire. */
interface WireField {
  readonly number: number;
  readonly wireType: number;
  readonly value: bigint;
  readonly bytes: Uint8Array;
}

/** The fields of a message in the order in which they lie there; throws where the bytes are no message. */
export function* wireFields(bytes: Uint8Array): Generator<WireField> {
  let offset = 0;
  const next = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[offset++];
      if (byte === undefined) break;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error(`the answer is no protobuf message: bad varint before byte ${offset}`);
  };
  /** A tag or a length: below 2^53, so no bigint is made of it. */
  const nextSmall = (): number => {
    let value = 0;
    for (let scale = 1; scale <= 2 ** 42; scale *= 0x80) {
      const byte = bytes[offset++];
      if (byte === undefined) break;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
    }
    throw new Error(`the answer is no protobuf message: bad varint before byte ${offset}`);
  };
  while (offset < bytes.length) {
    const tag = nextSmall();
    const wireType = tag & 7;
    if (wireType === 0) {
      yield { number: tag >>> 3, wireType, value: next(), bytes: new Uint8Array() };
    } else if (wireType === 2) {
      const length = nextSmall();
      if (offset + length > bytes.length) throw new Error(`field ${tag >>> 3} says ${length} bytes and has fewer`);
      yield { number: tag >>> 3, wireType, value: 0n, bytes: bytes.subarray(offset, offset + length) };
      offset += length;
    } else {
      throw new Error(`field ${tag >>> 3} has wire type ${wireType}, which etcd's client messages do not use`);
    }
  }
}

const UNSIGNED = new Set([
  "cluster_id",
  "member_id",
  "ID",
  "memberID",
  "targetID",
  "leader",
  "raft_term",
  "raftTerm",
  "hash",
]);

/** The message that `bytes` hold; fields that the table does not know are left out. */
export function decode(name: MessageName, bytes: Uint8Array): Message {
  const byNumber = new Map(
    Object.entries(tableOf(name)).map(([field, entry]) => [entry.number, [field, entry] as const]),
  );
  const message: Record<string, Value> = {};
  for (const wire of wireFields(bytes)) {
    const known = byNumber.get(wire.number);
    if (known === undefined) continue;
    const [field, { kind, repeated }] = known;
    const value = decodeValue(field, kind, wire);
    if (!repeated) message[field] = value;
    else if (message[field] === undefined) message[field] = [value];
    else (message[field] as Scalar[]).push(value);
  }
  return message;
}

function decodeValue(field: string, kind: FieldKind, wire: WireField): Scalar {
  switch (kind) {
    case "int": {
      const value = UNSIGNED.has(field) ? wire.value : BigInt.asIntN(64, wire.value);
      return value >= -(2n ** 53n) && value <= 2n ** 53n ? Number(value) : value;
    }
    case "bool":
      return wire.value !== 0n;
    case "string":
      return Buffer.from(wire.bytes).toString("utf8");
    case "bytes":
      return wire.bytes;
    default:
      return decode(kind, wire.bytes);
  }
}

/** A stable text of a message for eyes: bytes as quoted text with escapes, long ones cut with their length. */
export function describeMessage(value: Value): string {
  if (value instanceof Uint8Array) return describeBytes(value);
  if (Array.isArray(value)) return `[${value.map((item: Value) => describeMessage(item)).join(", ")}]`;
  if (value === null || typeof value !== "object")
    return typeof value === "string" ? JSON.stringify(value) : String(value);
  const fields = Object.entries(value as Message).filter(([, held]) => held !== undefined);
  return `{${fields.map(([field, held]) => `${field}: ${describeMessage(held)}`).join(", ")}}`;
}

export function describeBytes(bytes: Uint8Array): string {
  const shown = Buffer.from(bytes.subarray(0, 48)).toString("latin1");
  // eslint-disable-next-line no-control-regex -- the control characters are what is to be made visible
  const text = shown.replace(/[\x00-\x1f"\\\x7f-\xff]/g, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, "0")}`);
  return bytes.length > 48 ? `"${text}..." (${bytes.length} bytes)` : `"${text}"`;
}
