/**
 * A learner joins over a slow wire: it is sent the database, catches up while the cluster goes on writing, and is promoted as soon
 * as it may be. What that costs those who write is measured against the time just before.
 *
 *   node dist/test/cluster/learner.js [--server under-test] [--megabytes 80] [--rate 5000] [--seconds 15]
 *        [--wire-megabytes 5] [--times 3]
 *
 * Puts of 256 bytes leave at a steady rate, whatever becomes of those before, and each is timed from when it was due: a cluster that
 * stands still for a second has a second's puts that waited. `--times` is how many times the undisturbed p99 the one beside the
 * learner may be; 0 judges nothing.
 */
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { asBytes, CallError, idOf } from "../support/client.js";
import { all, Cluster, eventually, type ClusterMember } from "../support/cluster.js";
import { Connection } from "../support/load.js";
import type { Message } from "../support/messages.js";
import { freePort } from "../support/ports.js";
import { peerUrl, Stage, type Seat, type Server } from "../support/servers.js";
import { TcpProxy } from "../support/tcp-proxy.js";

export interface LearnerOptions {
  readonly binary: ServerBinary;
  /** What the store holds when the learner comes. */
  readonly megabytes: number;
  readonly perSecond: number;
  /** How long the undisturbed cluster is measured. */
  readonly seconds: number;
  /** Of the wire to the learner, each second. */
  readonly wireMegabytes: number;
}

export interface LearnerReport {
  readonly megabytes: number;
  readonly before: Latencies;
  /** From the learner's start to its promotion. */
  readonly during: Latencies;
  readonly after: Latencies;
  readonly promotedAfterMs: number;
  /** Sent to the learner's peer port. */
  readonly wireMegabytes: number;
  readonly hash: number;
}

/** Of one span of time. */
export interface Latencies {
  readonly puts: number;
  readonly failed: number;
  readonly perSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
}

const LARGE_BYTES = 4 * 2 ** 10;
const LARGE_IN_FLIGHT = 64;
const SNAPSHOT_COUNT = 1_000;
/** etcd keeps so many entries behind a snapshot: a learner that needs more is sent the database. */
const ENTRIES_KEPT = 5_000;
const KEYS = 2_000;
const PUT_WITHIN_MS = 10_000;
const FAILED_PRECONDITION = 9;
const PROMOTED_WITHIN_MS = 300_000;

/** @throws when the learner does not become a voter, came without the database, or holds something else than the others */
export async function joinLearner(options: LearnerOptions, tell: (text: string) => void): Promise<LearnerReport> {
  return Stage.with(async (stage) => {
    const { binary } = options;
    const cluster = await Cluster.start(stage, [binary, binary, binary], {
      snapshotCount: SNAPSHOT_COUNT,
      // A cluster of which every member has only just come up takes no new ones, unless it is told not to be so strict.
      flags: ["--strict-reconfig-check=false"],
    });
    const leader = await cluster.leader();
    const filled = await fill(leader, options.megabytes);
    const load = new SteadyPuts(cluster.addresses, options.perSecond);
    const seat = await stage.seat("learner");
    const wire = await TcpProxy.listen(
      { host: "127.0.0.1", port: await freePort() },
      { host: "127.0.0.1", port: seat.peerPort },
    );
    wire.shape("there", { bytesPerSecond: options.wireMegabytes * 2 ** 20 });
    try {
      // The load's own beginning is not what is measured, and the log must have let go of its first entries.
      await load.reach(Math.max(options.perSecond, 2 * SNAPSHOT_COUNT + ENTRIES_KEPT - filled));
      load.mark();
      await pause(options.seconds * 1000);
      const before = load.mark();
      tell(`undisturbed: ${describeLatencies(before)}`);
      const joined = await addAndPromote(stage, cluster, options.binary, seat, wire);
      const during = load.mark();
      tell(`beside the learner: ${describeLatencies(during)}, promoted after ${joined.promotedAfterMs} ms`);
      await load.reach(load.acknowledged + options.perSecond);
      const after = load.mark();
      await load.stop();
      const hash = await equalHash([...cluster.members.map(({ server }) => server), joined.server]);
      const wireMegabytes = Math.round(wire.bytes("there") / 2 ** 20);
      const { megabytes } = options;
      return { megabytes, before, during, after, promotedAfterMs: joined.promotedAfterMs, wireMegabytes, hash };
    } finally {
      await load.stop();
      await wire.close();
    }
  });
}

