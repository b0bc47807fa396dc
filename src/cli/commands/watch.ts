/**
 * `watch`: what comes, as it comes, until the server ends it; interactively, several watches on lines of their own.
 *
 *     watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]
 *
 * Arguments, refusals and the environment of the command that is run for each event are etcdctl's.
 */
import { Command, CommanderError } from "commander";
import { quoteBytes } from "../../base/go-quote.js";
import { bytesFromLatin1, utf8FromText } from "../../base/text.js";
import { prefixEnd, RpcError, type Watch } from "../../client/index.js";
import { WatchCreateRequest, WatchResponse } from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { eventTypeName } from "./printer.js";
import { parseInteger, type ToBytes } from "./requests.js";
import type { Run, Session } from "./run.js";
import { latin1Lines, splitWords } from "./txn-text.js";

export interface WatchFlags {
  readonly interactive?: boolean;
  readonly prefix?: boolean;
  readonly rev: number;
  readonly prevKv?: boolean;
  readonly progressNotify?: boolean;
}

const BAD_NUMBER = "bad number of arguments";

export function addWatchFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "key or prefix, range_end, exec-command with its arguments")
    .usage("[options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]")
    .option("-i, --interactive", "Interactive mode")
    .option("--prefix", "Watch on a prefix if prefix is set")
    .option("--rev <revision>", "Revision to start watching", parseInteger, 0)
    .option("--prev-kv", "get the previous key-value pair before the event happens")
    .option("--progress-notify", "get periodic watch progress notification from server");
}

export const watch: Run<WatchFlags> = async (session, words, flags) => {
  const { world, execWords } = session;
  const fromEnvironment = keysOfEnvironment(session);
  if (flags.interactive === true) {
    await watchInteractively(session, fromEnvironment);
    return;
  }
  const keys = keysOf(words, execWords, fromEnvironment);
  const request = requestOf(keys, flags, world.argumentBytes);
  await show(session, session.client.watch(request), execWords ?? []);
  throw new CommandFailure(ExitCode.interrupted, "watch is canceled by the server");
};

/** Lines `watch ...` and `progress`, until the input ends. */
async function watchInteractively(session: Session, fromEnvironment: readonly string[]): Promise<void> {
  const { world, client } = session;
  const watches: Watch[] = [];
  let fail: (error: unknown) => void = () => undefined;
  const failed = new Promise<never>((_, reject) => (fail = reject));
  failed.catch(() => undefined); // told by whoever waits
  const lines = latin1Lines(world.stdin());
  for (;;) {
    const { done, value: line } = await Promise.race([lines.next(), failed]);
    if (done === true) throw new CommandFailure(ExitCode.invalidInput, "error reading watch request line: EOF");
    const words = splitWords(line);
    if (words.length === 0) world.err(`Invalid command: ${line} (watch and progress supported)\n`);
    else if (words[0] === "progress") for (const each of watches) each.requestProgress();
    else if (words[0] !== "watch") world.err(`Invalid command ${line} (only support watch)\n`);
    else if (words.length < 2 && fromEnvironment.length === 0) {
      world.err(`Invalid command ${line} (command type or key is not provided)\n`);
    } else {
      const parsed = parseLine(words.slice(1), fromEnvironment);
      let request: WatchCreateRequest;
      try {
        request = requestOf(parsed.keys, parsed.flags, bytesFromLatin1);
      } catch (error) {
        if (!(error instanceof CommandFailure)) throw error;
        world.err(`Invalid command ${line} (${error.message})\n`);
        continue;
      }
      const started = client.watch(request);
      watches.push(started);
      show(session, started, parsed.execWords ?? []).catch(fail);
    }
  }
}

