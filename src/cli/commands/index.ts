/**
 * The client's commands, with etcdctl 3.5's syntax, output and exit codes.
 *
 * `runClientCommand` is the door: it takes a command line and answers with the exit code. Flags that hold for all commands may stand
 * before the command, as etcdctl's users write them.
 */
import { Command, CommanderError } from "commander";
import { VERSION } from "../../embed/version.js";
import { SERVED_VERSION } from "../../server/contract.js";
import { arrange, isKnownSwitch } from "./arrange.js";
import { askSecret, registerAuthCommands } from "./auth.js";
import { addCheckFlags, checkDatascale, checkPerf } from "./check.js";
import { complete, describeCompletion, registerCompletion } from "./completion.js";
import { failureLines } from "./failure.js";
import { addGlobalFlags, type Globals, openClient, resolveGlobals } from "./global-flags.js";
import { addElectFlags, addLockFlags, elect, lock } from "./lock.js";
import { addLeaseFlags, leaseGrant, leaseKeepAlive, leaseList, leaseRevoke, leaseTimeToLive } from "./lease.js";
import { addMirrorFlags, makeMirror } from "./mirror.js";
import { GROUPS, similarCommands } from "./names.js";
import { createPrinter } from "./printer.js";
import { addDelFlags, addGetFlags, addPutFlags, parseInteger } from "./requests.js";
import {
  alarmDisarm,
  alarmList,
  compaction,
  defrag,
  del,
  endpointHashKv,
  endpointHealth,
  endpointStatus,
  get,
  memberAdd,
  memberList,
  memberPromote,
  memberRemove,
  memberUpdate,
  moveLeader,
  put,
  type Run,
  type Session,
  snapshotSave,
  txn,
} from "./run.js";
import { addWatchFlags, watch } from "./watch.js";
import { addRestoreFlags, type RestoreFlags } from "./restore-flags.js";
import { latin1Lines } from "./txn-text.js";
import { processWorld, type World } from "./world.js";

export { isClientCommand, unknownCommand } from "./arrange.js";
export { processWorld, type World } from "./world.js";

/** Runs a client's command line and returns its exit code. Never rejects. */
export async function runClientCommand(args: readonly string[], world: World = processWorld()): Promise<number> {
  const program = clientProgram(world, args.at(-1));
  const words = arrange(args);
  // What stands behind `--` is the other command's, its flags included.
  const cut = words[0] === "watch" ? words.indexOf("--") : -1;
  registerClientCommands(program, world, cut < 0 ? undefined : words.slice(cut + 1));
  const [first, second] = words;
  if (first !== undefined && first in GROUPS && !GROUPS[first]!.includes(second ?? "")) {
    return describeGroup(program, first, second, world);
  }
  try {
    await program.parseAsync(cut < 0 ? words : words.slice(0, cut), { from: "user" });
    return 0;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    const { lines, exitCode } = failureLines(error);
    for (const line of lines) world.err(`${line}\n`);
    return exitCode;
  }
}

/** Prints what may come next on a command line. @param words of it behind `walnut`, the last one as far as it is typed */
export function runCompletion(words: readonly string[], world: World = processWorld()): void {
  const program = clientProgram(world);
  registerClientCommands(program, world);
  world.out(describeCompletion(complete(program, words)));
}

/** A program without commands yet, whose words go to the world. */
function clientProgram(world: World, lastWord?: string): Command {
  const program = new Command("walnut").description("etcd's commands for a member that runs").exitOverride();
  return program.showSuggestionAfterError(false).configureOutput({
    writeOut: (text) => world.out(text),
    writeErr: (text) => world.err(text),
    outputError: (text, write) => {
      write(`Error: ${flagFault(text, lastWord)}\nwalnut: \`--help\` behind the command tells its flags\n`);
    },
  });
}

