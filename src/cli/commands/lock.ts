/** `lock` and `elect`: a lock or a leadership for as long as the command runs, or observers of one, as etcdctl has them. */
import type { Command } from "commander";
import { textFromUtf8 } from "../../base/text.js";
import { Election, Mutex, RpcError, Session as LeaseSession, type SessionOptions } from "../../client/index.js";
import { RangeRequest } from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { aborted, untilInterrupted } from "./interrupt.js";
import { parseInteger } from "./requests.js";
import type { Run, Session } from "./run.js";

export interface LockFlags {
  /** Seconds. */
  readonly ttl: number;
}

const LOCK_TTL_SECONDS = 10;

export function addLockFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "lockname, exec-command with its arguments")
    .usage("[options] <lockname> [--] [exec-command arg1 arg2 ...]")
    .option(
      "--ttl <seconds>",
      "how long the lock outlives this process when it cannot give it back",
      parseInteger,
      LOCK_TTL_SECONDS,
    );
}

export const lock: Run<LockFlags> = async (session, args, { ttl }) => {
  const [name, ...command] = args;
  if (name === undefined) {
    const sentence = "lock takes a lock name argument and an optional command to execute";
    throw new CommandFailure(ExitCode.badArguments, sentence);
  }
  const { world } = session;
  await withLease(session, ttl, async (lease, signal) => {
    const mutex = new Mutex(lease, world.argumentBytes(name));
    await mutex.lock({ signal });
    if (command.length > 0) await runLocked(session, mutex, command);
    else await holdUntil(signal, session, mutex);
  });
};

/** A command of its own under the lock; how it ends is how this one ends. */
async function runLocked({ world }: Session, mutex: Mutex, command: readonly string[]): Promise<void> {
  const told = { ETCD_LOCK_KEY: textFromUtf8(mutex.key), ETCD_LOCK_REV: String(mutex.revision) };
  // What is set already stays, as with etcdctl.
  const missing = Object.entries(told).filter(([name]) => world.env[name] === undefined);
  const failure = await world.run(command, Object.fromEntries(missing));
  await mutex.unlock();
  if (failure !== undefined) throw new CommandFailure(failure.exitCode, failure.sentence);
}

async function holdUntil(signal: AbortSignal, { client, printer }: Session, mutex: Mutex): Promise<void> {
  const pair = await client.range({ ...RangeRequest.create(), key: mutex.key }, { signal });
  if (pair.kvs.length === 0) throw new CommandFailure(ExitCode.error, "lock lost on init");
  printer.get(pair, false);
  await Promise.race([mutex.session.ended, aborted(signal)]);
  if (!signal.aborted) throw new CommandFailure(ExitCode.error, "session expired");
  await mutex.unlock();
}

// ---- elect ----------------------------------------------------------------------------------------------------------

export interface ElectFlags {
  readonly listen?: boolean;
}

export function addElectFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "election-name, proposal")
    .usage("[options] <election-name> [proposal]")
    .option("-l, --listen", "observe who leads, and take no part");
}

export const elect: Run<ElectFlags> = async (session, args, { listen }) => {
  const [name, proposal] = args;
  if (name === undefined || args.length > 2) {
    throw badArguments("elect takes one election name argument and an optional proposal argument");
  }
  if (proposal === undefined && listen !== true) throw badArguments("no proposal argument but -l not set");
  if (proposal !== undefined && listen === true) throw badArguments("proposal given but -l is set");
  const { world } = session;
  await withLease(session, 0, async (lease, signal) => {
    const election = new Election(lease, world.argumentBytes(name));
    if (proposal === undefined) await observe(signal, session, election);
    else await lead(signal, session, election, world.argumentBytes(proposal));
  });
};

async function observe(signal: AbortSignal, { printer }: Session, election: Election): Promise<void> {
  for await (const answer of election.observe({ signal })) printer.get(answer, false);
}

async function lead(
  signal: AbortSignal,
  { client, printer }: Session,
  election: Election,
  proposal: Uint8Array,
): Promise<void> {
  await election.campaign(proposal, { signal });
  printer.get(await client.range({ ...RangeRequest.create(), key: election.key }, { signal }), false);
  await Promise.race([election.session.ended, aborted(signal)]);
  if (!signal.aborted) throw new CommandFailure(ExitCode.error, "elect: session expired");
  await election.resign();
}

function badArguments(sentence: string): CommandFailure {
  return new CommandFailure(ExitCode.badArguments, sentence);
}

// ---- shared ---------------------------------------------------------------------------------------------------------

/** Work under a lease that goes with it; etcdctl leaves it to run out. */
async function withLease(
  { world, client, globals }: Session,
  ttlSeconds: number,
  work: (lease: LeaseSession, signal: AbortSignal) => Promise<void>,
): Promise<void> {
  await untilInterrupted(world, async (signal) => {
    const lease = await openLease(client, { ttlSeconds, signal }, world, globals);
    try {
      await work(lease, signal);
    } catch (error) {
      if (error instanceof RpcError) lease.orphan(); // who did not answer is not asked again
      throw error;
    } finally {
      if (!lease.isOver) await lease.close().catch(() => undefined); // it runs out
    }
  });
}

/** Waits as long as it takes, and says so. */
async function openLease(
  client: Session["client"],
  options: SessionOptions,
  { every, err }: Session["world"],
  { endpoints, commandTimeoutMs }: Session["globals"],
): Promise<LeaseSession> {
  const told = every(commandTimeoutMs, () => {
    err(
      `walnut: no answer yet from ${endpoints.join(", ")}; \`walnut endpoint health\` asks each. Ctrl-C ends the wait\n`,
    );
    told();
  });
  try {
    return await LeaseSession.open(client, options);
  } finally {
    told();
  }
}
