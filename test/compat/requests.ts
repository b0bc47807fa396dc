/**
 * Random requests of the kind that clients send, mistakes included. The same seed and the same answers give the same
 * requests.
 */
import type { Method } from "../support/client.js";
import { asBytes } from "../support/client.js";
import type { Message } from "../support/messages.js";
import type { SeededRandom } from "../support/random.js";

/** A request to be sent to both servers. */
export interface Request {
  readonly method: Method;
  readonly message: Message;
}

/** What the generator knows of the store, learned from the answers of the server that is right. */
export interface StoreView {
  readonly revision: number;
  readonly compacted: number;
}

const INT64_MAX = 2n ** 63n - 1n;
const MIB = 2 ** 20;
const TXN_OPERATIONS_MAX = 128;
const TXN_DEPTH_MAX = 3;

/** Few keys, so that requests meet; edges of the byte order among them. */
const NUMBERED = Array.from({ length: 24 }, (_, i) => `k${String(i).padStart(2, "0")}`);
const KEYS = [...NUMBERED, "a", "a\0", "aa", "ab", "b", "dir/", "dir/x", "dir/y/z", "é", "\0", "\0\0"].map(asBytes);
const ODD_KEYS = [
  Uint8Array.of(0xff),
  Uint8Array.of(0xff, 0xff),
  Uint8Array.of(0x80, 0),
  new Uint8Array(300).fill(0x6b),
];

/** The next request. One that the process of real etcd 3.5 may die of is none: tests of their own ask those. */
export function nextRequest(random: SeededRandom, view: StoreView): Request {
  for (;;) {
    const request = anyRequest(random, view);
    if (!(request.method === "Txn" && mayEndEtcd(request.message))) return request;
  }
}

/**
 * Whether a transaction puts a key that keeps its value or lease, and deletes "from the key on". etcd refuses a put of what the same
 * transaction deletes, but it does not see where such a range ends: the put then finds no key, and the process dies.
 */
function mayEndEtcd(txn: Message): boolean {
  const operations = operationsOf(txn);
  const deletesOn = operations.some(({ request_delete_range: range }) => {
    const end = (range as Message | undefined)?.["range_end"] as Uint8Array | undefined;
    return end?.length === 1 && end[0] === 0;
  });
  const keeps = ({ request_put: put }: Message): boolean =>
    put !== undefined && ((put as Message)["ignore_value"] === true || (put as Message)["ignore_lease"] === true);
  return deletesOn && operations.some(keeps);
}

/** Of both branches, and of the transactions in them. */
function operationsOf(txn: Message): Message[] {
  const own = [txn["success"], txn["failure"]].flatMap((branch) => (branch ?? []) as readonly Message[]);
  const nested = own.flatMap(({ request_txn: inner }) => (inner === undefined ? [] : operationsOf(inner as Message)));
  return [...own, ...nested];
}

function anyRequest(random: SeededRandom, view: StoreView): Request {
  const make = random.weighted<() => Request>([
    [34, () => ({ method: "Put", message: put(random) })],
    [26, () => ({ method: "Range", message: range(random, view) })],
    [9, () => ({ method: "DeleteRange", message: deleteRange(random) })],
    [22, () => ({ method: "Txn", message: txn(random, view, 0) })],
    [3, () => ({ method: "Compact", message: compaction(random, view) })],
    [4, () => ({ method: "HashKV", message: { revision: revision(random, view) } })],
    [3, () => ({ method: "LeaseGrant", message: leaseGrant(random) })],
    [1, () => ({ method: "LeaseRevoke", message: { ID: leaseId(random) } })],
    [2, () => ({ method: "LeaseTimeToLive", message: { ID: leaseId(random), keys: random.oneIn(2) } })],
    [1, () => ({ method: "LeaseLeases", message: {} })],
    [1, () => ({ method: "Status", message: {} })],
    [1, () => ({ method: "MemberList", message: { linearizable: random.oneIn(2) } })],
    [1, () => ({ method: "Alarm", message: alarm(random) })],
  ]);
  return make();
}

/** A key: mostly one of few, seldom none. */
export function key(random: SeededRandom): Uint8Array {
  if (random.oneIn(40)) return new Uint8Array();
  return random.oneIn(12) ? random.pick(ODD_KEYS) : random.pick(KEYS);
}

