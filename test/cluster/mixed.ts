/**
 * Real etcd and Walnut in one cluster, under load: either leads, every member is restarted, members of either kind catch up by
 * a snapshot, one is added and removed. In the end every acknowledged put is there and all members hold the same.
 *
 *   node dist/test/cluster/mixed.js [--reference 3.5.16,3.5.30] [--judged under-test] [--puts 100000] [--seed S]
 *
 * Without names it plays two of etcd with one of Walnut, then one with two. A member that was away needs a snapshot when the
 * leader has dropped the entries that it lacks: with `--snapshot-count 1000` that is after some 6,000 of them, since a leader keeps
 * 5,000 behind its last snapshot; real etcd drops none for 30 s after it has sent a snapshot. The leader's log tells when it has.
 */
import { parseArgs } from "node:util";
import { etcd, serverNamed, underTest, type ServerBinary } from "../support/binaries.js";
import { Cluster, eventually, type ClusterMember } from "../support/cluster.js";
import { PutLedger } from "../support/ledger.js";
import { PutLoad } from "../support/load.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";

export interface MixedOptions {
  /** Real etcd: one member for each. */
  readonly reference: readonly ServerBinary[];
  /** The server that is judged: one member for each. */
  readonly judged: readonly ServerBinary[];
  /** Of which kind a member is away until it needs a snapshot, from a leader of the other kind; one after the other. */
  readonly away: readonly ("reference" | "judged")[];
  /** Members that join and are removed again, one after the other. */
  readonly guests: readonly ServerBinary[];
  /** Acknowledged puts, at least. */
  readonly puts: number;
  readonly seed: number;
}

export interface MixedReport {
  readonly acknowledged: number;
  readonly attempted: number;
  readonly unacknowledgedKept: number;
  readonly revision: number;
  readonly hash: number;
  readonly seconds: number;
}

const CLIENTS = 4;
const IN_FLIGHT = 25;
const SNAPSHOT_COUNT = 1_000;
/** etcd's message, and Walnut's, when a member has dropped the entries up to an index. */
const COMPACTED = '"compacted Raft logs"';
const COMPACTED_WITHIN_MS = 120_000;
/** etcd's message, and Walnut's, when a snapshot that another member sent took the place of the store. */
const SNAPSHOT_APPLIED = '"applied snapshot"';

/** @throws with the first law that is broken */
export async function playMixed(options: MixedOptions, tell: (text: string) => void): Promise<MixedReport> {
  const begin = performance.now();
  return Stage.with(async (stage) => {
    const binaries = [...options.reference, ...options.judged];
    const cluster = await Cluster.start(stage, binaries, { snapshotCount: SNAPSHOT_COUNT });
    const reference = cluster.members.slice(0, options.reference.length);
    const judged = cluster.members.slice(options.reference.length);
    const ledger = new PutLedger("mixed/");
    const load = new PutLoad(ledger, { addresses: () => cluster.addresses, clients: CLIENTS, inFlight: IN_FLIGHT });
    const play = new Play(cluster, load, new SeededRandom(options.seed), (text) => {
      const seconds = ((performance.now() - begin) / 1000).toFixed(1);
      tell(`${seconds} s, ${load.acknowledged} puts: ${text}`);
    });
    try {
      const share = Math.ceil(options.puts / 20);
      await play.leads(reference[0]!, share);
      await play.leads(judged[0]!, share);
      for (const member of cluster.members) await play.restarts(member, share);
      for (const kind of options.away) {
        const [away, leader] = kind === "judged" ? [judged, reference] : [reference, judged];
        await play.catchesUpBySnapshot(away.at(-1)!, leader[0]!);
      }
      for (const guest of options.guests) await play.joinsAndLeaves(guest, share);
      await load.reach(options.puts);
    } finally {
      await load.stop();
    }
    const where = `at the end of seed ${options.seed}`;
    await cluster.sameContents(where);
    for (const { client, describe } of cluster.running) await ledger.checkAll(client, `${describe}, ${where}`);
    const { revision, hash } = await cluster.sameHash(where);
    const { acknowledged, attempted, unacknowledgedKept } = ledger;
    const seconds = Math.round((performance.now() - begin) / 1000);
    return { acknowledged, attempted, unacknowledgedKept, revision, hash, seconds };
  });
}

