/**
 * What `npm run bench` plays under load: one list. A scenario says what the store holds before, which calls are made and how many are in
 * flight; what is measured and checked is the same for all.
 *
 * Watches and renewals of leases are left out: their calls are streams, which the generator's connection does not make (`watch.ts` has its own).
 */
import type { Message } from "../test/support/messages.js";
import { keyOf, kvRequest, type KeyChoice, type RequestKind } from "./load/requests.js";

/** A call of a scenario. */
export interface ScenarioCall {
  readonly request: RequestKind;
  /** By so much the store's revision grows for each answer. */
  readonly revisions: number;
}

export interface LoadScenario {
  /** On the command line. */
  readonly name: string;
  /** In tables. */
  readonly title: string;
  readonly inFlight: number;
  /** The store holds so many keys with values of 256 bytes before; 0 is a store that nothing but this scenario has seen. */
  readonly keysBefore: number;
  readonly calls: readonly ScenarioCall[];
  /** Over TLS, with a certificate as `--auto-tls` makes it; without where left out. */
  readonly secure?: boolean;
  /** Played only when it is named. */
  readonly onRequest?: boolean;
}

const VALUE_BYTES = 256;
const MANY_KEYS = 100_000;
const PAGE_KEYS = 1_000;
/** Puts in one transaction of a batch: etcd allows 128 operations, and 125 divide a million. */
export const BATCH_PUTS = 125;

/** etcd's numbers for "the create revision is greater than". */
const CREATE = 1;
const GREATER = 1;

/** Values are the same over runs, and do not compress. None holds what a key begins with. */
function valueOf(bytes: number): Uint8Array {
  let state = 1;
  return Uint8Array.from({ length: bytes }, () => (state = (state * 48_271) % 0x7fff_ffff) & 0xff);
}

function put(keys: KeyChoice, valueBytes: number, weight = 1): ScenarioCall {
  const request = kvRequest("Put", { key: keyOf(0), value: valueOf(valueBytes) }, keys, { weight });
  return { request, revisions: 1 };
}

function get(serializable: boolean, weight = 1): ScenarioCall {
  const message = { key: keyOf(0), serializable };
  const expected = { weight, answerBytesMin: VALUE_BYTES };
  return { request: kvRequest("Range", message, { kind: "random", count: MANY_KEYS }, expected), revisions: 0 };
}

function page(): ScenarioCall {
  const message = { key: keyOf(0), range_end: keyOf(PAGE_KEYS) };
  const choice: KeyChoice = { kind: "random", count: MANY_KEYS - PAGE_KEYS };
  return { request: kvRequest("Range", message, choice, { answerBytesMin: PAGE_KEYS * VALUE_BYTES }), revisions: 0 };
}

/** "If the key is there, put it; if not, read it", as those do who must not write to what was deleted. */
function transaction(): ScenarioCall {
  const message: Message = {
    compare: [{ target: CREATE, result: GREATER, key: keyOf(0), create_revision: 0 }],
    success: [{ request_put: { key: keyOf(0), value: valueOf(VALUE_BYTES) } }],
    failure: [{ request_range: { key: keyOf(0) } }],
  };
  const request = kvRequest("Txn", message, { kind: "random", count: MANY_KEYS });
  return { request, revisions: 1 };
}

/** Puts that fill a store: `BATCH_PUTS` keys one after the other in a transaction. */
export function batch(valueBytes = VALUE_BYTES): ScenarioCall {
  const value = valueOf(valueBytes);
  const success = Array.from({ length: BATCH_PUTS }, (_, i) => ({ request_put: { key: keyOf(i), value } }));
  const request = kvRequest("Txn", { success }, { kind: "sequence", step: BATCH_PUTS });
  return { request, revisions: 1 };
}

/** A put of a few bytes that adds no key to those that `batch` made. */
export const smallPut = (): ScenarioCall => put({ kind: "fixed" }, 8);

/** A put as most scenarios make it. */
export const valuePut = (): ScenarioCall => put({ kind: "random", count: MANY_KEYS }, VALUE_BYTES);

const KEYS = {
  fixed: { title: "one key", choice: { kind: "fixed" } },
  random: { title: "100,000 random keys", choice: { kind: "random", count: MANY_KEYS } },
} as const satisfies Record<string, { title: string; choice: KeyChoice }>;
const SIZES = { "256": { title: "256 B", bytes: 256 }, "4k": { title: "4 KB", bytes: 4096 } } as const;
const IN_FLIGHT = [1, 100, 1_000];

const count = (value: number): string => value.toLocaleString("en-US");

const puts: LoadScenario[] = Object.entries(SIZES).flatMap(([size, { title: sizeTitle, bytes }]) =>
  Object.entries(KEYS).flatMap(([kind, { title, choice }]) =>
    IN_FLIGHT.map((inFlight) => ({
      name: `put-${size}-${kind}-${inFlight}`,
      title: `put, ${title}, ${sizeTitle}, ${count(inFlight)} in flight`,
      inFlight,
      keysBefore: 0,
      calls: [put(choice, bytes)],
    })),
  ),
);

const gets: LoadScenario[] = [false, true].flatMap((serializable) =>
  IN_FLIGHT.map((inFlight) => ({
    name: `get-${serializable ? "serializable" : "linearizable"}-${inFlight}`,
    title: `get, ${serializable ? "serializable" : "linearizable"}, ${count(inFlight)} in flight`,
    inFlight,
    keysBefore: MANY_KEYS,
    calls: [get(serializable)],
  })),
);

/** Whether puts become slower as the store grows: named together, they are compared with each other. */
const growth: LoadScenario[] = [10_000, 2_000_000].map((keys) => ({
  name: `growth-${keys}`,
  title: `put, ${count(keys)} keys in the store, 256 B, 100 in flight`,
  inFlight: 100,
  keysBefore: keys,
  calls: [put({ kind: "random", count: keys }, VALUE_BYTES)],
  onRequest: true,
}));

export const LOAD_SCENARIOS: readonly LoadScenario[] = [
  ...puts,
  ...gets,
  {
    name: "range-1000-keys",
    title: "range of 1,000 keys, linearizable, 10 in flight",
    inFlight: 10,
    keysBefore: MANY_KEYS,
    calls: [page()],
  },
  {
    name: "txn",
    title: "txn: compare, put, 100 in flight",
    inFlight: 100,
    keysBefore: MANY_KEYS,
    calls: [transaction()],
  },
  {
    name: "mixed",
    title: "gets and puts 9 : 1, 100 in flight",
    inFlight: 100,
    keysBefore: MANY_KEYS,
    calls: [get(false, 9), put(KEYS.random.choice, VALUE_BYTES)],
  },
  {
    name: "tls-put",
    title: "put over TLS, 100,000 random keys, 256 B, 100 in flight",
    inFlight: 100,
    keysBefore: 0,
    calls: [valuePut()],
    secure: true,
  },
  {
    name: "tls-get",
    title: "get over TLS, linearizable, 100 in flight",
    inFlight: 100,
    keysBefore: MANY_KEYS,
    calls: [get(false)],
    secure: true,
  },
  ...growth,
];
