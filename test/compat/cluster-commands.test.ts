/**
 * What Walnut's client commands say of a cluster of three real etcds, and do to it, is what etcdctl says and does: changes of members,
 * the move of the leader, endpoints of all members, endpoints that are down.
 */
import assert from "node:assert/strict";
import { rmSync } from "node:fs";
import test from "node:test";
import { etcd, reference, skipReason } from "../support/binaries.js";
import { clusterSeats, startCluster } from "../support/clusters.js";
import type { Message } from "../support/messages.js";
import { Stage, type Seat, type Server } from "../support/servers.js";
import { run } from "../support/tools.js";
import { inAllForms, line, runHere, shown, type Line, type Seen } from "./command-lines.js";

/** Who is who in the cluster of now; the words of a line name them as {a}, {added}, {leader}, {follower}. */
type Ids = Readonly<Record<string, bigint>>;

const ALL = "--endpoints={all}";
/** Without `protobuf`, whose bytes hold the term. URLs of its own each time: an ID is made of them and of the second. */
const addInAllForms = ["simple", "json", "fields", "table"].flatMap((form, at) => [
  line(`member add d --peer-urls=http://127.0.0.1:${2 * at + 31},http://127.0.0.1:${2 * at + 30} -w ${form}`),
  line("member remove {added}"),
]);

const LINES: readonly Line[] = [
  line("member add"),
  line("member add d e"),
  line("member add d http://127.0.0.1:9 HTTP://x"),
  line("member add d"),
  line("member add d --peer-urls=~"),
  line("member add d --peer-urls=127.0.0.1:9"),
  line("member add d --peer-urls=http://127.0.0.1:9/"),
  line("member add d --peer-urls={taken}"),
  ...addInAllForms,
  line("member add d_é --peer-urls=http://127.0.0.1:9,_http://127.0.0.1:8 --learner"),
  line("member list"),
  line("member list -w table"),
  line("member list -w json --hex"),
  line("member add e --learner=true --peer-urls=http://127.0.0.1:7"),
  line("member promote {added}"),
  line("member promote {a}"),
  line("member promote 7"),
  line("member promote"),
  line("member promote zz"),
  line("member update {added} --peer-urls=http://127.0.0.1:5"),
  line("member update {added} --peer-urls=http://127.0.0.1:6 -w json"),
  line("member update {added} --peer-urls=http://127.0.0.1:5 -w fields"),
  line("member update {added}"),
  line("member update {added} x"),
  line("member update {added} --peer-urls=nuts"),
  line("member update {added} --peer-urls={taken}"),
  line("member update 7 --peer-urls=http://127.0.0.1:4"),
  line("member update"),
  line("member remove {added}"),
  line("member remove {added} x"),
  line("member remove 7"),
  line("member remove 0x7"),
  line("member remove 10000000000000000"),
  line("member remove"),
  line("move-leader"),
  line(`${ALL} move-leader {follower}`),
  line(`${ALL} move-leader {leader}`),
  line(`${ALL} move-leader {follower} -w json`),
  line(`${ALL} move-leader {follower} -w protobuf`),
  line(`${ALL} move-leader {follower} -w fields`),
  line(`${ALL} move-leader 7`),
  line(`${ALL} move-leader zz`),
  line(`--endpoints={follower-endpoint} move-leader {leader}`),
  line(`${ALL} put a 1`),
  line(`${ALL} get a`),
  ...inAllForms("endpoint status --cluster"),
  ...inAllForms("endpoint hashkv --cluster").filter(({ args }) => !args.includes("protobuf")),
  ...inAllForms("endpoint health --cluster"),
  line(`${ALL} endpoint status`),
  line(`${ALL} endpoint hashkv --rev=2`),
  line(`${ALL} endpoint health`),
  line("defrag --cluster"),
  line(`${ALL} snapshot save x`),
];

/** After the last member was killed. */
const WITH_ONE_DOWN: readonly Line[] = [
  line("--endpoints={down},{up} get a"),
  line("--endpoints={down},{up} put a 2"),
  line("--endpoints={down},{up} member list"),
  line("--endpoints={up} --command-timeout=1s endpoint status --cluster"),
  line("--endpoints={up} --command-timeout=1s endpoint hashkv --cluster"),
  line("--endpoints={up} --command-timeout=1s endpoint health --cluster"),
  line("--endpoints={up} --command-timeout=1s endpoint health --cluster -w json"),
  line("--endpoints={down} --command-timeout=300ms endpoint status --cluster"),
  line("--endpoints={down} --command-timeout=300ms move-leader 7"),
];

test("the commands for clusters print what etcdctl prints, and end as it ends", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  // One after the other on the same ports, so that the members have the same IDs.
  const seats = await clusterSeats(stage, 3);
  const expected = await playAll(stage, seats, (args, { input }) => {
    // Debian's newest is built with another drawer of tables than etcd's own releases.
    const { etcdctl } = args.includes("table") ? etcd("3.5.16") : reference();
    return run(etcdctl, args, { env: { ETCDCTL_API: "3" }, ...(input === undefined ? {} : { input }) });
  });
  for (const { dataDir } of seats) rmSync(dataDir, { recursive: true });
  const found = await playAll(stage, seats, (args, rest) => runHere({ ...rest, args }));
  const lines = [...LINES, ...WITH_ONE_DOWN];
  const differences = lines.flatMap(({ args }, at) =>
    found[at] === expected[at] ? [] : [`${args.join(" ")}\n--- etcdctl\n${expected[at]!}\n+++ walnut\n${found[at]!}`],
  );
  const worked = expected.filter((text) => /^exit 0$/m.test(text)).length;
  t.diagnostic(`${lines.length} lines, ${worked} of them worked and the others were refused`);
  assert.ok(worked > lines.length / 3);
  assert.equal(differences.length, 0, differences.join("\n\n"));
});

