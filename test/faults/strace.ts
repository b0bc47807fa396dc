/**
 * The Nth system call of a kind fails once, for N = 1, 2, ...: the member stops or refuses with a named error, and opens again
 * with all that was acknowledged.
 *
 *   node dist/test/faults/strace.js [--server under-test] [--kind sync,write,writeio,open,rename,read,mkdir] [--all]
 *
 * `strace` injects the errors. A first run without faults records which files of the data directory are touched and how often;
 * faults then strike only calls on those files, since an error on a pipe or a socket would be another story. strace counts
 * calls by thread; Walnut runs with one pool thread, so its Nth call is the Nth. Without `--all` the middle of a long row of
 * calls on one file is left out.
 */
import { existsSync, readFileSync, realpathSync } from "node:fs";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { METHODS } from "../support/client.js";
import { encode } from "../support/messages.js";
import { describeExit, Server, Stage, StartError, type Exit, type Seat } from "../support/servers.js";

/** A kind of fault: which calls fail, and how. */
interface FaultKind {
  readonly calls: readonly string[];
  readonly error: string;
  /** A member must stop: it may not go on after such a failure, whatever it says. */
  readonly mustStop: boolean;
}

export const KINDS = {
  sync: { calls: ["fdatasync", "fsync"], error: "EIO", mustStop: true },
  write: { calls: ["write", "pwrite64", "writev", "pwritev", "pwritev2"], error: "ENOSPC", mustStop: false },
  // A write that returns EIO is a failed sync where a file is open with O_DSYNC, as Walnut's log is.
  writeio: { calls: ["write", "pwrite64", "writev", "pwritev", "pwritev2"], error: "EIO", mustStop: false },
  open: { calls: ["open", "openat"], error: "EMFILE", mustStop: false },
  rename: { calls: ["rename", "renameat", "renameat2"], error: "EIO", mustStop: false },
  read: { calls: ["read", "pread64", "readv", "preadv"], error: "EIO", mustStop: false },
  mkdir: { calls: ["mkdir", "mkdirat"], error: "ENOSPC", mustStop: false },
} as const satisfies Record<string, FaultKind>;
export type Kind = keyof typeof KINDS;

/** What a run without faults touched. */
export interface Recording {
  readonly paths: readonly string[];
  /** For each kind the files that were touched, call by call, by the thread that made the most calls. */
  readonly calls: Readonly<Record<Kind, readonly string[]>>;
}

export type Verdict =
  | "stopped" //   the process ended with a code that is not 0 and said why
  | "refused" //   a request was answered with an error, the member went on
  | "told" //      nobody was refused anything; the log says what happened
  | "broken" //    real etcd only: the directory does not open again
  | "not struck"; // the run made fewer calls of this kind

export interface Outcome {
  readonly kind: Kind;
  readonly nth: number;
  readonly verdict: Verdict;
  readonly acknowledged: number;
  /** The call that failed, as strace tells it. */
  readonly call: string;
  /** The server's own sentence about the fault. */
  readonly said: string;
}

/** A law that a faulted run broke. */
export class FaultError extends Error {}

const TEMPORARY = /\/(db\.tmp[^/]*|tmp[^/]*)>/;
const SNAPSHOT_COUNT = 10;
const PUTS = 24;
const POOL_OF_ONE = { UV_THREADPOOL_SIZE: "1" };
const REQUEST_WITHIN_MS = 8_000;
const READY_WITHIN_MS = 60_000;

/** The smoke run's requests; gives what was acknowledged and what was refused. */
async function smoke(server: Server): Promise<{ acknowledged: Map<string, number>; refused: string[] }> {
  const acknowledged = new Map<string, number>();
  const refused: string[] = [];
  for (let i = 0; i < PUTS && server.running; i++) {
    const key = `smoke/${i}`;
    const bytes = encode("PutRequest", { key: Buffer.from(key), value: Buffer.from(`value of ${key}`) });
    const answer = await server.client.send(METHODS.Put.path, bytes, REQUEST_WITHIN_MS);
    if (answer.kind === "error") refused.push(answer.text);
    else acknowledged.set(key, i);
    if (i === PUTS / 2 && server.running) {
      const defragment = await server.client.send(METHODS.Defragment.path, new Uint8Array(), REQUEST_WITHIN_MS);
      if (defragment.kind === "error") refused.push(defragment.text);
    }
  }
  return { acknowledged, refused };
}

/** Runs the smoke run under strace without faults. */
export async function record(stage: Stage, binary: ServerBinary): Promise<Recording> {
  const seat = await stage.seat();
  const log = `${seat.dataDir}.strace`;
  const traced = [...new Set(Object.values(KINDS).flatMap(({ calls }) => calls))];
  const wrap = [
    "strace",
    "-D",
    "-f",
    "-q",
    "-y",
    "-s",
    "4096",
    "-o",
    log,
    "-e",
    `trace=${traced.map((call) => `?${call}`).join(",")}`,
  ];
  const options = { snapshotCount: SNAPSHOT_COUNT, env: POOL_OF_ONE };
  const server = await Server.start(binary, seat, { ...options, wrap });
  const { refused } = await smoke(server);
  if (refused.length > 0) throw new Error(`the run without faults was refused: ${refused.join("; ")}`);
  await server.stop();
  await traceEnded(log, server.pid);
  // A second run on the same folder: what a restart reads is struck too.
  const again = await stage.start(binary, seat, options);
  await again.stop();
  return readRecording(readFileSync(log, "utf8"), seat);
}