/** Adds a learner behind a slow wire and promotes it as soon as the leader allows it. */
async function addAndPromote(
  stage: Stage,
  cluster: Cluster,
  binary: ServerBinary,
  seat: Seat,
  wire: TcpProxy,
): Promise<{ server: Server; promotedAfterMs: number }> {
  const url = `http://127.0.0.1:${wire.port}`;
  const begin = performance.now();
  const leader = await cluster.leader();
  const added = await leader.client.call("MemberAdd", { peerURLs: [url], isLearner: true });
  const id = idOf((added["member"] as Message)["ID"]);
  await knownToAll(cluster, id);
  const members = cluster.members.map((member) => `${member.name}=${peerUrl(member.seat)}`);
  const server = await stage.start(binary, seat, {
    founding: { seats: [...cluster.members.map((member) => member.seat), seat], state: "existing" },
    // It makes no snapshot of its own, so one that lies there was sent.
    snapshotCount: 100_000_000,
    flags: ["--initial-advertise-peer-urls", url, "--initial-cluster", [...members, `learner=${url}`].join(",")],
    readyWithinMs: PROMOTED_WITHIN_MS,
  });
  await promote(cluster, id);
  const promotedAfterMs = Math.round(performance.now() - begin);
  const snapshots = readdirSync(join(seat.dataDir, "member", "snap")).filter((name) => name.endsWith(".snap"));
  if (snapshots.length === 0) throw new Error("the learner was never sent the database: it read the whole log");
  return { server, promotedAfterMs };
}

/** A member that joins asks any of the others who is in the cluster, and gives up where that one has not heard of it yet. */
async function knownToAll(cluster: Cluster, id: bigint): Promise<void> {
  for (const { client, name } of cluster.members) {
    await eventually(`${name} to know the new member`, PROMOTED_WITHIN_MS, async () => {
      const { members } = await client.call("MemberList", {});
      return ((members ?? []) as readonly Message[]).some((member) => idOf(member["ID"]) === id) ? true : "not yet";
    });
  }
}

/** Asks until the learner has caught up. */
async function promote(cluster: Cluster, id: bigint): Promise<void> {
  const until = performance.now() + PROMOTED_WITHIN_MS;
  for (;;) {
    const leader = await cluster.leader();
    try {
      await leader.client.call("MemberPromote", { ID: id });
      return;
    } catch (error) {
      const notYet = error instanceof CallError && error.code === FAILED_PRECONDITION;
      if (!notYet || performance.now() > until) throw error;
    }
    await pause(50);
  }
}

/** Puts so many megabytes of large values, each under a key of its own; gives how many. */
async function fill(leader: ClusterMember, megabytes: number): Promise<number> {
  const values = Math.ceil((megabytes * 2 ** 20) / LARGE_BYTES);
  const value = new Uint8Array(LARGE_BYTES).fill(0x77);
  let next = 0;
  const lane = async (): Promise<void> => {
    while (next < values) await leader.client.put(`large/${next++}`, value);
  };
  await Promise.all(Array.from({ length: LARGE_IN_FLIGHT }, lane));
  return values;
}

/** Waits until all have the newest revision, and compares their hashes there. */
async function equalHash(servers: readonly Server[]): Promise<number> {
  const revision = await servers[0]!.client.revision();
  // A linearizable read through a member waits until that member has all that was committed before.
  await all(servers.map(async ({ client }) => client.revision()));
  const told = await all(servers.map(async ({ client }) => client.hashKV(revision)));
  const hashes = told.map(({ hash }) => hash);
  if (new Set(hashes).size > 1) throw new Error(`hashKV at revision ${revision} differs: ${hashes.join(", ")}`);
  return hashes[0]!;
}

/** Puts at a steady rate through all members in turn, with the time that each one took. */
class SteadyPuts {
  readonly #connections: readonly Connection[];
  readonly #stepMs: number;
  readonly #pending = new Set<Promise<void>>();
  readonly #loop: Promise<void>;
  readonly #value = new Uint8Array(256).fill(0x70);
  #stopped = false;
  #times: number[] = [];
  #failed = 0;
  #acknowledged = 0;
  #markedAt = performance.now();

