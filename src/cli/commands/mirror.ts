/**
 * `make-mirror`: the pairs of one cluster in another one, and then every change of them as it comes.
 *
 * Laws: what one revision changed is changed at once at the destination too, where it fits into a transaction there; changes come in their order;
 * nothing is left out while the source's history reaches back far enough, and where it does not the command ends. What is at the destination already
 * stays, unless the source has the key.
 */
import { type Command, Option } from "commander";
import { concatBytes } from "../../base/bytes.js";
import { mebibytes } from "../../base/units.js";
import { Client, prefixRange } from "../../client/index.js";
import {
  DeleteRangeRequest,
  Event_EventType,
  PutRequest,
  RangeRequest,
  type RequestOp,
  WatchCreateRequest,
  type WatchResponse,
} from "../../proto/index.js";
import { askSecret } from "./auth.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { noOption, parseUser } from "./global-flags.js";
import { startProgress } from "./progress.js";
import { parseInteger } from "./requests.js";
import type { Run, Session } from "./run.js";
import { readTls } from "./tls-files.js";
import { latin1Lines } from "./txn-text.js";

export interface MirrorFlags {
  readonly prefix: string;
  readonly destPrefix: string;
  readonly noDestPrefix?: boolean;
  readonly destCert: string;
  readonly destKey: string;
  readonly destCacert: string;
  readonly destInsecureTransport?: boolean;
  readonly notDestInsecureTransport?: boolean;
  readonly destUser: string;
  readonly destPassword: string;
  readonly rev: number;
  readonly maxTxnOps: number;
}

/** etcd's own limit (`--max-txn-ops`). */
const TXN_OPERATIONS_MAX = 128;
const TOLD_EACH_MS = 30_000;
/** Pairs of one read, at first and at most. A read of large ones is made smaller, for all of it is in memory. */
const PAGE_PAIRS = 100;
const PAGE_PAIRS_MAX = 1_000;
const PAGE_BYTES = mebibytes(4);
/** Puts to the destination that are on their way at once. */
const PUTS_IN_FLIGHT = 32;

const PATIENT = { timeoutMs: Number.POSITIVE_INFINITY };

export function addMirrorFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "destination")
    .usage("[options] <destination>")
    .option("--prefix <prefix>", "mirror the keys with this prefix", "")
    .option("--dest-prefix <prefix>", "what stands at the destination instead of it", "")
    .addOption(noOption("--no-dest-prefix", "leave the prefix out at the destination"))
    .option("--rev <revision>", "mirror the changes from this revision on, and not what was before", parseInteger, 0)
    .option(
      "--max-txn-ops <count>",
      "changes in one transaction at the destination, as its members allow",
      parseInteger,
      TXN_OPERATIONS_MAX,
    )
    .option("--dest-cert <file>", "the client's certificate for the destination", "")
    .option("--dest-key <file>", "its key", "")
    .option("--dest-cacert <file>", "what the destination's certificates are checked against", "")
    .option("--dest-insecure-transport", "no transport security for a destination without https (default true)")
    .addOption(new Option("--not-dest-insecure-transport").hideHelp())
    .option("--dest-user <user>", "username[:password] at the destination", "")
    .option("--dest-password <password>", "the password, when --dest-user has none", "");
}

export const makeMirror: Run<MirrorFlags> = async (session, args, flags) => {
  const [destination] = args;
  if (destination === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "make-mirror takes one destination argument");
  }
  const target = new Client(await targetOptions(session, destination, flags));
  try {
    if (flags.noDestPrefix === true && flags.destPrefix !== "") {
      const sentence = "`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one";
      throw new CommandFailure(ExitCode.badArguments, sentence);
    }
    await mirror(session, target, flags);
  } finally {
    target.close();
  }
};

async function targetOptions({ globals, world }: Session, destination: string, flags: MirrorFlags) {
  const endpoints = destination.split(",").map((endpoint) => endpoint.trim());
  const tls = readTls({
    files: { cert: flags.destCert, key: flags.destKey, cacert: flags.destCacert },
    isOffByDefault: flags.notDestInsecureTransport !== true,
    anyServer: false,
    serverName: "",
  });
  const { tls: _source, user: _user, ...same } = globals.client;
  let user = parseUser(flags.destUser, flags.destPassword);
  if (user !== undefined && flags.destPassword === "" && !flags.destUser.includes(":")) {
    const lines = latin1Lines(world.stdin());
    user = { ...user, password: await askSecret("Destination Password: ", lines, world) };
    await lines.return(undefined); // else an open stdin keeps the process
  }
  return { ...same, endpoints, ...(tls === undefined ? {} : { tls }), ...(user === undefined ? {} : { user }) };
}

