/** What each command does, once its flags are read. */
import { parsePeerUrls } from "../../base/peer-urls.js";
import { utf8FromText } from "../../base/text.js";
import { type Client, RpcError } from "../../client/index.js";
import { AlarmRequest, AlarmRequest_AlarmAction, RangeRequest } from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { type Globals, openClient } from "./global-flags.js";
import { quoteBytes } from "../../base/go-quote.js";
import { formatGoDuration, parseHexId } from "./go-text.js";
import { alarmName, type AtEndpoint, type EndpointHealth, type Printer } from "./printer.js";
import {
  clampInteger,
  type DelOptions,
  delRequest,
  type GetOptions,
  getRequest,
  goInteger,
  type PutOptions,
  putRequest,
} from "./requests.js";
import { saveSnapshot } from "./snapshot-save.js";
import { latin1Lines, readTxn } from "./txn-text.js";
import { readAll, type World } from "./world.js";

/** What a command works with. */
export interface Session {
  readonly world: World;
  readonly globals: Globals;
  readonly printer: Printer;
  readonly client: Client;
  /** Words behind `--` of a command that runs another one; undefined without a `--`. */
  readonly execWords: readonly string[] | undefined;
}

export type Run<Options> = (session: Session, args: string[], options: Options) => Promise<void>;

export const put: Run<PutOptions> = async ({ world, client, printer }, args, options) => {
  const request = await putRequest(args, options, world.argumentBytes, () => readAll(world.stdin()));
  printer.put(await client.put(request));
};

export const get: Run<GetOptions> = async ({ world, client, printer }, args, options) => {
  const response = await client.range(getRequest(args, options, world.argumentBytes));
  if (options.countOnly === true && printer.format !== "fields") {
    throw new CommandFailure(ExitCode.badArguments, "--count-only is only for `--write-out=fields`");
  }
  if (options.printValueOnly === true && printer.format !== "simple") {
    throw new CommandFailure(ExitCode.badArguments, "print-value-only is only for `--write-out=simple`");
  }
  printer.get(response, options.printValueOnly === true);
};

export const del: Run<DelOptions> = async ({ world, client, printer }, args, options) => {
  const request = delRequest(args, options, world.argumentBytes, world.err);
  printer.del(await client.deleteRange(request));
};

export const txn: Run<{ interactive?: boolean }> = async ({ world, client, printer }, args, { interactive }) => {
  refuseArguments(args, "txn command does not accept argument");
  const lines = latin1Lines(world.stdin());
  const request = await readTxn({
    nextLine: async () => {
      const { done, value } = await lines.next();
      return done === true ? undefined : value;
    },
    prompt: (text) => {
      if (interactive === true) world.out(`${text}\n`);
    },
    warn: world.err,
  });
  printer.txn(await client.txn(request));
};

export const compaction: Run<{ physical?: boolean }> = async ({ world, client }, args, { physical }) => {
  if (args.length !== 1) throw new CommandFailure(ExitCode.badArguments, "compaction command needs 1 argument");
  const revision = /^[+-]?\d+$/.test(args[0]!) ? goInteger(args[0]!.replace(/^([+-]?)0+(?=\d)/, "$1")) : undefined;
  if (revision === undefined) {
    throw new CommandFailure(ExitCode.error, `strconv.ParseInt: parsing ${JSON.stringify(args[0])}: invalid syntax`);
  }
  await client.compact({ revision: clampInteger(revision), physical: physical === true });
  world.out(`compacted revision ${revision}\n`);
};

export const memberList: Run<object> = async ({ client, printer }) => {
  printer.memberList(await client.memberList(true));
};

export interface MemberUrlOptions {
  readonly peerUrls?: string;
  readonly learner?: boolean;
}

