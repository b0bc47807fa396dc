/**
 * Hostile bytes on the peer port: the same requests to a member of etcd 3.5 and to the one that is judged, answer by answer.
 * Afterwards each cluster serves, holds what it held, has the members it had, and its processes the memory and descriptors.
 *
 *   node dist/test/cluster/hostile.js [--server under-test] [--reference newest] [--table compared,deposing,stricter]
 *       [--only PART-OF-A-TITLE]
 *
 * The rows are in `hostile-table.ts`. With `--server etcd-3.5.30` both sides are real etcd: that proves the comparison. The
 * stricter table has no reference: with etcd each of its rows is played on a cluster of its own, since it dies of them, and
 * what became of it is printed.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { idOf } from "../support/client.js";
import { all, Cluster, eventually, versionDecided, type ClusterMember } from "../support/cluster.js";
import type { Message } from "../support/messages.js";
import { freePort } from "../support/ports.js";
import { describeExit, Stage } from "../support/servers.js";
import { describeReply, shoot, type Reply } from "./hostile-requests.js";
import {
  COMPARED,
  DEPOSING,
  hex,
  STRICTER,
  type ComparedRow,
  type Outcome,
  type StricterRow,
  type Target,
} from "./hostile-table.js";

/** Headers that members read. Where one is there and the other is not, an etcd would notice. */
const HEADERS_READ = ["allow", "content-type", "x-etcd-cluster-id", "x-server-version"];
const STRANGER = 0xbadbadn;
const SETTLES_WITHIN_MS = 30_000;
/** Sockets to members that are away come and go. */
const DESCRIPTORS_SLACK = 8;
/** A heap grows with what was thrown at it and is swept when its owner pleases; the largest row announces 1 TB. */
const MEMORY_SLACK_BYTES = 96 * 2 ** 20;

/** What a cluster is, as far as nobody from outside may change it. */
interface Standing {
  readonly revision: number;
  readonly hash: number;
  readonly members: string;
}

/** Three members that hold some keys, a learner that was never started, and a member that was removed. */
export class HostileScene {
  readonly cluster: Cluster;
  /** The one that is shot at: a follower at the beginning. */
  readonly victim: ClusterMember;
  readonly #ghostId: bigint;
  readonly #removedId: bigint;
  readonly #names: ReadonlyMap<string, string>;