function readRecording(text: string, seat: Seat): Recording {
  const paths = new Set<string>();
  const sequences = new Map<string, string[]>();
  const folder = realpathSync(seat.dataDir);
  const touchedPath = new RegExp(`${folder}(/[^">]*)?(?=[">])`, "g");
  for (const line of text.split("\n")) {
    const call = /^(\d+) +([a-z0-9_]+)\(/.exec(line);
    const touched = line.match(touchedPath)?.map((path) => path.slice(folder.length));
    if (call === null || touched === undefined) continue;
    for (const path of touched) paths.add(path);
    for (const [kind, { calls }] of Object.entries(KINDS)) {
      if (!(calls as readonly string[]).includes(call[2]!)) continue;
      const thread = `${kind} ${call[1]}`;
      sequences.set(thread, [...(sequences.get(thread) ?? []), touched.at(-1)!]);
    }
  }
  const longest = (kind: string): readonly string[] =>
    [...sequences]
      .filter(([thread]) => thread.startsWith(`${kind} `))
      .map(([, sequence]) => sequence)
      .sort((a, b) => b.length - a.length)[0] ?? [];
  const calls = Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, longest(kind)])) as Recording["calls"];
  return { paths: [...paths].sort(), calls };
}

/**
 * The numbers of the calls that are worth a fault: of a long row of calls on the same file, as the filling of a segment with
 * zeros is, only the first two and the last two.
 */
export function worthStriking(sequence: readonly string[]): number[] {
  const numbers: number[] = [];
  for (let start = 0; start < sequence.length;) {
    let end = start;
    while (end < sequence.length && sequence[end] === sequence[start]) end++;
    for (let i = start; i < end; i++) if (i < start + 2 || i >= end - 2) numbers.push(i + 1);
    start = end;
  }
  return numbers;
}

/** strace outlives the server by a moment; its log is whole when it tells the end of the server's process. */
async function traceEnded(log: string, pid: number): Promise<void> {
  const end = new RegExp(`^${pid} +\\+\\+\\+ (exited|killed)`, "m");
  for (let i = 0; i < 200; i++) {
    if (existsSync(log) && end.test(readFileSync(log, "utf8"))) return;
    await pause(25);
  }
  throw new Error(`strace did not tell the end of process ${pid} in ${log}`);
}

/**
 * One run with one fault, and a run without faults on what it left.
 *
 * @throws FaultError when the member hung, went on where it must stop, said nothing, crashed, or lost what it had acknowledged
 */
export async function strike(
  stage: Stage,
  binary: ServerBinary,
  recording: Recording,
  kind: Kind,
  nth: number,
): Promise<Outcome> {
  const seat = await stage.seat();
  const log = `${seat.dataDir}.strace`;
  const { calls, error, mustStop } = KINDS[kind] as FaultKind;
  const list = calls.map((call) => `?${call}`).join(",");
  const where = recording.paths.flatMap((path) => ["-P", seat.dataDir + path]);
  const inject = ["-e", `trace=${list}`, "-e", `inject=${list}:error=${error}:when=${nth}`];
  const wrap = ["strace", "-D", "-f", "-q", "-y", "-o", log, ...where, ...inject];
  const run = await faultedRun(stage, binary, seat, wrap);
  await traceEnded(log, run.pid);
  const call = /^.*\(INJECTED\)/m.exec(readFileSync(log, "utf8"))?.[0] ?? "";
  const name = `${binary.name}, ${kind} ${nth}: ${call}`;
  const outcome = { kind, nth, acknowledged: run.acknowledged.size, call };
  // A file under a temporary name can be given up together with what it was for, as defragmentation does.
  const must = mustStop && !TEMPORARY.test(call);
  const verdict = judge(name, run, call !== "", must, binary.family === "walnut");
  try {
    await opensAgain(stage, binary, seat, run.acknowledged, name);
  } catch (error) {
    // Real etcd applies entries before they are durable, so a failed sync may leave a db ahead of its log and a member that
    // never serves again. That is told and not judged: the laws are Walnut's.
    if (binary.family === "walnut" || !(error instanceof FaultError)) throw error;
    return { ...outcome, verdict: "broken", said: error.message };
  }
  return { ...outcome, verdict, said: sentence(run.log) ?? "" };
}

interface FaultedRun {
  readonly pid: number;
  readonly exit: Exit;
  readonly acknowledged: ReadonlyMap<string, number>;
  readonly refused: readonly string[];
  readonly log: readonly string[];
}