export const memberAdd: Run<MemberUrlOptions> = async ({ world, client, printer }, args, { peerUrls, learner }) => {
  const [name] = args;
  if (name === undefined) throw new CommandFailure(ExitCode.badArguments, "member name not provided");
  if (args.length > 1) {
    const urls = args.filter((word) => word.toLowerCase().startsWith("http"));
    const guesses = urls.map((url) => `, did you mean --peer-urls=${url}`);
    throw new CommandFailure(ExitCode.badArguments, `too many arguments${guesses.join("")}`);
  }
  const peerURLs = urlsOf(peerUrls);
  const response = await client.memberAdd({ peerURLs, isLearner: learner === true });
  printer.memberAdd(response);
  if (printer.format !== "simple") return;
  const cluster = response.members.flatMap((member) =>
    member.peerURLs.map((url) => `${member.ID === response.member?.ID ? name : member.name}=${url}`),
  );
  const quoted = (text: string): string => quoteBytes(utf8FromText(text));
  world.out(
    `\nETCD_NAME=${quoted(name)}\n` +
      `ETCD_INITIAL_CLUSTER=${quoted(cluster.join(","))}\n` +
      `ETCD_INITIAL_ADVERTISE_PEER_URLS=${quoted(peerUrls ?? "")}\n` +
      `ETCD_INITIAL_CLUSTER_STATE="existing"\n`,
  );
};

export const memberRemove: Run<object> = async ({ client, printer }, args) => {
  const id = memberIdOf(args);
  printer.memberRemove(id, await client.memberRemove(id));
};

export const memberUpdate: Run<MemberUrlOptions> = async ({ client, printer }, args, { peerUrls }) => {
  const id = memberIdOf(args);
  printer.memberUpdate(id, await client.memberUpdate({ ID: id, peerURLs: urlsOf(peerUrls) }));
};

export const memberPromote: Run<object> = async ({ client, printer }, args) => {
  const id = memberIdOf(args);
  printer.memberPromote(id, await client.memberPromote(id));
};

function memberIdOf(args: readonly string[]): bigint {
  const [text] = args;
  if (text === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "member ID is not provided");
  }
  const id = parseHexId(text);
  if (typeof id === "bigint") return id;
  throw new CommandFailure(ExitCode.badArguments, `bad member ID arg (${id}), expecting ID in Hex`);
}

/** Refused before they are sent, as etcd's client does it. */
function urlsOf(text: string | undefined): string[] {
  if (text === undefined || text === "") {
    throw new CommandFailure(ExitCode.badArguments, "member peer urls not provided");
  }
  const urls = text.split(",");
  const parsed = parsePeerUrls(urls);
  if ("fault" in parsed) throw new CommandFailure(ExitCode.error, parsed.fault);
  return urls;
}

/** Asks each endpoint whether its member leads; only the leader can hand over. */
export const moveLeader: Run<object> = async ({ globals, client, printer }, args) => {
  const [text] = args;
  if (text === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "move-leader command needs 1 argument");
  }
  const target = parseHexId(text);
  if (typeof target === "string") throw new CommandFailure(ExitCode.badArguments, target);
  for (const endpoint of globals.endpoints) {
    const { header, leader } = await client.status(endpoint);
    if (leader !== header?.memberId) continue;
    printer.moveLeader(leader, target, await client.moveLeader(endpoint, target));
    return;
  }
  const detail = `no leader endpoint given at [${globals.endpoints.join(" ")}]`;
  throw new CommandFailure(ExitCode.badArguments, detail);
};

export const alarmList: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "alarm list command accepts no arguments");
  printer.alarm(await client.alarm(AlarmRequest.create()));
};

/** As etcd's client does it: asks for all alarms, then takes back each. */
export const alarmDisarm: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "alarm disarm command accepts no arguments");
  const raised = await client.alarm(AlarmRequest.create());
  const answer = { header: undefined, alarms: [] as typeof raised.alarms };
  for (const { memberID, alarm } of raised.alarms) {
    const { DEACTIVATE } = AlarmRequest_AlarmAction;
    answer.alarms.push(...(await client.alarm({ action: DEACTIVATE, memberID, alarm })).alarms);
  }
  printer.alarm(answer);
};

export interface DefragFlags {
  readonly cluster?: boolean;
  readonly dataDir: string;
}

export const defrag: Run<DefragFlags> = async (session, _args, { cluster, dataDir }) => {
  const { world, client } = session;
  if (dataDir !== "") {
    const { defragmentDirectory } = await import("./defrag-offline.js"); // which loads what opens files
    await defragmentDirectory(dataDir, world);
    return;
  }
  let failed = false;
  for (const endpoint of await endpointsOf(session, cluster)) {
    try {
      await client.defragment(endpoint);
      world.out(`Finished defragmenting etcd member[${endpoint}]\n`);
    } catch (error) {
      failed = true;
      world.err(`Failed to defragment etcd member[${endpoint}] (${sentence(error)})\n`);
    }
  }
  if (failed) throw new CommandFailure(ExitCode.error, "a member was not defragmented", { told: true });
};

