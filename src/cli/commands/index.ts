/**
 * The client's commands, with etcdctl 3.5's syntax, output and exit codes.
 *
 * `runClientCommand` is the door: it takes a command line and answers with the exit code. Flags that hold for all commands may stand
 * before the command, as etcdctl's users write them.
 */
import { Command, CommanderError } from "commander";
import type { Client } from "../../client/index.js";
import { RpcError } from "../../client/index.js";
import { AlarmRequest, AlarmRequest_AlarmAction, RangeRequest } from "../../proto/index.js";
import { CommandFailure, ExitCode, failureLines } from "./failure.js";
import { addGlobalFlags, type Globals, openClient, resolveGlobals, SWITCH_FLAGS, VALUE_FLAGS } from "./global-flags.js";
import { formatGoDuration } from "./go-text.js";
import { alarmName, type AtEndpoint, createPrinter, type EndpointHealth, type Printer } from "./printer.js";
import {
  addDelFlags,
  addGetFlags,
  addPutFlags,
  clampInteger,
  type DelOptions,
  delRequest,
  type GetOptions,
  getRequest,
  goInteger,
  parseInteger,
  type PutOptions,
  putRequest,
} from "./requests.js";
import { saveSnapshot } from "./snapshot-save.js";
import { latin1Lines, readTxn } from "./txn-text.js";
import { processWorld, readAll, type World } from "./world.js";

export { processWorld, type World } from "./world.js";

/** What a command works with. */
interface Session {
  readonly world: World;
  readonly globals: Globals;
  readonly printer: Printer;
  readonly client: Client;
}

type Run<Options> = (session: Session, args: string[], options: Options) => Promise<void>;

/** Groups and the commands in them. `status` and `compact` are Walnut's own short names. */
const GROUPS: Readonly<Record<string, readonly string[]>> = {
  endpoint: ["health", "status", "hashkv"],
  member: ["list"],
  alarm: ["list", "disarm"],
  snapshot: ["save"],
};
const SINGLE = ["put", "get", "del", "txn", "compaction", "compact", "status", "defrag"];

/** Whether a command line is for the client: its first word that is no global flag names one of the commands. */
export function isClientCommand(args: readonly string[]): boolean {
  const name = args[commandPosition(args, 0)];
  return name !== undefined && (SINGLE.includes(name) || name in GROUPS);
}

