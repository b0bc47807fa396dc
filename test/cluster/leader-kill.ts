/**
 * The leader of three members dies again and again under load: no acknowledged write is lost, revisions have no gap, and all
 * members hold the same in the end.
 *
 *   node dist/test/cluster/leader-kill.js [--kills 100] [--server under-test] [--members 3] [--puts 800] [--rate 1000]
 *        [--snapshot-count 2000] [--check-every 20] [--seed S]
 *   node dist/test/cluster/leader-kill.js --etcdctl [--kills 5]
 *
 * Several clients put through all members without a pause. SIGKILL meets the leader after a random number of acknowledged
 * puts. It is started again at once or after the others have found a new leader, as chance has it. Unavailable is the time
 * from the kill to the first acknowledged put that began after it.
 *
 * With `--etcdctl` the clients are processes of `etcdctl`, one for every put, and the reader is `etcdctl` too.
 */
import { parseArgs } from "node:util";
import { etcd, serverNamed, type ServerBinary } from "../support/binaries.js";
import { all, Cluster } from "../support/cluster.js";
import { PutLedger } from "../support/ledger.js";
import { PutLoad } from "../support/load.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";
import { run } from "../support/tools.js";

export interface LeaderKillOptions {
  readonly binaries: readonly ServerBinary[];
  readonly kills: number;
  /** The leader dies after a random number of acknowledged puts in `[1, puts)`, counted from when the last one was back. */
  readonly puts: number;
  readonly perSecond: number;
  readonly snapshotCount: number;
  /** After so many kills what was acknowledged is looked for, and the hashes of the members are compared. */
  readonly checkEvery: number;
  readonly seed: number;
}

export interface LeaderKillReport {
  readonly kills: number;
  readonly attempted: number;
  readonly acknowledged: number;
  readonly unacknowledgedKept: number;
  readonly revision: number;
  readonly hash: number;
  /** Of each kill, in milliseconds. */
  readonly unavailableMs: readonly number[];
}

const CLIENTS = 4;
const IN_FLIGHT = 12;

/** @throws with the first law that is broken */
export async function killLeaders(options: LeaderKillOptions, tell: (text: string) => void): Promise<LeaderKillReport> {
  return Stage.with(async (stage) => {
    const random = new SeededRandom(options.seed);
    const { snapshotCount } = options;
    const cluster = await Cluster.start(stage, options.binaries, { snapshotCount });
    const ledger = new PutLedger("leader-kill/");
    const { perSecond } = options;
    const load = new PutLoad(ledger, {
      addresses: () => cluster.addresses,
      clients: CLIENTS,
      inFlight: IN_FLIGHT,
      perSecond,
    });
    const unavailableMs: number[] = [];
    try {
      for (let kill = 1; kill <= options.kills; kill++) {
        await load.reach(load.acknowledged + random.between(1, options.puts));
        const told = await killOneLeader(cluster, load, random.oneIn(2));
        unavailableMs.push(told.unavailableMs);
        tell(`kill ${kill}: ${told.text}, ${ledger.acknowledged} puts acknowledged`);
        if (kill % options.checkEvery === 0)
          tell(await checkUnderLoad(cluster, ledger, `after kill ${kill} of seed ${options.seed}`));
      }
    } finally {
      await load.stop();
    }
    for (const [ending, times] of load.endings) tell(`${times} puts ended with ${ending}`);
    const { revision, hash } = await checkAtRest(cluster, ledger, `at the end of seed ${options.seed}`);
    const { attempted, acknowledged, unacknowledgedKept } = ledger;
    return { kills: options.kills, attempted, acknowledged, unacknowledgedKept, revision, hash, unavailableMs };
  });
}

async function killOneLeader(
  cluster: Cluster,
  load: PutLoad,
  backAtOnce: boolean,
): Promise<{ unavailableMs: number; text: string }> {
  const leader = await cluster.leader();
  const killedAt = performance.now();
  await leader.kill();
  const [firstAt] = await all([load.firstFromNow(), backAtOnce ? cluster.restart(leader) : undefined]);
  const unavailableMs = Math.round(firstAt - killedAt);
  if (!backAtOnce) await cluster.restart(leader);
  await cluster.caughtUp(leader);
  const next = await cluster.leader();
  const text = `${leader.describe} led and was ${backAtOnce ? "back at once" : "away for the election"}, ${next.name} leads; unavailable ${unavailableMs} ms`;
  return { unavailableMs, text };
}

async function checkUnderLoad(cluster: Cluster, ledger: PutLedger, where: string): Promise<string> {
  for (const { client, describe } of cluster.running) await ledger.check(client, `${describe}, ${where}`);
  const { revision, hash } = await cluster.sameHash(where);
  return `${where}: acknowledged puts are there up to revision ${ledger.revision}, hashKV of all members at ${revision} is ${hash}`;
}

async function checkAtRest(
  cluster: Cluster,
  ledger: PutLedger,
  where: string,
): Promise<{ revision: number; hash: number }> {
  await cluster.sameContents(where);
  for (const { client, describe } of cluster.running) await ledger.checkAll(client, `${describe}, ${where}`);
  return cluster.sameHash(where);
}

/** The middle, the 99th of a hundred and the largest. */
export function describeTimes(times: readonly number[]): string {
  const sorted = [...times].sort((a, b) => a - b);
  const at = (share: number): number =>
    sorted[Math.min(sorted.length - 1, Math.ceil(share * sorted.length) - 1)] ?? NaN;
  return `p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, max ${at(1)} ms`;
}