export const endpointStatus: Run<{ cluster?: boolean }> = async (session, _args, { cluster }) => {
  const { list, last } = await askEach(session, cluster, "status", (endpoint) => session.client.status(endpoint));
  session.printer.endpointStatus(list);
  if (last !== undefined) throw new CommandFailure(ExitCode.error, sentence(last), { told: true });
};

export const endpointHashKv: Run<{ cluster?: boolean; rev: number }> = async (session, _args, { cluster, rev }) => {
  const { list, last } = await askEach(session, cluster, "hash", (endpoint) => session.client.hashKv(endpoint, rev));
  session.printer.endpointHashKv(list);
  if (last !== undefined) throw last;
};

async function askEach<Response>(
  session: Session,
  cluster: boolean | undefined,
  what: string,
  ask: (endpoint: string) => Promise<Response>,
): Promise<{ list: AtEndpoint<Response>[]; last: Error | undefined }> {
  const list: AtEndpoint<Response>[] = [];
  let last: Error | undefined;
  for (const endpoint of await endpointsOf(session, cluster)) {
    try {
      list.push({ endpoint, response: await ask(endpoint) });
    } catch (error) {
      last = error instanceof Error ? error : new Error(String(error));
      session.world.err(`Failed to get the ${what} of endpoint ${endpoint} (${sentence(error)})\n`);
    }
  }
  return { list, last };
}

export const endpointHealth: Run<{ cluster?: boolean }> = async (session, _args, { cluster }) => {
  const endpoints = await endpointsOf(session, cluster);
  const list = await Promise.all(endpoints.map((endpoint) => checkHealth(session.globals, endpoint)));
  session.printer.endpointHealth(list);
  if (list.some(({ error }) => error !== "")) throw new CommandFailure(ExitCode.error, "unhealthy cluster");
};

/** Healthy is who answers a linearizable read and has no alarm. Each endpoint is asked through a client of its own. */
async function checkHealth(globals: Globals, endpoint: string): Promise<EndpointHealth> {
  const client = openClient(globals, [endpoint]);
  const start = performance.now();
  let took = "";
  try {
    const key = new TextEncoder().encode("health");
    try {
      await client.range({ ...RangeRequest.create(), key });
    } catch (error) {
      // Who may not read was answered by the cluster all the same.
      if (!(error instanceof RpcError) || error.text !== "etcdserver: permission denied") throw error;
    } finally {
      took = formatGoDuration(performance.now() - start);
    }
    const error = await alarmsOf(client);
    return { endpoint, health: error === "", took, error };
  } catch (error) {
    return { endpoint, health: false, took, error: sentence(error) };
  } finally {
    client.close();
  }
}

async function alarmsOf(client: Client): Promise<string> {
  try {
    const { alarms } = await client.alarm(AlarmRequest.create());
    if (alarms.length === 0) return "";
    return `Active Alarm(s): ${alarms.map(({ alarm }) => `${alarmName(alarm)} `).join("")}`;
  } catch {
    return "Unable to fetch the alarm list";
  }
}

export const snapshotSave: Run<object> = async ({ world, globals, client }, args) => {
  const [path] = args;
  if (path === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "snapshot save expects one argument");
  }
  const [endpoint] = globals.endpoints;
  if (endpoint === undefined || globals.endpoints.length > 1) {
    const sentence = `snapshot must be requested to one selected node, not multiple [${globals.endpoints.join(" ")}]`;
    throw new CommandFailure(ExitCode.interrupted, sentence);
  }
  const timeoutMs = globals.commandTimeoutGiven ? globals.commandTimeoutMs : undefined;
  await saveSnapshot(client, endpoint, path, timeoutMs, world);
  world.out(`Snapshot saved at ${path}\n`);
};

async function endpointsOf({ globals, client }: Session, cluster: boolean | undefined): Promise<readonly string[]> {
  if (cluster !== true) return globals.endpoints;
  try {
    const { members } = await client.memberList(true);
    return members.flatMap(({ clientURLs }) => clientURLs);
  } catch (cause) {
    const detail = `failed to fetch endpoints from etcd cluster member list: ${sentence(cause)}`;
    throw new CommandFailure(ExitCode.error, detail, { cause });
  }
}

function refuseArguments(args: readonly string[], sentence: string): void {
  if (args.length > 0) throw new CommandFailure(ExitCode.badArguments, sentence);
}

function sentence(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