/** The words of a line behind `watch`. */
function parseLine(
  words: readonly string[],
  fromEnvironment: readonly string[],
): { readonly keys: string[]; readonly flags: WatchFlags; readonly execWords: string[] | undefined } {
  const cut = words.indexOf("--");
  const execWords = cut < 0 ? undefined : words.slice(cut + 1);
  const silent = { writeOut: () => undefined, writeErr: () => undefined };
  const command = addWatchFlags(new Command("watch").exitOverride().configureOutput(silent));
  try {
    command.parse(cut < 0 ? words : words.slice(0, cut), { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    const sentence = error.message.replace(/^error: /, "").replace(/^unknown option '(.*)'$/, "unknown flag: $1");
    throw new CommandFailure(ExitCode.badArguments, sentence, { cause: error });
  }
  return { keys: keysOf(command.args, execWords, fromEnvironment), flags: command.opts(), execWords };
}

/** Key and range end of the environment, which stand before those of the command line. */
function keysOfEnvironment({ world }: Session): string[] {
  const key = world.env["ETCDCTL_WATCH_KEY"] ?? "";
  const rangeEnd = world.env["ETCDCTL_WATCH_RANGE_END"] ?? "";
  if (key === "" && rangeEnd !== "") {
    const quoted = quoteBytes(utf8FromText(rangeEnd));
    const sentence = `ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END=${quoted}`;
    throw new CommandFailure(ExitCode.badArguments, sentence);
  }
  return [key, rangeEnd].filter((word) => word !== "");
}

/** @param words without those behind `--` */
function keysOf(
  words: readonly string[],
  execWords: readonly string[] | undefined,
  fromEnvironment: readonly string[],
): string[] {
  if (execWords?.length === 0) {
    throw new CommandFailure(ExitCode.badArguments, `${BAD_NUMBER} (found separator --, but no commands)`);
  }
  if (words.length > 0 && fromEnvironment.length > 0) {
    throw new CommandFailure(ExitCode.badArguments, `${BAD_NUMBER} (found conflicting environment key)`);
  }
  return [...fromEnvironment, ...words];
}

function requestOf(keys: readonly string[], flags: WatchFlags, toBytes: ToBytes): WatchCreateRequest {
  const [first, second] = keys;
  if (first === undefined) throw new CommandFailure(ExitCode.badArguments, BAD_NUMBER);
  if (keys.length === 2 && flags.prefix === true) {
    throw new CommandFailure(ExitCode.badArguments, "`range_end` and `--prefix` are mutually exclusive");
  }
  let key = toBytes(first);
  let rangeEnd = keys.length === 2 ? toBytes(second!) : new Uint8Array(0);
  if (flags.prefix === true) {
    rangeEnd = key.length === 0 ? Uint8Array.of(0) : prefixEnd(key);
    if (key.length === 0) key = Uint8Array.of(0);
  }
  return {
    ...WatchCreateRequest.create(),
    key,
    rangeEnd,
    startRevision: flags.rev,
    prevKv: flags.prevKv === true,
    progressNotify: flags.progressNotify === true,
  };
}

/** Shows what a watch answers, and runs a command for each event; resolves when the server has ended it. */
async function show({ world, printer }: Session, started: Watch, execWords: readonly string[]): Promise<void> {
  for await (const answer of untilRefused(started)) {
    if (answer.canceled) world.err(`watch was canceled (${whyCanceled(answer)})\n`);
    const revision = answer.header?.revision ?? 0;
    const isProgress = answer.events.length === 0 && !answer.canceled && revision !== 0;
    if (isProgress) world.out(`progress notify: ${revision}\n`);
    printer.watch(answer);
    if (execWords.length > 0) await runForEach(world, answer, execWords);
  }
}

/** An end with an error is one more answer, as etcd's client has it. */
async function* untilRefused(started: Watch): AsyncGenerator<WatchResponse> {
  try {
    yield* started.answers();
  } catch (error) {
    if (!(error instanceof RpcError)) throw error;
    yield WatchResponse.create({ canceled: true, cancelReason: error.message });
  }
}

/** What etcd's client makes of an answer that the watch is no more. */
function whyCanceled({ compactRevision, cancelReason }: WatchResponse): string {
  if (compactRevision !== 0) return "etcdserver: mvcc: required revision has been compacted";
  if (cancelReason !== "") return cancelReason;
  return "etcdserver: mvcc: required revision is a future revision";
}

async function runForEach(
  world: Session["world"],
  { header, events }: WatchResponse,
  execWords: readonly string[],
): Promise<void> {
  for (const { type, kv } of events) {
    const failure = await world.run(execWords, {
      ETCD_WATCH_REVISION: String(header?.revision ?? 0),
      ETCD_WATCH_EVENT_TYPE: `"${eventTypeName(type)}"`,
      ETCD_WATCH_KEY: quoteBytes(kv?.key ?? new Uint8Array(0)),
      ETCD_WATCH_VALUE: quoteBytes(kv?.value ?? new Uint8Array(0)),
    });
    if (failure === undefined) continue;
    const command = execWords.map((word) => quoteBytes(utf8FromText(word))).join(" ");
    world.err(`command [${command}] error (${failure.sentence})\n`);
    throw new CommandFailure(ExitCode.error, failure.sentence, { told: true });
  }
}