  private constructor(cluster: Cluster, victim: ClusterMember, ghost: Added, removed: Added, clusterId: bigint) {
    this.cluster = cluster;
    this.victim = victim;
    this.#ghostId = ghost.id;
    this.#removedId = removed.id;
    this.#names = new Map([
      ...identity("cluster", clusterId),
      ...identity("ghost", ghost.id),
      ...identity("removed", removed.id),
      [`127.0.0.1:${ghost.port}`, "<ghost peer>"],
      // The victim plays the same part in both clusters, whatever its name is; so does the leader.
      ...cluster.members.flatMap((member) => [
        ...identity("member", member.id),
        [member.address, "<client>"] as const,
        [`127.0.0.1:${member.seat.peerPort}`, "<peer>"] as const,
      ]),
    ]);
  }

  static async start(stage: Stage, binary: ServerBinary): Promise<HostileScene> {
    // A cluster whose members have only just met takes no new ones, unless it is told not to be so strict.
    const cluster = await Cluster.start(stage, [binary, binary, binary], { flags: ["--strict-reconfig-check=false"] });
    const leader = await cluster.leader();
    // It is decided by what every member says, and never again once there are some that never come.
    for (const member of cluster.members) await versionDecided(member, "3.5.0");
    for (let i = 0; i < 20; i++) await leader.client.put(`hostile/${i % 7}`, `value ${i}`);
    const removed = await addLearner(leader);
    await leader.client.call("MemberRemove", { ID: removed.id });
    const ghost = await addLearner(leader);
    const victim = cluster.others(leader)[0]!;
    await cluster.settled();
    const status = await victim.client.call("Status", {});
    return new HostileScene(cluster, victim, ghost, removed, idOf((status["header"] as Message)["cluster_id"]));
  }

  /** The victim as the next shot finds it. */
  async target(): Promise<Target> {
    const leader = await this.cluster.leader();
    const { clusterId, term, index } = await statusOf(this.victim);
    const voter = leader === this.victim ? this.cluster.others(leader)[0]! : leader;
    return {
      port: this.victim.seat.peerPort,
      clusterId,
      memberId: this.victim.id,
      voterId: voter.id,
      ghostId: this.#ghostId,
      removedId: this.#removedId,
      strangerId: STRANGER,
      term,
      committed: index,
    };
  }

  /** An answer in words that two clusters share: IDs and addresses by their part in the play. */
  canonical(reply: Reply): Reply {
    if (reply.kind !== "answer") return reply;
    const named = (text: string): string => {
      let told = text;
      for (const [value, name] of this.#names) told = told.replaceAll(value, name);
      return told;
    };
    const headers = Object.fromEntries(
      HEADERS_READ.flatMap((name) => {
        const value = reply.headers[name];
        return value === undefined ? [] : [[name, named(value)]];
      }),
    );
    return { ...reply, headers, body: sortedList(named(reply.body)) };
  }

  async standing(): Promise<Standing> {
    await this.cluster.settled();
    const { revision, hash } = await this.cluster.sameHash("the hostile scene");
    const lists = await all(this.cluster.running.map(async ({ client }) => client.call("MemberList", {})));
    const told = lists.map((list) =>
      JSON.stringify(list["members"], (_, value: unknown) => (typeof value === "bigint" ? hex(value) : value)),
    );
    if (new Set(told).size > 1) throw new Error(`the members know different members:\n${told.join("\n")}`);
    return { revision, hash, members: told[0]! };
  }

  /** Descriptors and memory of every member's process that runs. */
  footprints(): Map<ClusterMember, Footprint> {
    return new Map(this.cluster.running.map((member) => [member, footprint(member.server.pid)]));
  }

  /** Checks that the cluster is what it was, that every member serves, and waits until the processes are as small as before. */
  async unchanged(before: Standing, footprints: ReadonlyMap<ClusterMember, Footprint>, where: string): Promise<void> {
    const after = await this.standing();
    if (JSON.stringify(after) !== JSON.stringify(before))
      throw new Error(`${where}: the cluster was ${JSON.stringify(before)} and is ${JSON.stringify(after)}`);
    for (const [member, was] of footprints) {
      await eventually(`${where}: ${member.describe} to be as small as before`, SETTLES_WITHIN_MS, async () => {
        const is = footprint(member.server.pid);
        const back =
          is.descriptors <= was.descriptors + DESCRIPTORS_SLACK && is.bytes <= was.bytes + MEMORY_SLACK_BYTES;
        return back ? true : `it was ${describeFootprint(was)} and is ${describeFootprint(is)}`;
      });
    }
  }

  /** Puts through every member: each serves. */
  async serves(): Promise<void> {
    for (const member of this.cluster.running) await member.client.put("hostile/serves", member.name);
  }
}

interface Added {
  readonly id: bigint;
  readonly port: number;
}

async function addLearner(leader: ClusterMember): Promise<Added> {
  const port = await freePort();
  const peerURLs = [`http://127.0.0.1:${port}`];
  const added = await eventually("a learner to be added", SETTLES_WITHIN_MS, async () =>
    leader.client.call("MemberAdd", { peerURLs, isLearner: true }),
  );
  return { id: idOf((added["member"] as Message)["ID"]), port };
}

async function statusOf(member: ClusterMember): Promise<{ clusterId: bigint; term: bigint; index: bigint }> {
  const status = await member.client.call("Status", {});
  return {
    clusterId: idOf((status["header"] as Message)["cluster_id"]),
    term: idOf(status["raftTerm"]),
    index: idOf(status["raftIndex"]),
  };
}

/** An ID as etcd writes it in headers, and in JSON. */
const identity = (part: string, id: bigint): [string, string][] => [
  [String(id), `"<${part}>"`],
  [hex(id), `<${part}>`],
];