/** Runs a client's command line and returns its exit code. Never rejects. */
export async function runClientCommand(args: readonly string[], world: World = processWorld()): Promise<number> {
  const program = new Command("walnut").description("etcd's commands for a member that runs").exitOverride();
  program.configureOutput({
    writeOut: (text) => world.out(text),
    writeErr: (text) => world.err(text),
    outputError: (text, write) => write(text.replace(/^error: /, "Error: ")),
  });
  registerClientCommands(program, world);
  try {
    await program.parseAsync(arrange(args), { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    const { lines, exitCode } = failureLines(error);
    for (const line of lines) world.err(`${line}\n`);
    return exitCode;
  }
}

/** Adds the commands to a program, for its help and for parsing. */
export function registerClientCommands(program: Command, world: World = processWorld()): void {
  const add = <Options>(
    parent: Command,
    name: string,
    summary: string,
    run: Run<Options>,
    setUp?: (c: Command) => Command,
  ): Command => {
    const command = parent.command(name).description(summary).copyInheritedSettings(program);
    (setUp ?? ((c) => c.argument("[arguments...]", "none").usage("[options]")))(command);
    addGlobalFlags(command);
    command.action(async (words: string[], options: Options) => {
      await withSession(world, options as Record<string, unknown>, (session) => run(session, words, options));
    });
    return command;
  };
  add(program, "put", "Puts the given key into the store", put, addPutFlags);
  add(program, "get", "Gets the key or a range of keys", get, addGetFlags);
  add(program, "del", "Removes the specified key or range of keys [key, range_end)", del, addDelFlags);
  add(program, "txn", "Processes all the requests in one transaction", txn, (command) =>
    command
      .argument("[arguments...]", "none")
      .usage("[options]")
      .option("-i, --interactive", "input transaction in interactive mode"),
  );
  add(program, "compaction", "Compacts the event history", compaction, (command) =>
    command
      .alias("compact")
      .argument("[arguments...]", "revision")
      .usage("[options] <revision>")
      .option("--physical", "wait for compaction to physically remove all old revisions"),
  );
  const withCluster = (command: Command): Command =>
    command
      .argument("[arguments...]", "none")
      .usage("[options]")
      .option("--cluster", "use all endpoints from the cluster member list");
  add(program, "status", "Prints out the status of endpoints (endpoint status)", endpointStatus, withCluster);
  add(program, "defrag", "Defragments the storage of the members with given endpoints", defrag, withCluster);
  const group = (name: string, summary: string): Command =>
    program.command(name).description(summary).copyInheritedSettings(program);
  const endpoint = group("endpoint", "Endpoint related commands");
  add(endpoint, "health", "Checks the healthiness of endpoints", endpointHealth, withCluster);
  add(endpoint, "status", "Prints out the status of endpoints", endpointStatus, withCluster);
  add(endpoint, "hashkv", "Prints the KV history hash for each endpoint", endpointHashKv, (command) =>
    withCluster(command).option("--rev <revision>", "maximum revision to hash (0: all revisions)", parseInteger, 0),
  );
  add(group("member", "Membership related commands"), "list", "Lists all members in the cluster", memberList);
  const alarm = group("alarm", "Alarm related commands");
  add(alarm, "list", "Lists all alarms", alarmList);
  add(alarm, "disarm", "Disarms all alarms", alarmDisarm);
  add(
    group("snapshot", "Manages snapshots"),
    "save",
    "Stores a snapshot of a member's db to a given file",
    snapshotSave,
    (command) => command.argument("[arguments...]", "filename").usage("[options] <filename>"),
  );
}

async function withSession(
  world: World,
  options: Readonly<Record<string, unknown>>,
  run: (session: Session) => Promise<void>,
): Promise<void> {
  const globals = resolveGlobals(options, world);
  const printer = createPrinter(globals.writeOut, globals.hex, world);
  const client = openClient(globals);
  try {
    await run({ world, globals, printer, client });
  } finally {
    client.close();
  }
}

/** The position of the first word at or after `start` that is no global flag, nor a flag's value. */
function commandPosition(args: readonly string[], start: number): number {
  let at = start;
  while (at < args.length) {
    const word = args[at]!;
    const name = word.split("=", 1)[0]!;
    if (VALUE_FLAGS.has(word)) at += 2;
    else if (VALUE_FLAGS.has(name) || SWITCH_FLAGS.has(name) || /^-[wd]./.test(word)) at++;
    else break;
  }
  return at;
}

/**
 * The command's words first, then the flags that stood before them. Switches with a value, which the parser does not know, become
 * switches (`--prefix=true`) or nothing (`--prefix=false`).
 */
function arrange(args: readonly string[]): string[] {
  const first = commandPosition(args, 0);
  const path = args.slice(first, first + 1);
  const flags = args.slice(0, first);
  let rest = args.slice(first + 1);
  if (path[0] !== undefined && path[0] in GROUPS) {
    // --cluster belongs to the group `endpoint`, and may stand right after it.
    let second = 0;
    for (;;) {
      const next = commandPosition(rest, second);
      if (next === second && !/^--cluster(=|$)/.test(rest[next] ?? "")) break;
      second = next === second ? next + 1 : next;
    }
    path.push(...rest.slice(second, second + 1));
    flags.push(...rest.slice(0, second));
    rest = rest.slice(second + 1);
  }
  return [...path, ...plainSwitches([...flags, ...rest])];
}

const LOCAL_SWITCHES = new Set(
  ["prefix", "from-key", "keys-only", "count-only", "print-value-only", "prev-kv", "ignore-value", "ignore-lease"]
    .concat(["range", "interactive", "physical", "cluster"])
    .map((name) => `--${name}`),
);

function plainSwitches(args: readonly string[]): string[] {
  const plain: string[] = [];
  let flagsOver = false;
  for (const word of args) {
    flagsOver ||= word === "--";
    const [name, value] = word.split("=", 2) as [string, string | undefined];
    // The parser would take the word after a switch with an optional value for that value.
    if (!flagsOver && /^-[a-z]=/.test(word)) plain.push(word.slice(0, 2), word.slice(3));
    else if (!flagsOver && SWITCH_FLAGS.has(word)) plain.push(`${word}=true`);
    else if (flagsOver || value === undefined || !LOCAL_SWITCHES.has(name)) plain.push(word);
    else if (["1", "t", "T", "true", "TRUE", "True"].includes(value)) plain.push(name);
    else if (!["0", "f", "F", "false", "FALSE", "False"].includes(value)) plain.push(word);
  }
  return plain;
}

// ---- commands -------------------------------------------------------------------------------------------------------

const put: Run<PutOptions> = async ({ world, client, printer }, args, options) => {
  const request = await putRequest(args, options, world.argumentBytes, () => readAll(world.stdin()));
  printer.put(await client.put(request));
};

const get: Run<GetOptions> = async ({ world, client, printer }, args, options) => {
  const response = await client.range(getRequest(args, options, world.argumentBytes));
  if (options.countOnly === true && printer.format !== "fields") {
    throw new CommandFailure(ExitCode.badArguments, "--count-only is only for `--write-out=fields`");
  }
  if (options.printValueOnly === true && printer.format !== "simple") {
    throw new CommandFailure(ExitCode.badArguments, "print-value-only is only for `--write-out=simple`");
  }
  printer.get(response, options.printValueOnly === true);
};

const del: Run<DelOptions> = async ({ world, client, printer }, args, options) => {
  const request = delRequest(args, options, world.argumentBytes, world.err);
  printer.del(await client.deleteRange(request));
};

const txn: Run<{ interactive?: boolean }> = async ({ world, client, printer }, args, { interactive }) => {
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

const compaction: Run<{ physical?: boolean }> = async ({ world, client }, args, { physical }) => {
  if (args.length !== 1) throw new CommandFailure(ExitCode.badArguments, "compaction command needs 1 argument");
  const revision = /^[+-]?\d+$/.test(args[0]!) ? goInteger(args[0]!.replace(/^([+-]?)0+(?=\d)/, "$1")) : undefined;
  if (revision === undefined) {
    throw new CommandFailure(ExitCode.error, `strconv.ParseInt: parsing ${JSON.stringify(args[0])}: invalid syntax`);
  }
  await client.compact({ revision: clampInteger(revision), physical: physical === true });
  world.out(`compacted revision ${revision}\n`);
};

const memberList: Run<object> = async ({ client, printer }) => {
  printer.memberList(await client.memberList(true));
};

const alarmList: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "alarm list command accepts no arguments");
  printer.alarm(await client.alarm(AlarmRequest.create()));
};

/** As etcd's client does it: asks for all alarms, then takes back each. */
const alarmDisarm: Run<object> = async ({ client, printer }, args) => {
  refuseArguments(args, "alarm disarm command accepts no arguments");
  const raised = await client.alarm(AlarmRequest.create());
  const answer = { header: undefined, alarms: [] as typeof raised.alarms };
  for (const { memberID, alarm } of raised.alarms) {
    const { DEACTIVATE } = AlarmRequest_AlarmAction;
    answer.alarms.push(...(await client.alarm({ action: DEACTIVATE, memberID, alarm })).alarms);
  }
  printer.alarm(answer);
};

const defrag: Run<{ cluster?: boolean }> = async (session, _args, { cluster }) => {
  const { world, client } = session;
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

const endpointStatus: Run<{ cluster?: boolean }> = async (session, _args, { cluster }) => {
  const { list, last } = await askEach(session, cluster, "status", (endpoint) => session.client.status(endpoint));
  session.printer.endpointStatus(list);
  if (last !== undefined) throw new CommandFailure(ExitCode.error, sentence(last), { told: true });
};

const endpointHashKv: Run<{ cluster?: boolean; rev: number }> = async (session, _args, { cluster, rev }) => {
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

const endpointHealth: Run<{ cluster?: boolean }> = async (session, _args, { cluster }) => {
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

const snapshotSave: Run<object> = async ({ world, globals, client }, args) => {
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
