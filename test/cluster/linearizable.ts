/**
 * Five clients on three members that are killed and stopped in their tracks: is there one order of all that was asked, true to
 * time, in which every answer is right?
 *
 *   node dist/test/cluster/linearizable.js [--minutes 10] [--server under-test[,under-test,...]] [--clients 5]
 *        [--rate 300] [--snapshot-count 500] [--seed S] [--history FILE]
 *   node dist/test/cluster/linearizable.js --check FILE
 *
 * SIGKILL, and SIGSTOP with SIGCONT, meet one member, the leader, two or all of them at once, as the seed says. A request whose
 * answer did not come is of unknown outcome and stays so: it may take effect later, once, or never. The history is judged by
 * `sim/check`: with etcd's revisions as the witness of the order, by search, and serializable reads by themselves. What the
 * members have stored under every revision is read in the end and must be what the model wrote.
 *
 * The history of a run that fails is kept, and its file is named; `--check` judges it again.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import {
  historyFromLines,
  HistoryRecorder,
  historyToLines,
  type History,
  type KeyValueRequest,
  type RecordedCall,
  type RefusalReason,
} from "../../sim/check/history.js";
import { describeViolation, type Violation } from "../../sim/check/report.js";
import { checkByRevisions } from "../../sim/check/revision-witness.js";
import { searchLinearization } from "../../sim/check/search.js";
import { checkSerializable } from "../../sim/check/serializable.js";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { all, Cluster, type ClusterMember } from "../support/cluster.js";
import { Connection } from "../support/load.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { fromWire, partsByKey, readLog, RequestMaker, toWire } from "./linearizable-requests.js";

export interface LinearizableOptions {
  readonly binaries: readonly ServerBinary[];
  readonly seconds: number;
  readonly clients: number;
  /** Requests a second, all clients together. */
  readonly perSecond: number;
  readonly snapshotCount: number;
  readonly seed: number;
}

export interface LinearizableReport {
  readonly operations: number;
  readonly answered: number;
  readonly refused: number;
  readonly unknown: number;
  /** Requests of unknown outcome that took effect. */
  readonly unknownPlaced: number;
  readonly faults: ReadonlyMap<string, number>;
  readonly revision: number;
  /** Steps of the search, and what it found. */
  readonly search: string;
}

/** The history is no history of one store. */
export class NotLinearizable extends Error {}

const CALL_WITHIN_MS = 1_500;
/** For each key. The search takes back choices, and its time grows with the requests that overlap. */
const SEARCH_STEPS_MAX = 1_000_000;

/** @throws NotLinearizable with the first broken laws and the file that holds the history */
export async function judgeCluster(
  options: LinearizableOptions,
  tell: (text: string) => void,
  keepAs?: string,
): Promise<LinearizableReport> {
  const faults = new Map<string, number>();
  const history = await Stage.with(async (stage) => record(stage, options, faults, tell));
  const file = keepAs ?? join(tmpdir(), `walnut-history-${options.seed}-${process.pid}.jsonl`);
  if (keepAs !== undefined) writeFileSync(file, historyToLines(history));
  try {
    return { ...judge(history), faults };
  } catch (error) {
    writeFileSync(file, historyToLines(history));
    throw new NotLinearizable(`seed ${options.seed}: ${String(error)}\nthe history is kept: ${file}`, { cause: error });
  }
}

/** Lets the clients and the faults loose, then heals everything and reads what was stored. */
async function record(
  stage: Stage,
  options: LinearizableOptions,
  faults: Map<string, number>,
  tell: (text: string) => void,
): Promise<History> {
  const begin = performance.now();
  const now = (): number => Math.round(performance.now() - begin);
  const recorder = new HistoryRecorder({ now });
  const cluster = await Cluster.start(stage, options.binaries, { snapshotCount: options.snapshotCount });
  const random = new SeededRandom(options.seed);
  const runs = new Runs(cluster);
  const over = new AbortController();
  const clients = Array.from({ length: options.clients }, async (_, i) => {
    const choices = new SeededRandom(options.seed * 31 + i);
    const maker = new RequestMaker(`c${i}`, choices);
    const stepMs = (1000 * options.clients) / options.perSecond;
    for (let nextAt = performance.now(); !over.signal.aborted; nextAt = Math.max(nextAt + stepMs, performance.now())) {
      if (nextAt > performance.now()) await pause(nextAt - performance.now());
      // A client does not know who is away, but one that asked them as often as the others would do little else.
      const members = choices.oneIn(6) || cluster.running.length === 0 ? cluster.members : cluster.running;
      await askOnce(recorder, runs, choices.pick(members), maker, `c${i}`);
    }
  });
  const until = performance.now() + options.seconds * 1000;
  try {
    for (let number = 1; performance.now() < until; number++) {
      await pause(random.between(100, 1_500));
      const name = await strike(cluster, runs, random);
      faults.set(name, (faults.get(name) ?? 0) + 1);
      tell(`fault ${number} at ${now()} ms: ${name}, ${recorder.size} requests so far`);
    }
    await cluster.leader();
  } finally {
    over.abort();
    await Promise.all(clients);
    runs.close();
  }
  await cluster.settled();
  await readBack(cluster, recorder);
  await cluster.sameContents("at the end");
  return recorder.history();
}

