/**
 * A cluster changes its program under load, one member after the other, and changes back: from real etcd to Walnut and to real
 * etcd again, on the same directories. In the end every acknowledged put is there and all members hold the same.
 *
 *   node dist/test/cluster/rolling.js [--from 3.5.16] [--to under-test] [--members 3] [--puts 100000] [--snapshot-count 10000] [--seed S]
 *
 * A member is stopped cleanly or killed, as chance has it, and the other program opens its directory. The next one follows when
 * it has caught up. Every step is checked: the hashes of all members, and every put that was acknowledged.
 */
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { Cluster, type ClusterMember } from "../support/cluster.js";
import { PutLedger } from "../support/ledger.js";
import { PutLoad } from "../support/load.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage } from "../support/servers.js";

export interface RollingOptions {
  readonly from: ServerBinary;
  readonly to: ServerBinary;
  readonly members: number;
  /** Acknowledged puts, at least; they are spread over the changes. */
  readonly puts: number;
  readonly snapshotCount: number;
  readonly seed: number;
}

export interface RollingReport {
  readonly changes: number;
  readonly acknowledged: number;
  readonly attempted: number;
  readonly unacknowledgedKept: number;
  readonly revision: number;
  readonly hash: number;
  readonly seconds: number;
}

const CLIENTS = 4;
const IN_FLIGHT = 12;

/** @throws with the first law that is broken */
export async function roll(options: RollingOptions, tell: (text: string) => void): Promise<RollingReport> {
  const begin = performance.now();
  return Stage.with(async (stage) => {
    const random = new SeededRandom(options.seed);
    const binaries = Array.from({ length: options.members }, () => options.from);
    const cluster = await Cluster.start(stage, binaries, { snapshotCount: options.snapshotCount });
    const ledger = new PutLedger("rolling/");
    const load = new PutLoad(ledger, { addresses: () => cluster.addresses, clients: CLIENTS, inFlight: IN_FLIGHT });
    const share = Math.ceil(options.puts / (2 * options.members + 1));
    let changes = 0;
    try {
      await load.reach(share);
      for (const binary of [options.to, options.from]) {
        for (const member of shuffled(cluster.members, random)) {
          const text = await change(cluster, member, binary, random.oneIn(2));
          await load.reach(load.acknowledged + share);
          changes++;
          const where = `after change ${changes} of seed ${options.seed}`;
          await ledger.check(member.client, `${member.describe}, ${where}`);
          const { revision } = await cluster.sameHash(where);
          const seconds = ((performance.now() - begin) / 1000).toFixed(1);
          tell(`${seconds} s, ${load.acknowledged} puts: ${text}; hashKV equal at revision ${revision}`);
        }
      }
    } finally {
      await load.stop();
    }
    const where = `at the end of seed ${options.seed}`;
    await cluster.sameContents(where);
    for (const { client, describe } of cluster.running) await ledger.checkAll(client, `${describe}, ${where}`);
    const { revision, hash } = await cluster.sameHash(where);
    const { acknowledged, attempted, unacknowledgedKept } = ledger;
    const seconds = Math.round((performance.now() - begin) / 1000);
    return { changes, acknowledged, attempted, unacknowledgedKept, revision, hash, seconds };
  });
}

/** One member goes on as another program. */
async function change(cluster: Cluster, member: ClusterMember, binary: ServerBinary, kill: boolean): Promise<string> {
  const led = (await cluster.leader()) === member;
  const before = member.binary.name;
  await (kill ? member.kill() : member.stop());
  await cluster.restart(member, binary);
  await cluster.caughtUp(member);
  return `${member.name}, which ${led ? "led" : "followed"}, ${kill ? "was killed" : "stopped"} as ${before} and is back as ${binary.name}`;
}

function shuffled<T>(items: readonly T[], random: SeededRandom): T[] {
  const rest = [...items];
  return items.map(() => rest.splice(random.between(0, rest.length), 1)[0]!);
}

export function describeReport(report: RollingReport): string {
  return (
    `${report.changes} changes: ${report.acknowledged} of ${report.acknowledged} acknowledged puts are there, revisions 2 to ${report.revision} without a gap, ` +
    `${report.unacknowledgedKept} unacknowledged ones kept, ${report.attempted} attempted; hashKV of all members ${report.hash}; ${report.seconds} s`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      from: { type: "string", default: "3.5.16" },
      to: { type: "string", default: "under-test" },
      members: { type: "string", default: "3" },
      puts: { type: "string", default: "100000" },
      "snapshot-count": { type: "string", default: "10000" },
      seed: { type: "string" },
    },
  });
  const options = {
    from: serverNamed(values.from),
    to: serverNamed(values.to),
    members: Number(values.members),
    puts: Number(values.puts),
    snapshotCount: Number(values["snapshot-count"]),
    seed: chooseSeed(values.seed),
  };
  console.log(
    `${options.members} members from ${options.from.name} to ${options.to.name} and back: ${options.puts} puts, seed ${options.seed}`,
  );
  console.log(describeReport(await roll(options, (text) => console.log(text))));
}

if (process.argv[1] === import.meta.filename) await main();