  constructor(addresses: readonly string[], perSecond: number) {
    this.#connections = addresses.map((address) => new Connection(address));
    this.#stepMs = 1000 / perSecond;
    this.#loop = this.#run();
  }

  get acknowledged(): number {
    return this.#acknowledged;
  }

  async #run(): Promise<void> {
    let dueAt = performance.now();
    for (let number = 0; !this.#stopped;) {
      for (; dueAt <= performance.now(); dueAt += this.#stepMs) this.#leave(number++, dueAt);
      await pause(1);
    }
    await Promise.all(this.#pending);
  }

  #leave(number: number, dueAt: number): void {
    const connection = this.#connections[number % this.#connections.length]!;
    const request = { key: asBytes(`small/${number % KEYS}`), value: this.#value };
    const put = connection.call("Put", request, PUT_WITHIN_MS).then(({ kind }) => {
      this.#pending.delete(put);
      if (kind !== "answered") {
        this.#failed++;
        return;
      }
      this.#acknowledged++;
      this.#times.push(performance.now() - dueAt);
    });
    this.#pending.add(put);
  }

  /** What happened since the last mark. Puts on their way count to the next span. */
  mark(): Latencies {
    const now = performance.now();
    const seconds = (now - this.#markedAt) / 1000;
    // Not by a comparison of our own: 260,000 times would hold the load for 120 ms, and be told as the cluster's in the span that follows.
    const sorted = Float64Array.from(this.#times).sort();
    const at = (share: number): number =>
      round(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? NaN);
    const told = {
      puts: sorted.length,
      failed: this.#failed,
      perSecond: Math.round(sorted.length / seconds),
      p50Ms: at(0.5),
      p99Ms: at(0.99),
      maxMs: at(1),
    };
    this.#times = [];
    this.#failed = 0;
    this.#markedAt = now;
    return told;
  }

  /** @throws when puts fail before that: then the cluster, or the machine, does not take so many, and nothing can be measured */
  async reach(acknowledged: number): Promise<void> {
    while (this.#acknowledged < acknowledged) {
      if (this.#failed > 0) {
        const rate = Math.round(1000 / this.#stepMs);
        throw new Error(`${this.#failed} puts failed or took over ${PUT_WITHIN_MS} ms: ${rate}/s are too many here`);
      }
      await pause(5);
    }
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
    for (const connection of this.#connections) connection.close();
  }
}

const round = (ms: number): number => Math.round(ms * 10) / 10;

export const describeLatencies = ({ puts, failed, perSecond, p50Ms, p99Ms, maxMs }: Latencies): string =>
  `${puts} puts at ${perSecond}/s, p50 ${p50Ms} ms, p99 ${p99Ms} ms, max ${maxMs} ms, ${failed} failed`;

export function describeReport(report: LearnerReport): string {
  const { before, during, after, megabytes, wireMegabytes, promotedAfterMs } = report;
  const times = Math.round((100 * during.p99Ms) / before.p99Ms) / 100;
  return (
    `a learner took ${wireMegabytes} MB (the store held ${megabytes} MB and more) and was a voter after ${promotedAfterMs} ms; ` +
    `p99 ${before.p99Ms} ms before, ${during.p99Ms} ms meanwhile (${times} times), ${after.p99Ms} ms after; all four hash to ${report.hash}`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string", default: "under-test" },
      megabytes: { type: "string", default: "80" },
      rate: { type: "string", default: "5000" },
      seconds: { type: "string", default: "15" },
      "wire-megabytes": { type: "string", default: "5" },
      times: { type: "string", default: "3" },
    },
  });
  const report = await joinLearner(
    {
      binary: serverNamed(values.server),
      megabytes: Number(values.megabytes),
      perSecond: Number(values.rate),
      seconds: Number(values.seconds),
      wireMegabytes: Number(values["wire-megabytes"]),
    },
    (text) => console.log(text),
  );
  console.log(describeReport(report));
  const times = Number(values.times);
  if (times > 0 && report.during.p99Ms > times * report.before.p99Ms) {
    console.error(`the p99 beside the learner is more than ${times} times the undisturbed one`);
    process.exitCode = 1;
  }
}

if (process.argv[1] === import.meta.filename) await main();