export function describeReport(report: LeaderKillReport): string {
  return (
    `${report.kills} leaders killed: ${report.acknowledged} of ${report.acknowledged} acknowledged puts are there, revisions 2 to ${report.revision} without a gap, ` +
    `${report.unacknowledgedKept} unacknowledged ones kept, ${report.attempted} attempted; hashKV of all members ${report.hash}; ` +
    `unavailable ${describeTimes(report.unavailableMs)}`
  );
}

export interface EtcdctlReport {
  readonly acknowledged: number;
  readonly failed: number;
  readonly unavailableMs: readonly number[];
}

const ETCDCTL_CLIENTS = 3;

/** The same through `etcdctl`, one process for every put. @throws where an acknowledged put is not there */
export async function killLeadersThroughEtcdctl(
  options: { readonly binaries: readonly ServerBinary[]; readonly kills: number; readonly puts: number },
  tell: (text: string) => void,
): Promise<EtcdctlReport> {
  return Stage.with(async (stage) => {
    const cluster = await Cluster.start(stage, options.binaries);
    const puts = new EtcdctlPuts(cluster.addresses);
    const unavailableMs: number[] = [];
    try {
      for (let kill = 1; kill <= options.kills; kill++) {
        await puts.more(options.puts);
        const leader = await cluster.leader();
        const killedAt = performance.now();
        await leader.kill();
        await puts.more(1, killedAt);
        unavailableMs.push(Math.round(performance.now() - killedAt));
        await cluster.restart(leader);
        await cluster.caughtUp(leader);
        tell(
          `kill ${kill}: ${leader.describe} led; unavailable ${unavailableMs.at(-1)} ms, ${puts.acknowledged.size} puts acknowledged`,
        );
      }
    } finally {
      await puts.stop();
    }
    await puts.check();
    await cluster.sameContents("after the kills");
    return { acknowledged: puts.acknowledged.size, failed: puts.failed, unavailableMs };
  });
}

/** Clients that run `etcdctl put` one after another, through all members. */
class EtcdctlPuts {
  /** Keys whose put ended with exit code 0, and their values. */
  readonly acknowledged = new Map<string, string>();
  failed = 0;
  readonly #endpoints: string;
  readonly #clients: Promise<void>[];
  #stopped = false;
  #onPut: (begunAt: number) => void = () => {};

  constructor(addresses: readonly string[]) {
    this.#endpoints = `--endpoints=${addresses.join(",")}`;
    this.#clients = Array.from({ length: ETCDCTL_CLIENTS }, async (_, client) => this.#client(client));
  }

  /** Waits for so many more puts that began after a moment. */
  async more(count: number, begunAfter = 0): Promise<void> {
    let seen = 0;
    await new Promise<void>((resolve) => {
      this.#onPut = (begunAt) => {
        if (begunAt > begunAfter && ++seen >= count) resolve();
      };
    });
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await Promise.all(this.#clients);
  }

  /** Reads all of it with `etcdctl`. */
  async check(): Promise<void> {
    const { code, stdout, stderr } = await this.#etcdctl("get", "--prefix", "etcdctl/");
    if (code !== 0) throw new Error(`etcdctl get ended with ${code}: ${stderr}`);
    const lines = stdout.split("\n");
    const found = new Map(lines.flatMap((key, i) => (i % 2 === 0 ? [[key, lines[i + 1]] as const] : [])));
    for (const [key, value] of this.acknowledged) {
      if (found.get(key) !== value)
        throw new Error(`etcdctl put ${key} ended with 0, and etcdctl get finds ${found.get(key)}`);
    }
  }

  async #client(client: number): Promise<void> {
    for (let number = 0; !this.#stopped; number++) {
      const [key, value] = [`etcdctl/${client}/${number}`, `value ${number} of client ${client}`];
      const begunAt = performance.now();
      const { code } = await this.#etcdctl("put", key, value);
      if (code === 0) {
        this.acknowledged.set(key, value);
        this.#onPut(begunAt);
      } else this.failed++;
    }
  }

  async #etcdctl(...args: readonly string[]): ReturnType<typeof run> {
    return run(etcd("newest").etcdctl, [this.#endpoints, ...args]);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string" },
      members: { type: "string", default: "3" },
      puts: { type: "string", default: "800" },
      rate: { type: "string", default: "1000" },
      "snapshot-count": { type: "string", default: "2000" },
      "check-every": { type: "string", default: "20" },
      server: { type: "string", default: "under-test" },
      etcdctl: { type: "boolean", default: false },
      seed: { type: "string" },
    },
  });
  const binary = serverNamed(values.server);
  const binaries = Array.from({ length: Number(values.members) }, () => binary);
  const tell = (text: string): void => console.log(text);
  if (values.etcdctl) {
    const report = await killLeadersThroughEtcdctl({ binaries, kills: Number(values.kills ?? 5), puts: 20 }, tell);
    console.log(
      `${report.unavailableMs.length} leaders killed: ${report.acknowledged} puts of etcdctl are there, ${report.failed} failed; ` +
        `unavailable ${describeTimes(report.unavailableMs)}`,
    );
    return;
  }
  const seed = chooseSeed(values.seed);
  const kills = Number(values.kills ?? 100);
  console.log(`${kills} kills of the leader of ${binaries.length} members of ${binary.name}, seed ${seed}`);
  const report = await killLeaders(
    {
      binaries,
      kills,
      puts: Number(values.puts),
      perSecond: Number(values.rate),
      snapshotCount: Number(values["snapshot-count"]),
      checkEvery: Number(values["check-every"]),
      seed,
    },
    tell,
  );
  console.log(describeReport(report));
}

if (process.argv[1] === import.meta.filename) await main();