/** What the parser says of a flag, in the words of Go's. @param lastWord where a flag may lack its value */
function flagFault(text: string, lastWord = ""): string {
  const fault = text.replace(/^error: /, "").trimEnd();
  if (fault.endsWith("argument missing") && /^-\w$/.test(lastWord)) {
    return `flag needs an argument: '${lastWord[1]!}' in ${lastWord}`;
  }
  return fault
    .replace(/^unknown option '(--[\w-]+)=(.*)'$/, (_whole, flag: string, value: string) => {
      if (!isKnownSwitch(flag)) return `unknown flag: ${flag}`;
      const quoted = JSON.stringify(value);
      return `invalid argument ${quoted} for "${flag}" flag: strconv.ParseBool: parsing ${quoted}: invalid syntax`;
    })
    .replace(/^unknown option '(--[^']*)'$/, "unknown flag: $1")
    .replace(/^unknown option '-((.).*)'$/, "unknown shorthand flag: '$2' in -$1")
    .replace(/^option '(?:-(\w), )?(--[\w-]+)[^']*' argument missing$/, "flag needs an argument: $2")
    .replace(
      /^option '(-\w, )?(--[\w-]+)[^']*' argument '(.*)' is invalid\. (.*)$/s,
      (_whole, short: string | undefined, long: string, value: string, why: string) =>
        `invalid argument ${JSON.stringify(value)} for "${short ?? ""}${long}" flag: ${why}`,
    );
}

/** A group alone, or with a word that none of its commands has, tells its commands, as etcdctl does it: exit code 0. */
function describeGroup(program: Command, group: string, word: string | undefined, world: World): number {
  const command = program.commands.find((each) => each.name() === group)!;
  world.out(command.helpInformation());
  if (word === undefined || word.startsWith("-")) return 0;
  const similar = similarCommands(word, GROUPS[group]).map((name) => `\`walnut ${group} ${name}\``);
  const guess = similar.length === 0 ? "" : `; did you mean ${similar.join(" or ")}?`;
  world.err(`walnut: ${group} has no command ${JSON.stringify(word)}${guess}\n`);
  return 0;
}