/** An end of a range: none, everything after, a prefix's end, another key, which may lie before the first. */
export function rangeEnd(random: SeededRandom, first: Uint8Array): Uint8Array {
  switch (random.between(0, 7)) {
    case 0:
    case 1:
      return new Uint8Array();
    case 2:
      return Uint8Array.of(0);
    case 3:
    case 4:
      return prefixEnd(first);
    case 5:
      return first;
    default:
      return key(random);
  }
}

/** The first key after all that begin with `prefix`. */
function prefixEnd(prefix: Uint8Array): Uint8Array {
  for (let i = prefix.length - 1; i >= 0; i--) {
    if (prefix[i]! < 0xff) return Uint8Array.from([...prefix.subarray(0, i), prefix[i]! + 1]);
  }
  return Uint8Array.of(0);
}

function value(random: SeededRandom): Uint8Array {
  // Past 1.5 MiB the server refuses; past 2 MiB the transport does.
  if (random.oneIn(300))
    return new Uint8Array(random.pick([1.5 * MIB - 4096, 1.5 * MIB, 1.6 * MIB, 2.1 * MIB])).fill(0x76);
  if (random.oneIn(10)) return new Uint8Array();
  return random.bytes(random.oneIn(30) ? 4096 : random.between(1, 24));
}

function put(random: SeededRandom): Message {
  const message = { key: key(random), value: value(random), prev_kv: random.oneIn(5) };
  if (random.oneIn(8)) return { ...message, lease: leaseId(random) };
  // ignore_value asks for an empty value and a key that is there; both mistakes are made.
  if (random.oneIn(15))
    return { ...message, ignore_value: true, value: random.oneIn(3) ? message.value : new Uint8Array() };
  if (random.oneIn(20)) return { ...message, ignore_lease: true, lease: random.oneIn(3) ? 12 : 0 };
  if (random.oneIn(60)) return { ...message, ignore_value: true, ignore_lease: true, value: new Uint8Array() };
  return message;
}

/** Few, so that leases meet; 0 is left out where a server would choose one. */
function leaseId(random: SeededRandom): number | bigint {
  return random.pick([1, 2, 3, 77n, INT64_MAX, -5n]);
}

/** Times are long enough for none to run out in the course, or too long. */
function leaseGrant(random: SeededRandom): Message {
  const TTL = random.oneIn(8) ? random.pick([9_000_000_000, 9_000_000_001, INT64_MAX]) : random.between(50_000, 90_000);
  return { ID: leaseId(random), TTL };
}

/** A revision to read at: mostly the newest, else one in the past, compacted, at the edge, in the future, negative, huge. */
function revision(random: SeededRandom, view: StoreView): number | bigint {
  return random.weighted<() => number | bigint>([
    [50, () => 0],
    [24, () => random.between(view.compacted, view.revision + 1)],
    [5, () => view.revision],
    [4, () => view.compacted],
    [4, () => view.compacted - 1],
    [3, () => view.compacted + 1],
    [4, () => view.revision + 1],
    [2, () => view.revision + 1_000_000],
    [2, () => -random.between(1, 10)],
    [1, () => INT64_MAX],
    [1, () => -INT64_MAX - 1n],
  ])();
}

function bound(random: SeededRandom, view: StoreView): number | bigint {
  if (!random.oneIn(6)) return 0;
  return random.oneIn(12)
    ? random.pick<number | bigint>([-1, INT64_MAX, -INT64_MAX - 1n])
    : random.between(0, view.revision + 3);
}

function range(random: SeededRandom, view: StoreView): Message {
  const target = random.oneIn(3) ? random.pick([0, 1, 2, 3, 4]) : 0;
  const [first, end] = target === 0 ? span(random) : fewKeys(random);
  return {
    key: first,
    range_end: end,
    limit: random.oneIn(3) ? random.pick<number | bigint>([1, 2, 3, 5, 100, -1, -100, INT64_MAX, INT64_MAX - 1n]) : 0,
    revision: revision(random, view),
    // 3 and -1 are no order. A target past 4 is left out here: the process of real etcd 3.5 dies of it.
    sort_order: random.oneIn(3) ? random.pick([1, 2, 1, 2, 0, 3, -1]) : 0,
    sort_target: target,
    serializable: random.oneIn(4),
    keys_only: random.oneIn(6),
    count_only: random.oneIn(8),
    min_mod_revision: bound(random, view),
    max_mod_revision: bound(random, view),
    min_create_revision: bound(random, view),
    max_create_revision: bound(random, view),
  };
}

