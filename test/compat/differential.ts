/**
 * The same random requests to two servers, and a word-for-word comparison of their answers.
 *
 *   node dist/test/compat/differential.js [--seed S] [--requests N] [--left SERVER] [--right SERVER]
 *
 * Answers must be equal in every byte but for what belongs to one member: cluster and member ID and raft term in the header;
 * in the answers of Status, MemberList, HashKV and Alarm also sizes, raft indexes, addresses and IDs. Errors must be equal in
 * code and text. The first request whose answers differ ends the run, so the seed and its number are the shortest story that
 * the seed tells.
 */
import { setTimeout as pause } from "node:timers/promises";
import type { ServerBinary } from "../support/binaries.js";
import { METHODS, revisionOf, type Answer, type EtcdClient } from "../support/client.js";
import { describeRefusals, Disagreement, runComparison } from "../support/comparison-command.js";
import { decode, describeMessage, encode, wireFields, type Message } from "../support/messages.js";
import { SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { nextRequest, type Request } from "./requests.js";

/** How a comparison went. */
export interface Comparison {
  readonly seed: number;
  readonly requests: number;
  /** Requests that both servers refused. */
  readonly refused: number;
  /** Each refusal seen, by its text, with its count: says how far the mistakes reached. */
  readonly refusals: ReadonlyMap<string, number>;
  readonly revision: number;
}

/** gRPC's code for "the server cannot be reached". */
const UNAVAILABLE = 14;

/** A server ended during the run: the request before is the one that ended it. */
export class ServerGone extends Error {
  constructor(seed: number, number: number, request: Request | undefined, text: string) {
    const told = request === undefined ? "none" : `${request.method} ${describeMessage(request.message)}`;
    super(`a server is gone after request ${number} of seed ${seed}: ${text}\nthe request before: ${told}`);
  }
}

const HASH_ATTEMPTS = 1_200; // a minute: on a busy disk a compaction takes seconds
const HASH_PAUSE_MS = 50;

/** Sends `requests` random requests to both servers. @throws Disagreement at the first difference */
export async function compareServers(
  options: { readonly seed: number; readonly requests: number },
  left: EtcdClient,
  right: EtcdClient,
): Promise<Comparison> {
  const random = new SeededRandom(options.seed);
  const refusals = new Map<string, number>();
  let view = { revision: 1, compacted: 0 };
  let refused = 0;
  let previous: Request | undefined;
  for (let number = 1; number <= options.requests; number++) {
    const request = nextRequest(random, view);
    const { path, request: name, response } = METHODS[request.method];
    const bytes = encode(name, request.message);
    const ask = async (): Promise<[Answer, Answer]> => Promise.all([left.send(path, bytes), right.send(path, bytes)]);
    let [first, second] = await ask();
    // etcd keeps the hash that a compaction computed in the background and answers HashKV of that very revision with it from
    // then on. Until the compaction has ended on both sides the answers may differ; asking again is all a client can do.
    for (let again = 0; again < HASH_ATTEMPTS; again++) {
      if (request.method !== "HashKV" || comparable(request, first) === comparable(request, second)) break;
      await pause(HASH_PAUSE_MS);
      [first, second] = await ask();
    }
    for (const answer of [first, second]) {
      if (answer.kind === "error" && answer.code === UNAVAILABLE && answer.text.startsWith("No connection")) {
        throw new ServerGone(options.seed, number - 1, previous, answer.text);
      }
    }
    if (comparable(request, first) !== comparable(request, second)) {
      throw new Disagreement(
        { play: "differential", ...options, requests: number },
        `${request.method} ${describeMessage(request.message)}`,
        describeAnswer(request, first),
        describeAnswer(request, second),
      );
    }
    previous = request;
    if (first.kind === "error") {
      refused++;
      const text = `${request.method}: code ${first.code}: ${first.text}`;
      refusals.set(text, (refusals.get(text) ?? 0) + 1);
    } else {
      const answer = decode(response, first.bytes);
      view = { ...view, revision: Math.max(view.revision, revisionOf(answer)) };
      if (request.method === "Compact") view = { ...view, compacted: Number(request.message["revision"]) };
    }
  }
  return { seed: options.seed, requests: options.requests, refused, refusals, revision: view.revision };
}

/** What must be equal of an answer, as text. */
export function comparable(request: Request, answer: Answer): string {
  if (answer.kind === "error") return `${answer.code} ${answer.text}`;
  switch (request.method) {
    case "Range":
    case "Put":
    case "DeleteRange":
    case "Txn":
    case "Compact":
    case "Defragment":
    case "Downgrade":
    case "MoveLeader":
      return withoutMember(answer.bytes);
    case "HashKV":
      return withoutMember(answer.bytes, HASH_REVISION);
    case "LeaseGrant":
    case "LeaseRevoke":
      return withoutMember(answer.bytes);
    case "LeaseTimeToLive":
    case "LeaseLeases":
      return describeMessage(withoutTime(decode(METHODS[request.method].response, answer.bytes)));
    case "Status":
    case "Alarm":
    case "MemberList":
    case "MemberAdd":
    case "MemberRemove":
    case "MemberUpdate":
    case "MemberPromote":
      return describeMessage(maskMember(decode(METHODS[request.method].response, answer.bytes)));
  }
}

/** Field of a HashKV response that etcd 3.6 added. Walnut serves what 3.6 and 3.7 added; the reference is 3.5. */
const HASH_REVISION = 4;

/** The bytes of a response in hex, without the header's cluster ID, member ID and raft term, and without one `added` field. */
function withoutMember(bytes: Uint8Array, added?: number): string {
  const hex: string[] = [];
  for (const field of wireFields(bytes)) {
    if (field.number === added) continue;
    if (field.number === 1 && field.wireType === 2) {
      const kept = [...wireFields(field.bytes)].filter(({ number }) => number !== 1 && number !== 2 && number !== 4);
      hex.push(`header(${kept.map(({ number, value }) => `${number}=${value}`).join(" ")})`);
    } else {
      hex.push(`${field.number}:${field.wireType}=${field.value}${Buffer.from(field.bytes).toString("hex")}`);
    }
  }
  return hex.join(" ");
}

/** Fields whose values belong to one member or one moment; their presence is still compared. */
export const OF_ONE_MEMBER: ReadonlySet<string> = new Set(
  "cluster_id member_id raft_term ID memberID leader raftIndex raftTerm raftAppliedIndex dbSize dbSizeInUse version peerURLs clientURLs".split(
    " ",
  ),
);

function maskMember(message: Message): Message {
  const masked: Record<string, Message[string]> = {};
  for (const [field, value] of Object.entries(message)) {
    if (OF_ONE_MEMBER.has(field)) masked[field] = "masked";
    else if (Array.isArray(value)) masked[field] = maskAll(value);
    else masked[field] = isMessage(value) ? maskMember(value) : value;
  }
  return masked;
}

/** Members come in the order of their IDs, which are chance. */
function maskAll(list: readonly Message[string][]): Message[] {
  const masked = list.map((item) => (isMessage(item) ? maskMember(item) : item)) as Message[];
  return masked.sort((a, b) => (describeMessage(a) < describeMessage(b) ? -1 : 1));
}

/** What is left of a lease differs by the moment; its keys, and leases of about the same time, come in no order from etcd. */
function withoutTime(message: Message): Message {
  const { header, TTL, keys, leases, ...rest } = message;
  const sorted = (list: Message[string]): string[] => {
    const items = Array.isArray(list) ? (list as readonly (Uint8Array | Message)[]) : [];
    return items.map((item) => (item instanceof Uint8Array ? hexOf(item) : describeMessage(item))).sort();
  };
  return {
    ...rest,
    revision: (header as Message)["revision"],
    left: Number(TTL ?? 0) > 0 ? "some" : TTL,
    keys: sorted(keys),
    leases: sorted(leases),
  };
}

const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

const isMessage = (value: unknown): value is Message =>
  typeof value === "object" && value !== null && !(value instanceof Uint8Array) && !Array.isArray(value);

function describeAnswer(request: Request, answer: Answer): string {
  if (answer.kind === "error") return `error, code ${answer.code}: ${answer.text}`;
  const hex = Buffer.from(answer.bytes.subarray(0, 256)).toString("hex");
  return `${describeMessage(decode(METHODS[request.method].response, answer.bytes))}\n            bytes ${hex}`;
}

/** Starts both servers on empty folders and compares them. */
export async function compareFresh(
  options: { readonly seed: number; readonly requests: number },
  left: ServerBinary,
  right: ServerBinary,
): Promise<Comparison> {
  return Stage.with(async (stage) => {
    const servers = await Promise.all([stage.seat(), stage.seat()]);
    const [first, second] = await Promise.all([stage.start(left, servers[0]), stage.start(right, servers[1])]);
    return compareServers(options, first.client, second.client);
  });
}

if (process.argv[1] === import.meta.filename) {
  await runComparison({ requests: 2_000 }, async ({ left, right, ...options }) => {
    const { requests, refused, refusals, revision } = await compareFresh(options, left, right);
    return [
      ...describeRefusals(refusals),
      `equal: ${requests} requests, ${refused} of them refused alike, revision ${revision}`,
    ];
  });
}