async function mirror(session: Session, target: Client, flags: MirrorFlags): Promise<never> {
  const { world, client } = session;
  const prefix = world.argumentBytes(flags.prefix);
  const toTarget = renaming(prefix, flags.noDestPrefix === true, world.argumentBytes(flags.destPrefix));
  const progress = startProgress(world, "mirrored {value} keys, {state}");
  let count = 0;
  const told = world.every(TOLD_EACH_MS, () => world.out(`${count}\n`));
  const tell = (more: number, state: string): void => {
    count += more;
    progress.update(count, count, { state });
  };
  try {
    let from = Math.max(0, flags.rev);
    if (from === 0) {
      const base = await client.range({ ...RangeRequest.create(), key: prefixRange(prefix).key }, PATIENT);
      const revision = base.header?.revision ?? 0;
      from = revision + 1;
      await copyAll(client, target, { prefix, revision, toTarget }, (more) => tell(more, "catching up"));
    }
    const request = { ...WatchCreateRequest.create(), ...prefixRange(prefix), startRevision: from };
    for await (const answer of client.watch(request).answers()) {
      if (answer.canceled) throw new CommandFailure(ExitCode.error, whyEnded(answer));
      for (const operations of transactions(answer, toTarget, Math.max(1, flags.maxTxnOps))) {
        await target.txn({ compare: [], success: operations, failure: [] }, PATIENT);
        tell(operations.length, "following");
      }
    }
    throw new CommandFailure(ExitCode.error, "the watch of the source has ended");
  } finally {
    told();
    progress.stop();
  }
}

function whyEnded({ compactRevision, cancelReason }: WatchResponse): string {
  return compactRevision === 0 ? cancelReason : "etcdserver: mvcc: required revision has been compacted";
}

/** From a key of the source to the destination's. */
export function renaming(prefix: Uint8Array, leaveOut: boolean, instead: Uint8Array): (key: Uint8Array) => Uint8Array {
  if (!leaveOut && instead.length === 0) return (key) => key;
  return (key) => concatBytes([instead, key.subarray(prefix.length)]);
}

/** The pairs of one revision, page by page. */
async function copyAll(
  source: Client,
  target: Client,
  {
    prefix,
    revision,
    toTarget,
  }: { readonly prefix: Uint8Array; readonly revision: number; readonly toTarget: (key: Uint8Array) => Uint8Array },
  tell: (more: number) => void,
): Promise<void> {
  const { key: first, rangeEnd } = prefixRange(prefix);
  let key = first;
  let limit = PAGE_PAIRS;
  for (;;) {
    const { kvs, more } = await source.range({ ...RangeRequest.create(), key, rangeEnd, revision, limit }, PATIENT);
    let next = 0;
    const work = async (): Promise<void> => {
      while (next < kvs.length) {
        const pair = kvs[next++]!;
        await target.put({ ...PutRequest.create(), key: toTarget(pair.key), value: pair.value }, PATIENT);
        tell(1);
      }
    };
    await Promise.all(Array.from({ length: PUTS_IN_FLIGHT }, work));
    if (!more) return;
    limit = nextLimit(
      limit,
      kvs.reduce((sum, pair) => sum + pair.key.length + pair.value.length, 0),
    );
    key = concatBytes([kvs.at(-1)!.key, Uint8Array.of(0)]);
  }
}

/** As many pairs as fill a page, judged by the last one. */
export function nextLimit(limit: number, bytes: number): number {
  const fitting = Math.floor((limit * PAGE_BYTES) / Math.max(1, bytes));
  return Math.max(1, Math.min(fitting, 2 * limit, PAGE_PAIRS_MAX));
}

/** The changes of an answer, for the destination: those of one revision together, as far as that is allowed. */
export function transactions(
  { events }: Pick<WatchResponse, "events">,
  toTarget: (key: Uint8Array) => Uint8Array,
  operationsMax: number,
): RequestOp[][] {
  const all: RequestOp[][] = [];
  let current: RequestOp[] = [];
  let revision = 0;
  for (const { type, kv } of events) {
    if (kv === undefined) continue;
    if (kv.modRevision !== revision || current.length === operationsMax) all.push((current = []));
    revision = kv.modRevision;
    const key = toTarget(kv.key);
    current.push(
      type === Event_EventType.DELETE
        ? { request: { $case: "requestDeleteRange", value: { ...DeleteRangeRequest.create(), key } } }
        : { request: { $case: "requestPut", value: { ...PutRequest.create(), key, value: kv.value } } },
    );
  }
  return all;
}