/** Every member is asked once more, and one of them for all that it stored. */
async function readBack(cluster: Cluster, recorder: HistoryRecorder): Promise<void> {
  for (const member of cluster.members) {
    const connection = new Connection(member.address);
    await call(recorder, connection, member, undefined, { kind: "range", key: "lin/", end: "lin0" }, "reader");
    connection.close();
  }
  const [first] = cluster.members;
  const { revision } = await first!.status();
  const connection = new Connection(first!.address);
  for (const logged of await readLog(connection, revision)) recorder.logged(logged);
  connection.close();
}

/**
 * The runs of the members' processes, each with connections of its own: an answer then belongs to one run, and a member that
 * is away is not asked by a connection that would reach the next run.
 */
class Runs {
  readonly #cluster: Cluster;
  readonly #numbers = new Map<ClusterMember, number>();
  readonly #connections = new Map<string, Connection>();

  constructor(cluster: Cluster) {
    this.#cluster = cluster;
  }

  runOf(member: ClusterMember): number {
    return this.#numbers.get(member) ?? 1;
  }

  /** The client's connection to the run that is there now. */
  connection(member: ClusterMember, client: string): Connection {
    const name = `${client} ${member.name}`;
    let connection = this.#connections.get(name);
    if (connection === undefined) this.#connections.set(name, (connection = new Connection(member.address)));
    return connection;
  }

  async kill(member: ClusterMember): Promise<void> {
    await member.kill();
    for (const [name, connection] of this.#connections) {
      if (!name.endsWith(` ${member.name}`)) continue;
      connection.close();
      this.#connections.delete(name);
    }
    this.#numbers.set(member, this.runOf(member) + 1);
  }

  async restart(member: ClusterMember): Promise<void> {
    await this.#cluster.restart(member);
  }

