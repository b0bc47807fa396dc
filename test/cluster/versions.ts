/**
 * Members of other minor versions, and one that is no member any more.
 *
 *   node dist/test/cluster/versions.js [--server under-test] [--only PART-OF-A-TITLE]
 *
 * The older one is real etcd 3.4 (`scripts/install-etcd.sh .cache/etcd bookworm`). Newer ones are played by their headers: see the
 * rows about senders of 3.6 and 4.0 in `hostile-table.ts`.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { PROJECT, serverNamed, type ServerBinary } from "../support/binaries.js";
import { idOf } from "../support/client.js";
import { Cluster, versionDecided } from "../support/cluster.js";
import type { Message } from "../support/messages.js";
import { describeExit, runToEnd, Stage } from "../support/servers.js";

export interface VersionScene {
  readonly title: string;
  readonly play: (stage: Stage, binary: ServerBinary) => Promise<string>;
}

/** Something went another way than with real etcd. */
export class VersionError extends Error {}

const ENDS_WITHIN_MS = 30_000;
const OLDER = join(process.env["WALNUT_ETCD_DIR"] ?? join(PROJECT, ".cache", "etcd"), "bookworm", "usr", "bin", "etcd");

/** Why an older etcd cannot run here, as the `skip` option of a test; where `CI` is set nothing is skipped. */
export function skipWithoutOlder(): string | false {
  if (existsSync(OLDER) || (process.env["CI"] ?? "") !== "") return false;
  return `etcd 3.4 is not there: run 'scripts/install-etcd.sh .cache/etcd bookworm' (looked for ${OLDER})`;
}

/** Real etcd 3.4. @throws with the command that brings it */
function older(): ServerBinary {
  const { stdout } = spawnSync(OLDER, ["--version"], { encoding: "utf8" });
  const version = /etcd Version: (3\.4\.\S+)/.exec(stdout ?? "")?.[1];
  if (version === undefined)
    throw new Error(`${OLDER} is no etcd 3.4: run 'scripts/install-etcd.sh .cache/etcd bookworm'`);
  return { name: `etcd-${version}`, family: "etcd", command: [OLDER] };
}

export const SCENES: readonly VersionScene[] = [
  { title: "a member of 3.4 cannot join a cluster of 3.5", play: olderJoins },
  { title: "a cluster with a member of 3.4 is one of 3.4 until that member is upgraded", play: upgrade },
  { title: "a removed member that comes back is told so and ends, and the cluster does not notice", play: comesBack },
];

async function olderJoins(stage: Stage, binary: ServerBinary): Promise<string> {
  const cluster = await Cluster.start(stage, [binary, binary, binary], { flags: ["--strict-reconfig-check=false"] });
  const leader = await cluster.leader();
  await versionDecided(leader, "3.5.0");
  await leader.client.put("before", "1");
  const seat = await stage.seat("older");
  const added = await leader.client.call("MemberAdd", { peerURLs: [`http://127.0.0.1:${seat.peerPort}`] });
  await cluster.settled();
  const { exit, log } = await runToEnd(older(), seat, {
    founding: { seats: [...cluster.members.map((member) => member.seat), seat], state: "existing" },
    readyWithinMs: ENDS_WITHIN_MS,
  });
  if (exit === "still running" || exit.code === 0)
    throw new VersionError(
      `the member of 3.4 ${exit === "still running" ? exit : describeExit(exit)}, expected a refusal`,
    );
  await leader.client.call("MemberRemove", { ID: idOf((added["member"] as Message)["ID"]) });
  await goesOn(cluster);
  return sentence(log, /incompatible|version/);
}

async function upgrade(stage: Stage, binary: ServerBinary): Promise<string> {
  const cluster = await Cluster.start(stage, [older(), binary, binary]);
  for (const member of cluster.members) await versionDecided(member, "3.4.0");
  for (const member of cluster.members) await member.client.put(`through/${member.name}`, "mixed");
  const [first] = cluster.members;
  await first!.stop();
  await cluster.restart(first!, binary);
  for (const member of cluster.members) await versionDecided(member, "3.5.0");
  await goesOn(cluster);
  return "3.4.0, then 3.5.0";
}

async function comesBack(stage: Stage, binary: ServerBinary): Promise<string> {
  const cluster = await Cluster.start(stage, [binary, binary, binary], { flags: ["--strict-reconfig-check=false"] });
  const leader = await cluster.leader();
  const leaving = cluster.others(leader)[0]!;
  await leader.client.put("before", "1");
  await cluster.settled();
  // It is away when it is removed, so that it does not know.
  await leaving.kill();
  await leader.client.call("MemberRemove", { ID: leaving.id });
  const before = await leader.status();
  const { exit, log } = await runToEnd(binary, leaving.seat, { readyWithinMs: ENDS_WITHIN_MS });
  if (exit === "still running") throw new VersionError("the removed member runs on");
  const after = await leader.status();
  if (after.term !== before.term || after.leader !== before.leader)
    throw new VersionError(`the term went from ${before.term} to ${after.term} when the removed member came back`);
  await leader.client.put("after", "1");
  return `${describeExit(exit)}: ${sentence(log, /removed/)}`;
}

async function goesOn(cluster: Cluster): Promise<void> {
  for (const member of cluster.running) await member.client.put("goes-on", member.name);
  await cluster.sameContents("at the end");
}

/** The last line of a log that has the word, shortened. */
function sentence(log: readonly string[], word: RegExp): string {
  const line = log.findLast((each) => word.test(each) && /"(warn|error|fatal)"|[A-Z]_[A-Z]/.test(each));
  return (line ?? log.at(-1) ?? "nothing was said").slice(0, 400);
}

export async function playScene(scene: VersionScene, binary: ServerBinary): Promise<string> {
  return Stage.with(async (stage) => scene.play(stage, binary));
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: { server: { type: "string", default: "under-test" }, only: { type: "string", default: "" } },
  });
  for (const scene of SCENES.filter(({ title }) => title.includes(values.only)))
    console.log(`${scene.title}: ${await playScene(scene, serverNamed(values.server))}`);
}

if (process.argv[1] === import.meta.filename) await main();