type Command = (args: readonly string[], line: Line) => Promise<Seen>;

async function playAll(stage: Stage, seats: readonly Seat[], command: Command): Promise<string[]> {
  // Members may be added at once, not only when the voters have known each other for five seconds.
  const servers = await startCluster(stage, [reference()], seats, { flags: ["--strict-reconfig-check=false"] });
  const seen: string[] = [];
  for (const each of LINES) seen.push(await play(servers, each, command));
  await servers.at(-1)!.kill();
  await leaderOf(servers.slice(0, -1));
  for (const each of WITH_ONE_DOWN) seen.push(await play(servers, each, command));
  for (const server of servers.slice(0, -1)) await server.stop();
  return seen;
}

async function play(servers: readonly Server[], each: Line, command: Command): Promise<string> {
  const running = servers.filter((server) => server.running);
  const ids = await idsOf(running);
  const endpoints: Readonly<Record<string, string>> = {
    all: servers.map(({ address }) => address).join(","),
    up: servers[0]!.address,
    down: servers.at(-1)!.address,
    taken: `http://127.0.0.1:${servers[1]!.seat.peerPort}`,
    "follower-endpoint": await followerEndpoint(running, ids),
  };
  const args = each.args.map((word) =>
    word.replace(/\{([a-z-]+)\}/g, (_braced, name: string) => endpoints[name] ?? ids[name]!.toString(16)),
  );
  const given = args.some((word) => word.startsWith("--endpoints"));
  const output = await command(given ? args : ["--endpoints", servers[0]!.address, ...args], each);
  const seen = shown(output).replaceAll(`[${endpoints["follower-endpoint"]!}]`, "[FOLLOWER]");
  return masked(seen, await idsOf(running), ids, args);
}

/** IDs by name, of an added member as well; and who leads. */
async function idsOf(servers: readonly Server[]): Promise<Ids> {
  const { members } = await servers[0]!.client.call("MemberList", { linearizable: true });
  const ids: Record<string, bigint> = {};
  for (const member of (members ?? []) as readonly Message[]) {
    ids[(member["name"] as string | undefined) || "added"] = BigInt(member["ID"] as bigint | number);
  }
  ids["leader"] = await leaderOf(servers);
  ids["follower"] = [ids["a"]!, ids["b"]!].find((id) => id !== ids["leader"])!;
  return { added: 1n, ...ids };
}

/** As all of these say; while they differ an election is under way. */
async function leaderOf(servers: readonly Server[]): Promise<bigint> {
  for (;;) {
    const answers = await Promise.all(servers.map(({ client }) => client.call("Status", {})));
    const leaders = new Set(answers.map(({ leader }) => BigInt((leader as bigint | number | undefined) ?? 0)));
    const alive = new Set(answers.map(({ header }) => BigInt((header as Message)["member_id"] as bigint | number)));
    const [leader] = leaders;
    if (leaders.size === 1 && alive.has(leader!)) return leader!;
  }
}

async function followerEndpoint(servers: readonly Server[], { leader }: Ids): Promise<string> {
  for (const { client, address } of servers) {
    const { header } = await client.call("Status", {});
    if (BigInt((header as Message)["member_id"] as bigint | number) !== leader) return address;
  }
  return assert.fail("every member leads");
}

/**
 * Members are told apart by their names. Chance are terms, where an added member's ID comes in the order, and the order in which
 * endpoints answer a health check.
 */
function masked(text: string, after: Ids, before: Ids, args: readonly string[]): string {
  let plain = text;
  for (const id of [...Object.values(after), ...Object.values(before)].filter((id) => id > 100n)) {
    plain = plain.replaceAll(id.toString(16), "MEMBER").replaceAll(String(id), "MEMBER");
  }
  plain = plain
    .replace(/MEMBER( +added to cluster| +MEMBER)/g, "MEMBER$1")
    .replace(/"(raft_term|RaftTerm|raftTerm)" ?: ?\d+/g, '"$1":N')
    .replace(/ +(?=MEMBER)/g, " ")
    .replace(/\bMember [0-9a-f]{16} added/g, "Member MEMBER added") // removed again by the next line
    .replace(/(true|false)(, | +\| +)(true|false)(, | +\| +)\d+(, | +\| +)N/g, "L$2$3$4T$5N")
    .replace(/(-|─){3,}/g, "---")
    .replace(/ {2,}/g, " ");
  if (!args.includes("health") && !args.includes("member")) return plain;
  return plain
    .replace(/(?<=\}),(?=\{)|(?<="members":\[)|(?<=\})(?=\]\})/g, "\n") // members stand in the order of IDs that chance gave
    .replace(/\| (http|MEMBER)/g, "\n| $1")
    .replace(/(?<=ETCD_INITIAL_CLUSTER=")[^"]*/, (list) => list.split(",").sort().join(","))
    .replace(/[[\]]/g, "")
    .split("\n")
    .sort()
    .join("\n");
}