/** The members of two clusters have other IDs, so another order: a list is compared as a set. */
function sortedList(body: string): string {
  if (!body.startsWith("[")) return body;
  const items = (JSON.parse(body) as object[]).map((item) => JSON.stringify(item)).sort();
  return `${JSON.stringify(items)}${body.endsWith("\n") ? "\n" : ""}`;
}

interface Footprint {
  readonly descriptors: number;
  readonly bytes: number;
}

function footprint(pid: number): Footprint {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, bytes: Number(resident) * 1024 };
}

const describeFootprint = ({ descriptors, bytes }: Footprint): string =>
  `${descriptors} descriptors, ${Math.round(bytes / 2 ** 20)} MB`;

/** Two members answered the same bytes differently. */
export interface Difference {
  readonly title: string;
  readonly reference: string;
  readonly judged: string;
}

/** Throws the rows at both, one by one. */
export async function compare(
  rows: readonly ComparedRow[],
  reference: HostileScene,
  judged: HostileScene,
  tell: (text: string) => void,
): Promise<Difference[]> {
  const differences: Difference[] = [];
  for (const row of rows) {
    const [expected, found] = await all([answerOf(row, reference), answerOf(row, judged)]);
    const same = agree(row, expected, found, judged.victim.binary.family);
    const told = [expected, found].map(describeReply);
    tell(`${same ? "agree" : "DIFFER"}  ${row.title}: ${[...new Set(told)].join(" | under test: ")}`);
    if (!same) differences.push({ title: row.title, reference: inFull(expected), judged: inFull(found) });
  }
  return differences;
}

async function answerOf(row: ComparedRow, scene: HostileScene): Promise<Reply> {
  const target = await scene.target();
  return scene.canonical(await shoot(target.port, row.shot(target), row.waits));
}

function agree({ agreement }: ComparedRow, expected: Reply, found: Reply, family: ServerBinary["family"]): boolean {
  if (agreement === "exact") return inFull(expected) === inFull(found);
  if (agreement === "status") return outcomeOf(expected) === outcomeOf(found);
  return (
    outcomeOf(expected) === agreement.etcd && outcomeOf(found) === agreement[family === "etcd" ? "etcd" : "member"]
  );
}

const outcomeOf = (reply: Reply): Outcome => (reply.kind === "answer" ? reply.status : reply.kind);

const inFull = (reply: Reply): string => JSON.stringify(reply);

export const describeDifference = ({ title, reference, judged }: Difference): string =>
  `${title}\n  reference:  ${reference}\n  under test: ${judged}`;

/**
 * Throws a row at a member that has to be stricter than etcd.
 *
 * @throws when it is not, or when its cluster is not what it was
 */
export async function playStricter(row: StricterRow, scene: HostileScene): Promise<string> {
  const { cluster, victim } = scene;
  const before = await scene.standing();
  const footprints = scene.footprints();
  const target = await scene.target();
  const reply = await shoot(target.port, row.shot(target));
  if (row.member === "stops") {
    const exit = await victim.server.exited();
    const sentence = victim.server.log.findLast((line) => /\b[A-Z][A-Z0-9]*(_[A-Z0-9]+)+: /.test(line));
    if (exit.signal !== null || exit.code === 0 || sentence === undefined)
      throw new Error(`${row.title}: ${describeExit(exit)} without a named error, ${row.why}`);
    await cluster.restart(victim);
    await scene.unchanged(before, new Map(), row.title);
    return sentence;
  }
  if (!victim.running)
    throw new Error(`${row.title}: the member died of it:\n${victim.server.log.slice(-10).join("\n")}`);
  if (outcomeOf(reply) !== row.member)
    throw new Error(`${row.title}: answered with ${describeReply(reply)}, not ${row.member}: ${row.why}`);
  await scene.unchanged(before, footprints, row.title);
  const { term } = await statusOf(victim);
  if (term !== target.term) throw new Error(`${row.title}: the term went from ${target.term} to ${term}`);
  if (row.onDisk === true) await withoutTrace(row, scene, before);
  return describeReply(reply);
}

