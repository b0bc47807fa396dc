/**
 * Random JSON requests to two servers' gateways, and a comparison of their answers: right ones, odd ones, and texts that were broken at
 * random places.
 *
 *   node dist/test/compat/gateway-differential.js [--seed S] [--requests N] [--left SERVER] [--right SERVER]
 *
 * What is compared is told in `test/support/gateway.ts`. The first request whose answers differ ends the run.
 */
import type { ServerBinary } from "../support/binaries.js";
import { Disagreement, runComparison } from "../support/comparison-command.js";
import { askGateway, describeGatewayAnswer, type GatewayRequest } from "../support/gateway.js";
import { SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";

export interface GatewayComparison {
  readonly seed: number;
  readonly requests: number;
  readonly statuses: ReadonlyMap<number, number>;
}

/** @throws Disagreement at the first difference */
export async function compareGateways(
  options: { readonly seed: number; readonly requests: number },
  left: string,
  right: string,
): Promise<GatewayComparison> {
  const random = new SeededRandom(options.seed);
  const statuses = new Map<number, number>();
  for (let number = 1; number <= options.requests; number++) {
    const request = nextGatewayRequest(random);
    const answers = await Promise.all([askGateway(left, request), askGateway(right, request)]);
    const [expected, found] = answers.map((answer) => describeGatewayAnswer(answer, request.masked));
    if (expected !== found) {
      const body = JSON.stringify(Buffer.from(request.body ?? "").toString("latin1")).slice(0, 2_000);
      const run = { play: "gateway-differential", ...options, requests: number };
      throw new Disagreement(run, `${request.path} ${body}`, expected!, found!);
    }
    const { status } = answers[0];
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
  }
  return { ...options, statuses };
}

type Make = (random: SeededRandom) => string;

const KEYS = ["a", "b", "c", "d/e", "", "\0", "é", "ÿÿ"];

const bytes: Make = (random) => {
  const raw = random.oneIn(3)
    ? Buffer.from(random.bytes(random.between(0, 9)))
    : Buffer.from(random.pick(KEYS), "latin1");
  const text = raw.toString(random.oneIn(4) ? "base64url" : "base64");
  return JSON.stringify(random.oneIn(12) ? text.replace(/=+$/, "") : text);
};

const number: Make = (random) => {
  const value = random.weighted<() => string>([
    [6, () => String(random.between(-2, 12))],
    [1, () => `${random.between(0, 9)}e${random.between(-3, 4)}`],
    [1, () => `${random.between(0, 30)}.${random.between(0, 30)}`],
    [1, () => `${random.between(0, 9)}.${random.between(0, 90)}e${random.between(-2, 20)}`],
    [1, () => String(2n ** 63n - BigInt(random.between(-2, 3)))],
    [1, () => String(-(2n ** 63n) + BigInt(random.between(-2, 3)))],
  ])();
  return random.oneIn(2) ? `"${value}"` : value;
};

const bool: Make = (random) => random.pick(["true", "false"]);
const oneOf =
  (...names: readonly string[]): Make =>
  (random) =>
    random.oneIn(3) ? String(random.between(-1, names.length + 1)) : `"${random.pick([...names, "NOTHING"])}"`;

/** A value of no kind in particular. */
const anything: Make = (random) =>
  random.pick([
    "null",
    "true",
    "5",
    '"x"',
    "[]",
    "{}",
    "[1,2]",
    '{"a":{"b":[null]}}',
    "-1.5e3",
    '"\\u0061\\ud83d\\ude00"',
    '""',
  ]);

/** An object with some of the fields, under either of their names, in any order, now and then with one that is none. */
function object(random: SeededRandom, fields: Readonly<Record<string, Make>>, share = 2): string {
  const names = Object.keys(fields).filter(() => !random.oneIn(share));
  for (let i = names.length - 1; i > 0; i--) {
    const j = random.between(0, i + 1);
    [names[i], names[j]] = [names[j]!, names[i]!];
  }
  const members = names.map((name) => {
    const camel = name.replaceAll(/_(.)/g, (_, letter: string) => letter.toUpperCase());
    const value = random.oneIn(25) ? anything(random) : fields[name]!(random);
    return `${JSON.stringify(random.oneIn(3) ? camel : name)}${random.oneIn(8) ? " " : ""}:${random.oneIn(8) ? "\n" : ""}${value}`;
  });
  if (random.oneIn(20)) members.push(`"extra":${anything(random)}`);
  if (random.oneIn(40) && members.length > 0) members.push(members[0]!);
  return `{${members.join(random.oneIn(6) ? " , " : ",")}}`;
}

const list =
  (make: Make, max: number): Make =>
  (random) =>
    `[${Array.from({ length: random.between(0, max) }, () => make(random)).join(",")}]`;

const RANGE: Readonly<Record<string, Make>> = {
  key: bytes,
  range_end: bytes,
  limit: number,
  revision: number,
  sort_order: oneOf("NONE", "ASCEND", "DESCEND"),
  serializable: bool,
  keys_only: bool,
  count_only: bool,
  min_mod_revision: number,
  max_mod_revision: number,
  min_create_revision: number,
  max_create_revision: number,
};
const PUT: Readonly<Record<string, Make>> = {
  key: bytes,
  value: bytes,
  prev_kv: bool,
  ignore_value: (random) => (random.oneIn(4) ? "true" : "false"),
  ignore_lease: (random) => (random.oneIn(4) ? "true" : "false"),
};
const DELETE: Readonly<Record<string, Make>> = { key: bytes, range_end: bytes, prev_kv: bool };

const range: Make = (random) => object(random, RANGE, 2);
const put: Make = (random) => object(random, PUT, 5);
const deleteRange: Make = (random) => object(random, DELETE, 3);

const compare: Make = (random) =>
  object(
    random,
    {
      key: bytes,
      result: oneOf("EQUAL", "GREATER", "LESS", "NOT_EQUAL"),
      target: oneOf("VERSION", "CREATE", "MOD", "VALUE", "LEASE"),
      ...(random.oneIn(2) ? { version: number } : { value: bytes }),
      ...(random.oneIn(8) ? { mod_revision: number } : {}),
    },
    6,
  );

const operation =
  (depth: number): Make =>
  (random) =>
    random.weighted<() => string>([
      [4, () => `{"request_range":${range(random)}}`],
      [4, () => `{"request_put":${put(random)}}`],
      [2, () => `{"requestDeleteRange":${deleteRange(random)}}`],
      [depth < 3 ? 1 : 0, () => `{"request_txn":${txn(random, depth + 1)}}`],
      [1, () => anything(random)],
    ])();

const txn = (random: SeededRandom, depth = 0): string =>
  object(
    random,
    { compare: list(compare, 3), success: list(operation(depth), 4), failure: list(operation(depth), 4) },
    5,
  );

const leaseId: Make = (random) => `"${random.between(1, 6)}"`;

const REQUESTS: readonly (readonly [weight: number, path: string, make: Make, masked?: readonly string[]])[] = [
  [20, "kv/put", put],
  [20, "kv/range", range],
  [6, "kv/deleterange", deleteRange],
  [18, "kv/txn", (random) => txn(random)],
  [2, "lease/grant", (random) => `{"TTL":${random.pick(["1000", '"1e3"', "1000.0"])},"ID":${leaseId(random)}}`],
  [1, "lease/revoke", (random) => object(random, { ID: leaseId }, 9)],
  [2, "lease/timetolive", (random) => object(random, { ID: leaseId, keys: bool }), ["TTL"]],
  [1, "lease/leases", (random) => object(random, {}), ["leases"]],
  [
    2,
    "lease/keepalive",
    (random) =>
      list(
        leaseId,
        4,
      )(random)
        .replaceAll(/"\d+"/g, (id) => `{"ID":${id}}`)
        .replaceAll(/[[\],]/g, " "),
  ],
  [2, "cluster/member/remove", (random) => object(random, { ID: number }, 9)],
  [2, "auth/user/get", (random) => object(random, { name: anything }, 9)],
  [
    2,
    "auth/role/grant",
    (random) =>
      object(
        random,
        {
          name: () => '"r"',
          perm: (inner) => object(inner, { permType: oneOf("READ", "WRITE"), key: bytes, range_end: bytes }),
        },
        9,
      ),
  ],
  [1, "maintenance/hashkv", (random) => object(random, { revision: number }), ["hash", "compact_revision"]],
];

function nextGatewayRequest(random: SeededRandom): GatewayRequest & { readonly masked?: readonly string[] } {
  const [, path, make, masked = []] = random.weighted(REQUESTS.map((row) => [row[0], row] as const));
  const text = Buffer.from(make(random));
  // A stream whose text is broken is told by Walnut, and by etcd is not; a lease without its ID or its time would be chance's.
  const body = random.oneIn(5) && path !== "lease/keepalive" && path !== "lease/grant" ? broken(random, text) : text;
  return { path: `/v3/${path}`, body, masked };
}

/** One byte less, more, or another. */
function broken(random: SeededRandom, text: Buffer): Buffer {
  const at = random.between(0, text.length + 1);
  const other = Buffer.from(
    random.oneIn(3) ? random.bytes(1) : Buffer.from(random.pick('{}[]":,\\0-.eEtfn \n\t'.split(""))),
  );
  switch (random.between(0, 4)) {
    case 0:
      return text.subarray(0, at);
    case 1:
      return Buffer.concat([text.subarray(0, at), text.subarray(at + 1)]);
    case 2:
      return Buffer.concat([text.subarray(0, at), other, text.subarray(at)]);
    default:
      return Buffer.concat([text.subarray(0, at), other, text.subarray(at + 1)]);
  }
}

/** Starts both servers on empty folders and compares them. */
export async function compareFreshGateways(
  options: { readonly seed: number; readonly requests: number },
  left: ServerBinary,
  right: ServerBinary,
): Promise<GatewayComparison> {
  return Stage.with(async (stage) => {
    const seats = await Promise.all([stage.seat(), stage.seat()]);
    const [first, second] = await Promise.all([stage.start(left, seats[0]), stage.start(right, seats[1])]);
    return compareGateways(options, first.address, second.address);
  });
}

if (process.argv[1] === import.meta.filename) {
  await runComparison({ requests: 2_000 }, async ({ left, right, ...options }) => {
    const { requests, statuses } = await compareFreshGateways(options, left, right);
    return [`equal: ${requests} requests; by status: ${JSON.stringify(Object.fromEntries(statuses))}`];
  });
}