function span(random: SeededRandom): readonly [Uint8Array, Uint8Array] {
  const first = random.oneIn(10) ? Uint8Array.of(0) : key(random);
  return [first, random.oneIn(4) ? Uint8Array.of(0) : rangeEnd(random, first)];
}

/**
 * Spans of at most twelve keys. Among keys that are equal in what is sorted by, etcd promises no order: up to twelve Go's sort
 * keeps the order of the keys, past that it is an accident of its algorithm. A test of its own sorts many keys.
 */
function fewKeys(random: SeededRandom): readonly [Uint8Array, Uint8Array] {
  const spans = [
    ["k0", "k1"],
    ["k1", "k2"],
    ["k15", "k24"],
    ["a", "c"],
    ["dir/", "dir0"],
    ["k05", "k05"],
    ["k20", ""],
  ] as const;
  const [first, end] = random.pick(spans);
  return [asBytes(first), asBytes(end)];
}

function deleteRange(random: SeededRandom): Message {
  const first = key(random);
  // Deleting everything too often would leave nothing to ask for.
  const end = random.oneIn(2) ? new Uint8Array() : rangeEnd(random, first);
  const everything = end.length === 1 && end[0] === 0;
  return { key: first, range_end: everything && !random.oneIn(8) ? prefixEnd(first) : end, prev_kv: random.oneIn(2) };
}

function compare(random: SeededRandom, view: StoreView): Message {
  const first = key(random);
  const target = random.between(0, 5);
  const number = random.oneIn(10) ? -1 : random.oneIn(3) ? random.between(0, view.revision + 2) : random.between(0, 4);
  const union: Message = [
    { version: number },
    { create_revision: number },
    { mod_revision: number },
    { value: value(random).subarray(0, 64) },
    { lease: random.pick([0, 0, 7]) },
  ][target]!;
  return {
    key: first,
    range_end: random.oneIn(4) ? rangeEnd(random, first) : new Uint8Array(),
    result: random.oneIn(40) ? random.pick([4, -1, 99]) : random.between(0, 4),
    target: random.oneIn(40) ? random.pick([5, 77]) : target,
    ...(random.oneIn(25) ? {} : union),
  };
}

function operation(random: SeededRandom, view: StoreView, depth: number): Message {
  return random.weighted<() => Message>([
    [40, () => ({ request_put: put(random) })],
    [30, () => ({ request_range: range(random, view) })],
    [18, () => ({ request_delete_range: deleteRange(random) })],
    [depth < TXN_DEPTH_MAX ? 12 : 0, () => ({ request_txn: txn(random, view, depth + 1) })],
    [1, () => ({})],
  ])();
}

function operations(random: SeededRandom, view: StoreView, depth: number): Message[] {
  if (depth === 0 && random.oneIn(60)) {
    const count = random.pick([TXN_OPERATIONS_MAX, TXN_OPERATIONS_MAX + 1]);
    return Array.from({ length: count }, (_, i) => ({
      request_put: { key: asBytes(`many/${i}`), value: asBytes("v") },
    }));
  }
  const made = Array.from({ length: random.between(0, depth === 0 ? 5 : 3) }, () => operation(random, view, depth));
  // The same key twice is a mistake; with random keys it would be rare.
  return random.oneIn(15) && made.length > 0 ? [...made, made[0]!] : made;
}

function txn(random: SeededRandom, view: StoreView, depth: number): Message {
  const many = depth === 0 && random.oneIn(150);
  return {
    compare: Array.from({ length: many ? TXN_OPERATIONS_MAX + 1 : random.between(0, 3) }, () => compare(random, view)),
    success: operations(random, view, depth),
    failure: operations(random, view, depth),
  };
}

function compaction(random: SeededRandom, view: StoreView): Message {
  const at = random.weighted<() => number | bigint>([
    [4, () => random.between(view.compacted, view.revision + 1)],
    [2, () => Math.max(1, view.revision - 20)],
    [1, () => view.compacted],
    [1, () => view.compacted - 5],
    [1, () => view.revision],
    [1, () => view.revision + 1],
    [1, () => 0],
    [1, () => random.pick([-7n, INT64_MAX])],
  ])();
  return { revision: at, physical: random.oneIn(2) };
}

function alarm(random: SeededRandom): Message {
  // Alarms are only asked for and switched off; switching one on would end the run's writes.
  return random.oneIn(3) ? { action: 2, alarm: random.pick([0, 1, 2]), memberID: random.pick([0, 5]) } : { action: 0 };
}