/** Adds the commands to a program, for its help and for parsing. @param execWords of a command that runs another one */
export function registerClientCommands(
  program: Command,
  world: World = processWorld(),
  execWords?: readonly string[],
): void {
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
      await withSession(world, options as Record<string, unknown>, execWords, (session) =>
        run(session, words, options),
      );
    });
    return command;
  };
  add(program, "put", "Puts the given key into the store", put, addPutFlags);
  add(program, "get", "Gets the key or a range of keys", get, addGetFlags);
  add(program, "del", "Removes the specified key or range of keys [key, range_end)", del, addDelFlags);
  add(program, "watch", "Watches events stream on keys or prefixes", watch, addWatchFlags);
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
  add(program, "lock", "Acquires a named lock", lock, addLockFlags);
  add(program, "elect", "Observes and participates in leader election", elect, addElectFlags);
  add(program, "make-mirror", "Makes a mirror at the destination etcd cluster", makeMirror, addMirrorFlags);
  add(program, "status", "Prints out the status of endpoints (endpoint status)", endpointStatus, withCluster);
  add(program, "defrag", "Defragments the storage of the members with given endpoints", defrag, (command) =>
    withCluster(command).option("--data-dir <dir>", "a data directory that no member uses, instead of members", ""),
  );
  const group = (name: string, summary: string): Command =>
    program.command(name).description(summary).copyInheritedSettings(program);
  const check = group("check", "Commands for checking properties of the cluster");
  add(check, "perf", "Checks whether the cluster carries a load", checkPerf, (command) =>
    addCheckFlags(command, "/etcdctl-check-perf/"),
  );
  add(check, "datascale", "Checks the memory that data takes at the first endpoint", checkDatascale, (command) =>
    addCheckFlags(command, "/etcdctl-check-datascale/"),
  );
  const endpoint = group("endpoint", "Endpoint related commands");
  add(endpoint, "health", "Checks the healthiness of endpoints", endpointHealth, withCluster);
  add(endpoint, "status", "Prints out the status of endpoints", endpointStatus, withCluster);
  add(endpoint, "hashkv", "Prints the KV history hash for each endpoint", endpointHashKv, (command) =>
    withCluster(command).option("--rev <revision>", "maximum revision to hash (0: all revisions)", parseInteger, 0),
  );
  const lease = group("lease", "Lease related commands");
  add(lease, "grant", "Creates leases", leaseGrant, (command) =>
    command.argument("[arguments...]", "ttl").usage("<ttl> [options]"),
  );
  add(lease, "revoke", "Revokes leases", leaseRevoke, addLeaseFlags);
  add(lease, "timetolive", "Get lease information", leaseTimeToLive, (command) =>
    addLeaseFlags(command).option("--keys", "Get keys attached to this lease"),
  );
  add(lease, "list", "List all active leases", leaseList);
  add(lease, "keep-alive", "Keeps leases alive (renew)", leaseKeepAlive, (command) =>
    addLeaseFlags(command).option("--once", "Resets the keep-alive time to its original value and exits immediately"),
  );
  const member = group("member", "Membership related commands");
  const withId = (command: Command): Command =>
    command.argument("[arguments...]", "memberID").usage("<memberID> [options]");
  const withUrls = (command: Command): Command =>
    command.option("--peer-urls <urls>", "comma separated peer URLs for the member");
  add(member, "list", "Lists all members in the cluster", memberList);
  add(member, "add", "Adds a member into the cluster", memberAdd, (command) =>
    withUrls(command)
      .argument("[arguments...]", "memberName")
      .usage("<memberName> [options]")
      .option("--learner", "indicates if the new member is raft learner"),
  );
  add(member, "remove", "Removes a member from the cluster", memberRemove, withId);
  add(member, "update", "Updates a member in the cluster", memberUpdate, (command) => withUrls(withId(command)));
  add(member, "promote", "Promotes a non-voting member in the cluster", memberPromote, withId);
  add(program, "move-leader", "Transfers leadership to another etcd cluster member.", moveLeader, (command) =>
    command.argument("[arguments...]", "transferee-member-id").usage("<transferee-member-id> [options]"),
  );
  const alarm = group("alarm", "Alarm related commands");
  add(alarm, "list", "Lists all alarms", alarmList);
  add(alarm, "disarm", "Disarms all alarms", alarmDisarm);
  registerAuthCommands(add, group);
  const snapshot = group("snapshot", "Manages snapshots");
  add(snapshot, "save", "Stores a snapshot of a member's db to a given file", snapshotSave, (command) =>
    command.argument("[arguments...]", "filename").usage("[options] <filename>"),
  );
  // These two open files, and load much for it.
  const restore: Run<RestoreFlags> = async (session, words, flags) => {
    const { snapshotRestore } = await import("./snapshot-offline.js");
    await snapshotRestore(session, words, flags);
  };
  const status: Run<object> = async (session, words, flags) => {
    const { snapshotStatusOf } = await import("./snapshot-offline.js");
    await snapshotStatusOf(session, words, flags);
  };
  add(snapshot, "restore", "Restores a snapshot to the data directory of a new member", restore, addRestoreFlags);
  add(snapshot, "status", "Gets the figures of a snapshot file", status, (command) =>
    command.argument("[arguments...]", "filename").usage("<filename> [options]"),
  );
  registerCompletion(program, group("completion", "Generates the completion script for a shell"), world);
  add(program, "version", "Prints the versions of API and command", ({ world: { out } }) => {
    out(describeVersions());
    return Promise.resolve();
  });
}

/** etcdctl's two lines, then this command's own. */
function describeVersions(): string {
  const api = SERVED_VERSION.split(".").slice(0, 2).join(".");
  return `etcdctl version: ${SERVED_VERSION}\nAPI version: ${api}\nwalnut version: ${VERSION}\n`;
}

/** Asks for the password of a user who was named without one. */
async function withPassword(globals: Globals, world: World): Promise<Globals> {
  const { user } = globals.client;
  if (user === undefined || !globals.asksForPassword) return globals;
  const lines = latin1Lines(world.stdin());
  try {
    const password = await askSecret("Password: ", lines, world);
    return { ...globals, client: { ...globals.client, user: { ...user, password } } };
  } finally {
    await lines.return(undefined); // else an open stdin keeps the process
  }
}

async function withSession(
  world: World,
  options: Readonly<Record<string, unknown>>,
  execWords: readonly string[] | undefined,
  run: (session: Session) => Promise<void>,
): Promise<void> {
  const globals = await withPassword(await resolveGlobals(options, world), world);
  const printer = createPrinter(globals.writeOut, globals.hex, world);
  const client = openClient(globals);
  try {
    await run({ world, globals, printer, client, execWords });
  } finally {
    client.close();
  }
}