/** What happens to a cluster under load, one scene after the other. */
class Play {
  readonly #cluster: Cluster;
  readonly #load: PutLoad;
  readonly #random: SeededRandom;
  readonly #tell: (text: string) => void;

  constructor(cluster: Cluster, load: PutLoad, random: SeededRandom, tell: (text: string) => void) {
    this.#cluster = cluster;
    this.#load = load;
    this.#random = random;
    this.#tell = tell;
  }

  async leads(member: ClusterMember, puts: number): Promise<void> {
    await this.#cluster.moveLeader(member);
    await this.#more(puts);
    this.#tell(`${member.describe} leads`);
  }

  async restarts(member: ClusterMember, puts: number): Promise<void> {
    const kill = this.#random.oneIn(2);
    await (kill ? member.kill() : member.stop());
    await this.#more(puts);
    await this.#cluster.restart(member);
    await this.#cluster.caughtUp(member);
    this.#tell(`${member.describe} ${kill ? "was killed" : "stopped"} and is back`);
  }

  async catchesUpBySnapshot(away: ClusterMember, leader: ClusterMember): Promise<void> {
    await this.#cluster.moveLeader(leader);
    await away.kill();
    const { index } = await leader.status();
    const before = this.#load.acknowledged;
    await eventually(`${leader.describe} to drop the entries up to ${index}`, COMPACTED_WITHIN_MS, async () => {
      const compacted = compactedTo(leader);
      return Promise.resolve(compacted > index ? true : `it has dropped those up to ${compacted}`);
    });
    const puts = this.#load.acknowledged - before;
    await this.#cluster.moveLeader(leader);
    await this.#cluster.restart(away);
    await this.#cluster.caughtUp(away);
    if (!away.server.log.some((line) => line.includes(SNAPSHOT_APPLIED))) {
      throw new Error(`${away.describe} caught up with ${leader.describe} and says nothing of a snapshot`);
    }
    this.#tell(`${away.describe} was away for ${puts} puts and caught up by a snapshot of ${leader.describe}`);
  }

  async joinsAndLeaves(binary: ServerBinary, puts: number): Promise<void> {
    const member = await this.#cluster.add(binary);
    await this.#cluster.caughtUp(member);
    await this.#more(puts);
    await this.#cluster.sameHash(`with ${member.describe}`);
    this.#tell(`${member.describe} joined`);
    await this.#cluster.remove(member);
    await this.#more(puts);
    this.#tell(`${member.describe} was removed and has ended by itself`);
  }

  async #more(puts: number): Promise<void> {
    await this.#load.reach(this.#load.acknowledged + puts);
  }
}

/** Up to which entry a member has dropped its log, as it tells in its own. */
function compactedTo(member: ClusterMember): number {
  const line = member.server.log.findLast((each) => each.includes(COMPACTED));
  return line === undefined ? 0 : Number((JSON.parse(line) as Record<string, unknown>)["compact-index"]);
}

export function describeReport(report: MixedReport): string {
  return (
    `${report.acknowledged} of ${report.acknowledged} acknowledged puts are there, revisions 2 to ${report.revision} without a gap, ` +
    `${report.unacknowledgedKept} unacknowledged ones kept, ${report.attempted} attempted; hashKV of all members ${report.hash}; ${report.seconds} s`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      reference: { type: "string" },
      judged: { type: "string" },
      puts: { type: "string", default: "100000" },
      seed: { type: "string" },
    },
  });
  const named = (names: string): ServerBinary[] => names.split(",").map(serverNamed);
  const one = underTest();
  const casts =
    values.reference === undefined && values.judged === undefined
      ? [
          { reference: [etcd("3.5.16"), etcd("newest")], judged: [one] },
          { reference: [etcd("newest")], judged: [one, one] },
        ]
      : [{ reference: named(values.reference ?? "3.5.16,3.5.30"), judged: named(values.judged ?? "under-test") }];
  for (const cast of casts) {
    const guests = [cast.judged[0]!, cast.reference[0]!];
    const away = ["judged", "reference"] as const;
    const options = { ...cast, away, guests, puts: Number(values.puts), seed: chooseSeed(values.seed) };
    const names = [...cast.reference, ...cast.judged].map(({ name }) => name);
    console.log(`${names.join(", ")}: ${options.puts} puts, seed ${options.seed}`);
    console.log(describeReport(await playMixed(options, (text) => console.log(text))));
  }
}

if (process.argv[1] === import.meta.filename) await main();