/** A database that was refused is gone from the directory, and the member starts with its own. */
async function withoutTrace({ title }: StricterRow, scene: HostileScene, before: Standing): Promise<void> {
  const { cluster, victim } = scene;
  const left = readdirSync(join(victim.seat.dataDir, "member", "snap")).filter((name) => /\.snap\.db|^tmp/.test(name));
  if (left.length > 0) throw new Error(`${title}: ${left.join(", ")} were left behind`);
  await victim.stop();
  await cluster.restart(victim);
  await scene.unchanged(before, new Map(), `${title}, after a restart`);
}

/** What becomes of real etcd: each row on a cluster of its own, which is killed afterwards. */
async function watchEtcd(row: StricterRow, binary: ServerBinary): Promise<string> {
  return Stage.with(async (stage) => {
    const scene = await HostileScene.start(stage, binary);
    const target = await scene.target();
    const reply = await shoot(target.port, row.shot(target));
    const outcome = await Promise.all(
      scene.cluster.members.map(async (member) => {
        const ended = await Promise.race([member.server.exited(), late(ETCD_DIES_WITHIN_MS)]);
        if (ended !== "late") {
          const panic =
            member.server.log.findLast((line) => /^panic: |^fatal error: /.test(line)) ?? describeExit(ended);
          return `${member.name} dead (${panic.slice(0, 120)})`;
        }
        const term = await statusOf(member).then((status) => status.term, String);
        return `${member.name} in term ${term}`;
      }),
    );
    for (const member of scene.cluster.running) await member.kill();
    return `${describeReply(reply)}; ${outcome.join(", ")}`;
  });
}

const ETCD_DIES_WITHIN_MS = 6_000;

async function late(afterMs: number): Promise<"late"> {
  return new Promise((resolve) => setTimeout(() => resolve("late"), afterMs).unref());
}

/** One table of rows on two fresh clusters, with the check of what is left of them. */
export async function compareTables(
  tables: readonly (readonly ComparedRow[])[],
  reference: ServerBinary,
  judged: ServerBinary,
  tell: (text: string) => void,
): Promise<Difference[]> {
  return Stage.with(async (stage) => {
    const [first, second] = await all([
      HostileScene.start(stage, reference),
      HostileScene.start(stage, judged),
    ] as const);
    const scenes = [first, second];
    const befores = await all(scenes.map(async (scene) => scene.standing()));
    const footprints = scenes.map((scene) => scene.footprints());
    const differences: Difference[] = [];
    for (const rows of tables) differences.push(...(await compare(rows, first, second, tell)));
    for (const [i, scene] of scenes.entries()) {
      await scene.unchanged(befores[i]!, footprints[i]!, scene.victim.binary.name);
      await scene.serves();
    }
    return differences;
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string", default: "under-test" },
      reference: { type: "string", default: "newest" },
      table: { type: "string", default: "compared,deposing,stricter" },
      only: { type: "string", default: "" },
    },
  });
  const judged = serverNamed(values.server);
  const tables = values.table.split(",");
  const chosen = <T extends { readonly title: string }>(rows: readonly T[]): T[] =>
    rows.filter(({ title }) => title.includes(values.only));
  const compared = [
    ...(tables.includes("compared") ? [chosen(COMPARED)] : []),
    ...(tables.includes("deposing") ? [chosen(DEPOSING)] : []),
  ];
  let failures = 0;
  if (compared.some((rows) => rows.length > 0)) {
    const differences = await compareTables(compared, serverNamed(values.reference), judged, console.log);
    failures += differences.length;
    for (const difference of differences) console.log(describeDifference(difference));
    console.log(`${compared.flat().length} rows compared, ${differences.length} differ`);
  }
  if (tables.includes("stricter") && judged.family === "etcd") {
    for (const row of chosen(STRICTER)) console.log(`${row.title}: ${await watchEtcd(row, judged)}`);
  } else if (tables.includes("stricter")) {
    await Stage.with(async (stage) => {
      const scene = await HostileScene.start(stage, judged);
      for (const row of chosen(STRICTER)) console.log(`${row.title}: ${await playStricter(row, scene)}`);
      await scene.serves();
    });
  }
  if (failures > 0) process.exitCode = 1;
}

if (process.argv[1] === import.meta.filename) await main();