  close(): void {
    for (const connection of this.#connections.values()) connection.close();
  }
}

async function askOnce(
  recorder: HistoryRecorder,
  runs: Runs,
  member: ClusterMember,
  maker: RequestMaker,
  client: string,
): Promise<void> {
  const request = maker.next();
  const connection = runs.connection(member, client);
  const answer = await call(recorder, connection, member, runs.runOf(member), request, client);
  if (answer !== undefined) maker.saw(request, answer);
}

async function call(
  recorder: HistoryRecorder,
  connection: Connection,
  member: ClusterMember,
  run: number | undefined,
  request: KeyValueRequest,
  client: string,
): Promise<ReturnType<typeof fromWire> | undefined> {
  const { method, message } = toWire(request);
  const recorded: RecordedCall = recorder.call(
    { client, member: member.name, ...(run === undefined ? {} : { run }) },
    request,
  );
  const outcome = await connection.call(method, message, CALL_WITHIN_MS);
  if (outcome.kind === "unknown") recorded.unknown(outcome.why);
  else if (outcome.kind === "refused") recorded.refused(reasonOf(outcome.why), outcome.why);
  else {
    const response = fromWire(request, outcome.response);
    recorded.answered(response);
    return response;
  }
  return undefined;
}

function reasonOf(why: string): RefusalReason {
  if (why.includes("required revision has been compacted")) return "compacted";
  return why.includes("required revision is a future revision") ? "future" : "other";
}

/** One fault, from its beginning to its end; gives its name. */
async function strike(cluster: Cluster, runs: Runs, random: SeededRandom): Promise<string> {
  const leader = await leaderAsKnown(cluster);
  const shuffled = [...cluster.members].sort(() => random.between(0, 3) - 1);
  const any = shuffled[0]!;
  const other = shuffled[1]!;
  const downMs = random.between(0, 2_000);
  return random.weighted<() => Promise<string>>([
    [4, () => kill("leader killed", [leader ?? any])],
    [3, () => kill("member killed", [any])],
    [2, () => kill("two killed", [any, other])],
    [2, () => kill("all killed", shuffled)],
    [4, () => stop("leader stopped", [leader ?? any])],
    [3, () => stop("member stopped", [any])],
    [1, () => stop("two stopped", [any, other])],
    [1, () => stop("all stopped", shuffled)],
    [
      2,
      async () => {
        await all([stop("", [any]), kill("", [other])]);
        return "one stopped, another killed";
      },
    ],
  ])();

  async function kill(name: string, members: readonly ClusterMember[]): Promise<string> {
    await all(members.map(async (member) => runs.kill(member)));
    await pause(downMs);
    // A member without a majority does not come to serve, so those that start wait for each other.
    await all(members.map(async (member) => runs.restart(member)));
    return name;
  }

  /** SIGSTOP: the clock goes on, the connections stay, and nothing is answered. Longer than an election takes, often. */
  async function stop(name: string, members: readonly ClusterMember[]): Promise<string> {
    const pids = members.map(({ server }) => server.pid);
    for (const pid of pids) process.kill(pid, "SIGSTOP");
    try {
      await pause(500 + 1.5 * downMs);
    } finally {
      for (const pid of pids) process.kill(pid, "SIGCONT");
    }
    return name;
  }
}

/** The leader by the word of the first member that answers; undefined where none knows one. */
async function leaderAsKnown(cluster: Cluster): Promise<ClusterMember | undefined> {
  for (const member of cluster.running) {
    const status = await member.client.status(300).catch(() => undefined);
    const leader = cluster.running.find(({ id }) => id === status?.leader);
    if (leader !== undefined) return leader;
  }
  return undefined;
}

/** Judges a history. @throws NotLinearizable with the broken laws */
export function judge(history: History): Omit<LinearizableReport, "faults"> {
  const witness = checkByRevisions(history);
  const violations = [...witness.violations, ...checkSerializable(history, witness.model)];
  const searched = searchKeys(history);
  violations.push(...searched.violations);
  if (violations.length > 0) throw new NotLinearizable(violations.map(describeViolation).join("\n"));
  if (witness.undecided !== undefined) throw new NotLinearizable(`no verdict: ${witness.undecided}`);
  const ended = (kind: string): number => history.operations.filter(({ outcome }) => outcome.kind === kind).length;
  return {
    operations: history.operations.length,
    answered: ended("answered"),
    refused: ended("refused"),
    unknown: ended("unknown"),
    unknownPlaced: witness.placed.size,
    revision: witness.model?.revision ?? 0,
    search: searched.text,
  };
}

/** Judges each key by search, on the part of the history that concerns it. */
function searchKeys(history: History): { violations: Violation[]; text: string } {
  const violations: Violation[] = [];
  const kinds = new Map<string, number>();
  let steps = 0;
  let operations = 0;
  for (const part of partsByKey(history)) {
    const verdict = searchLinearization(part, { revisions: "observed", stepsMax: SEARCH_STEPS_MAX });
    violations.push(...verdict.violations);
    steps += verdict.steps;
    operations += part.operations.length - verdict.leftOut;
    kinds.set(verdict.kind, (kinds.get(verdict.kind) ?? 0) + 1);
  }
  const told = [...kinds].map(([kind, keys]) => `${keys} keys ${kind}`).join(", ");
  return { violations, text: `${told}, ${operations} requests, ${steps} steps` };
}

export function describeReport(report: LinearizableReport): string {
  const faults = [...report.faults].map(([name, times]) => `${times} x ${name}`).join(", ");
  return (
    `${report.operations} requests: ${report.answered} answered, ${report.refused} refused, ${report.unknown} of unknown outcome ` +
    `of which ${report.unknownPlaced} took effect, revision ${report.revision}; by revisions: linearizable; by search: ${report.search}` +
    (faults === "" ? "" : `; ${faults}`)
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      minutes: { type: "string", default: "10" },
      server: { type: "string", default: "under-test" },
      clients: { type: "string", default: "5" },
      rate: { type: "string", default: "300" },
      "snapshot-count": { type: "string", default: "500" },
      seed: { type: "string" },
      history: { type: "string" },
      check: { type: "string" },
    },
  });
  if (values.check !== undefined) {
    console.log(describeReport({ ...judge(historyFromLines(readFileSync(values.check, "utf8"))), faults: new Map() }));
    return;
  }
  const names = values.server.split(",");
  const binaries = Array.from({ length: 3 }, (_, i) => serverNamed(names[i % names.length]!));
  const seed = chooseSeed(values.seed);
  console.log(`${values.minutes} minutes on ${binaries.map(({ name }) => name).join(", ")}, seed ${seed}`);
  const report = await judgeCluster(
    {
      binaries,
      seconds: Number(values.minutes) * 60,
      clients: Number(values.clients),
      perSecond: Number(values.rate),
      snapshotCount: Number(values["snapshot-count"]),
      seed,
    },
    (text) => console.log(text),
    values.history,
  );
  console.log(describeReport(report));
}

if (process.argv[1] === import.meta.filename) await main();