async function faultedRun(
  stage: Stage,
  binary: ServerBinary,
  seat: Seat,
  wrap: readonly string[],
): Promise<FaultedRun> {
  const options = { snapshotCount: SNAPSHOT_COUNT, env: POOL_OF_ONE, wrap, readyWithinMs: READY_WITHIN_MS };
  let server: Server;
  try {
    server = await stage.start(binary, seat, options);
  } catch (error) {
    if (!(error instanceof StartError)) throw error;
    return { pid: error.pid, exit: error.exit, acknowledged: new Map(), refused: [], log: error.log };
  }
  const { acknowledged, refused } = await smoke(server);
  const exit = server.running ? await endOf(server) : await server.exited();
  return { pid: server.pid, exit, acknowledged, refused, log: server.log };
}

/** Asks the server to stop; the fault may make it end with an error, which is judged later. */
async function endOf(server: Server): Promise<Exit> {
  try {
    return await server.stop();
  } catch (error) {
    if (server.running) throw error;
    return server.exited();
  }
}

function judge(name: string, run: FaultedRun, struck: boolean, mustStop: boolean, ours: boolean): Verdict {
  if (!struck) return "not struck";
  const tail = run.log.slice(-8).join("\n");
  const clean = run.exit.code === 0 || run.exit.signal === "SIGTERM";
  if (!clean) {
    if (ours && run.exit.signal !== null)
      throw new FaultError(`${name}: the process was ${describeExit(run.exit)}:\n${tail}`);
    if (ours && codedSentence(run.log) === undefined)
      throw new FaultError(`${name}: ended without a named error:\n${tail}`);
    return "stopped";
  }
  if (ours && mustStop) throw new FaultError(`${name}: went on after a failed sync:\n${tail}`);
  if (run.refused.length > 0) return "refused";
  if (ours && sentence(run.log) === undefined) throw new FaultError(`${name}: passed without a word:\n${tail}`);
  return "told";
}

/** The last sentence of a log that names an error by its code, as Walnut's failures do. */
export function codedSentence(log: readonly string[]): string | undefined {
  return log.findLast((line) => /\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+: /.test(line));
}

/** The same for any server: etcd has no codes, there the last line of level warn or above counts. */
export function sentence(log: readonly string[]): string | undefined {
  return codedSentence(log) ?? log.findLast((line) => /"level":"(warn|error|fatal|panic)"/.test(line));
}

async function opensAgain(
  stage: Stage,
  binary: ServerBinary,
  seat: Seat,
  acknowledged: ReadonlyMap<string, number>,
  name: string,
): Promise<void> {
  let server: Server;
  try {
    server = await stage.start(binary, seat, { snapshotCount: SNAPSHOT_COUNT, readyWithinMs: READY_WITHIN_MS });
  } catch (error) {
    throw new FaultError(`${name}: does not open again: ${String(error)}`);
  }
  const values = new Map<string, string>();
  for await (const { key, value } of server.client.keys())
    values.set(Buffer.from(key).toString(), Buffer.from(value).toString());
  await server.stop();
  for (const key of acknowledged.keys()) {
    if (values.get(key) === `value of ${key}`) continue;
    throw new FaultError(`${name}: ${key} was acknowledged and is ${values.get(key) ?? "gone"} after the restart`);
  }
}

export function describeCalls({ calls }: Recording): string {
  return Object.entries(calls)
    .map(([kind, sequence]) => `${sequence.length} x ${kind}`)
    .join(", ");
}

export function describeOutcome({ kind, nth, verdict, acknowledged, call, said }: Outcome): string {
  return `${kind} ${nth}: ${call === "" ? "" : `${call.slice(0, 200)}: `}${verdict} after ${acknowledged} acknowledged puts${said === "" ? "" : `: ${said.slice(0, 300)}`}`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string", default: "under-test" },
      kind: { type: "string", default: Object.keys(KINDS).join(",") },
      all: { type: "boolean", default: false },
    },
  });
  const binary = serverNamed(values.server);
  const failures: string[] = [];
  const totals = new Map<string, number>();
  await Stage.with(async (stage) => {
    const recording = await record(stage, binary);
    console.log(`${binary.name}: ${recording.paths.length} files; ${describeCalls(recording)}`);
    for (const kind of values.kind.split(",") as Kind[]) {
      const sequence = recording.calls[kind];
      for (const nth of values.all ? sequence.map((_, i) => i + 1) : worthStriking(sequence)) {
        try {
          const outcome = await strike(stage, binary, recording, kind, nth);
          console.log(describeOutcome(outcome));
          const key = `${kind}: ${outcome.verdict}`;
          totals.set(key, (totals.get(key) ?? 0) + 1);
        } catch (error) {
          failures.push(String(error));
          console.log(`FAILED ${String(error)}`);
        }
      }
    }
  });
  for (const [key, count] of totals) console.log(`${count} x ${key}`);
  console.log(`${[...totals.values()].reduce((sum, count) => sum + count, 0)} faults answered, ${failures.length} not`);
  if (failures.length > 0) process.exitCode = 1;
}

if (process.argv[1] === import.meta.filename) await main();
