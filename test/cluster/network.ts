/**
 * Three members on a network that is cut, loses packets and is slow, as raft with pre-vote lets one expect:
 *
 * - a leader that is cut off steps down, and from its side no read that claims to be linearizable shows less than what the
 *   majority has acknowledged; the majority elects and goes on;
 * - a member that was cut off does not raise the term meanwhile, and follows without disturbing anyone when it comes back;
 * - a cut of one direction does not make leaders change for ever;
 * - lost packets and a delay of 200 ms cost time, and nothing else.
 *
 *   node dist/test/cluster/network.js [--server under-test[,under-test,...]] [--only PART-OF-A-TITLE] [--puts 2000]
 *
 * Each member lives in a network namespace of its own (`../support/netns.ts`). Clients put through all members during every
 * scene; in the end all that was acknowledged is there, in every member.
 */
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { revisionOf } from "../support/client.js";
import { all, Cluster, eventually, type ClusterMember } from "../support/cluster.js";
import { PutLedger } from "../support/ledger.js";
import { Connection, PutLoad } from "../support/load.js";
import { MemberNetwork, type Wiring } from "../support/netns.js";
import { Stage } from "../support/servers.js";

/** Cutting, and looking at what becomes of it. */
export interface Scene {
  readonly title: string;
  readonly wiring: Wiring;
  /** One of those that every run of the tests plays. */
  readonly inShort: boolean;
  readonly play: (world: World) => Promise<string>;
}

interface World {
  readonly cluster: Cluster;
  readonly network: MemberNetwork;
  readonly ledger: WatchedLedger;
  readonly load: PutLoad;
  /** Puts that must be acknowledged while the trouble lasts. */
  readonly puts: number;
}

/** A law of raft or of the store that a member broke. */
export class NetworkError extends Error {}

/** A ledger that knows the newest revision that was promised. */
class WatchedLedger extends PutLedger {
  newest = 0;

  override acknowledge(key: string, revision: number): void {
    super.acknowledge(key, revision);
    this.newest = Math.max(this.newest, revision);
  }
}

const CLIENTS = 3;
const IN_FLIGHT = 4;
const PER_SECOND = 400;
const READ_WITHIN_MS = 300;
const NOTICED_WITHIN_MS = 20_000;
/** etcd's default: without a heartbeat for one to two of them a member asks for votes. */
const ELECTION_MS = 1_000;
/** So long a cluster is looked at for leaders that come and go. */
const WATCHED_MS = 4 * ELECTION_MS;

/** @throws NetworkError, or the ledger's and the cluster's errors, with the first law that is broken */
export async function playScenes(
  scenes: readonly Scene[],
  options: { readonly binaries: readonly ServerBinary[]; readonly puts: number },
  tell: (text: string) => void,
): Promise<void> {
  for (const wiring of ["straight", "proxied"] as const) {
    const chosen = scenes.filter((scene) => scene.wiring === wiring);
    if (chosen.length === 0) continue;
    await Stage.with(async (stage) => {
      const network = await MemberNetwork.create(stage.folder, wiring);
      try {
        const cluster = await Cluster.start(stage, options.binaries, { placement: network.place });
        try {
          await playOn(network, cluster, chosen, options, tell);
          for (const member of cluster.running) await member.stop();
        } finally {
          // A leader that stops hands the lead over first, which takes long where nobody can be reached.
          for (const member of cluster.running) await member.kill();
        }
      } finally {
        await network.close();
      }
    });
  }
}

async function playOn(
  network: MemberNetwork,
  cluster: Cluster,
  scenes: readonly Scene[],
  options: { readonly binaries: readonly ServerBinary[]; readonly puts: number },
  tell: (text: string) => void,
): Promise<void> {
  const ledger = new WatchedLedger("network/");
  const addresses = (): readonly string[] => cluster.addresses;
  for (const scene of scenes) {
    const load = new PutLoad(ledger, {
      addresses,
      clients: CLIENTS,
      inFlight: IN_FLIGHT,
      perSecond: PER_SECOND,
      // A member that is cut off keeps its callers waiting; a slow network answers later than a good one.
      callTimeoutMs: scene.wiring === "straight" ? 400 : 5_000,
    });
    const begin = performance.now();
    try {
      const told = await scene.play({ cluster, network, ledger, load, puts: options.puts });
      tell(`${scene.title}: ${told} (${Math.round((performance.now() - begin) / 100) / 10} s)`);
    } finally {
      await load.stop();
    }
    await cluster.settled();
  }
  await cluster.sameContents("at the end");
  for (const { client, describe } of cluster.members) await ledger.checkAll(client, `${describe}, at the end`);
  tell(`${ledger.acknowledged} of ${ledger.acknowledged} acknowledged puts are in every member`);
}

export const SCENES: readonly Scene[] = [
  {
    title: "a leader that is cut off steps down and serves nothing stale, and comes back as a follower",
    wiring: "straight",
    inShort: true,
    play: leaderCutOff,
  },
  {
    title: "a follower that was cut off comes back without an election",
    wiring: "straight",
    inShort: false,
    play: followerCutOff,
  },
  {
    title: "a follower that does not hear the leader changes nothing",
    wiring: "straight",
    inShort: false,
    play: async (world) => oneWay(world, (leader, [follower]) => [[leader, follower!]]),
  },
  {
    title: "a leader that does not hear one follower changes nothing",
    wiring: "straight",
    inShort: true,
    play: async (world) => oneWay(world, (leader, [follower]) => [[follower!, leader]]),
  },
  {
    title: "a leader that nobody hears is replaced once",
    wiring: "straight",
    inShort: true,
    play: async (world) => oneWay(world, (leader, followers) => followers.map((each) => [leader, each] as const)),
  },
  {
    title: "a leader that hears nobody is replaced once",
    wiring: "straight",
    inShort: false,
    play: async (world) => oneWay(world, (leader, followers) => followers.map((each) => [each, leader] as const)),
  },
  { title: "5 of 100 packets lost cost time alone", wiring: "straight", inShort: true, play: losses },
  { title: "200 ms on every way cost time alone", wiring: "proxied", inShort: true, play: delays },
];

async function leaderCutOff({ cluster, network, ledger, load, puts }: World): Promise<string> {
  const old = await cluster.leader();
  const others = cluster.others(old);
  const { term } = await old.status();
  await load.reach(load.acknowledged + puts);
  await network.cutOff(old.name);
  const reader = new StaleReader(old, ledger);
  const leader = await newLeader(others, `${old.name} was cut off`);
  await load.reach(load.acknowledged + puts);
  const after = ledger.newest;
  await stepsDown(old);
  await termStays(old, term, WATCHED_MS);
  const { refused, answered } = await reader.stop();
  const behind = await serializableRevision(old);
  if (behind >= after)
    throw new NetworkError(`${old.name} has revision ${behind} of ${after}: it was not cut off, and proves nothing`);
  const { term: newTerm } = await leader.status();
  await network.reconnect(old.name);
  await follows(old, leader);
  const back = await leader.status();
  if (back.leader !== leader.id || back.term !== newTerm)
    throw new NetworkError(`${old.name} came back and the term went from ${newTerm} to ${back.term}`);
  return (
    `term ${term} to ${newTerm}, ${refused} linearizable reads refused at ${old.name} and ${answered} answered, none stale; ` +
    `it stood at revision ${behind} while the majority was past ${after}`
  );
}

async function followerCutOff({ cluster, network, load, puts }: World): Promise<string> {
  const leader = await cluster.leader();
  const { term } = await leader.status();
  const follower = cluster.others(leader)[0]!;
  await network.cutOff(follower.name);
  await stepsDown(follower);
  await load.reach(load.acknowledged + puts);
  await termStays(follower, term, WATCHED_MS);
  await network.reconnect(follower.name);
  await follows(follower, leader);
  await termStays(leader, term, ELECTION_MS);
  return `leader ${leader.name} and term ${term} stayed`;
}

/** Cuts ways, and watches that the cluster finds a state in which it stays. */
async function oneWay(
  { cluster, network, load, puts }: World,
  ways: (
    leader: ClusterMember,
    followers: readonly ClusterMember[],
  ) => readonly (readonly [ClusterMember, ClusterMember])[],
): Promise<string> {
  const old = await cluster.leader();
  const before = await old.status();
  const cut = ways(old, cluster.others(old));
  for (const [from, to] of cut) await network.cutOneWay(from.name, to.name);
  const isolated = cut.length > 1;
  const majority = isolated ? cluster.others(old) : [old, cut[0]!.find((member) => member !== old)!];
  const leader = isolated ? await newLeader(majority, `${old.name} was half cut off`) : old;
  const { term } = await leader.status();
  if (!isolated && term !== before.term)
    throw new NetworkError(`one way was cut and the term went from ${before.term} to ${term}`);
  await load.reach(load.acknowledged + puts);
  await termStays(leader, term, WATCHED_MS);
  const dropped = await network.dropped();
  await network.mend();
  if (dropped === 0) throw new NetworkError("no packet was dropped: the cut proves nothing");
  for (const member of cluster.others(leader)) await follows(member, leader);
  await termStays(leader, term, ELECTION_MS);
  return `leader ${old.name} in term ${before.term}, then ${leader.name} in term ${term}, for good; ${dropped} packets dropped`;
}

async function losses({ cluster, network, load, puts }: World): Promise<string> {
  const { term } = await (await cluster.leader()).status();
  await network.lose(5);
  const begin = performance.now();
  await load.reach(load.acknowledged + puts);
  const seconds = (performance.now() - begin) / 1000;
  const dropped = await network.dropped();
  await network.mend();
  if (dropped === 0) throw new NetworkError("no packet was lost: the loss proves nothing");
  const leader = await cluster.leader();
  const after = await leader.status();
  return `${dropped} packets lost, ${Math.round(puts / seconds)} puts/s, term ${term}, then ${after.term}`;
}

const DELAY_MS = 200;
const DELAYED_PUTS = 20;

async function delays({ cluster, network, ledger, load }: World): Promise<string> {
  await load.reach(load.acknowledged + 1);
  await network.delay(DELAY_MS);
  const leader = await cluster.leader();
  const { term } = await leader.status();
  const begin = performance.now();
  await load.reach(load.acknowledged + DELAYED_PUTS);
  for (const member of cluster.members) {
    const floor = ledger.newest;
    const revision = revisionOf(await member.client.call("Range", COUNT, NOTICED_WITHIN_MS));
    if (revision < floor)
      throw new NetworkError(`${member.name} read revision ${revision} after ${floor} was acknowledged`);
  }
  await termStays(leader, term, WATCHED_MS);
  const told = `${Math.round(performance.now() - begin)} ms for ${DELAYED_PUTS} puts and a read at each member, term ${term} stayed`;
  await network.delay(0);
  return told;
}

const COUNT = { key: Uint8Array.of(0), range_end: Uint8Array.of(0), count_only: true };

/** Reads at one member all the time, each to be linearizable. @throws NetworkError (from `stop`) when one was not */
class StaleReader {
  readonly #loop: Promise<void>;
  readonly #connection: Connection;
  #over = false;
  refused = 0;
  answered = 0;

  constructor(member: ClusterMember, ledger: WatchedLedger) {
    this.#connection = new Connection(member.address);
    this.#loop = this.#read(member, ledger);
    this.#loop.catch(() => {}); // told by stop
  }

  async #read(member: ClusterMember, ledger: WatchedLedger): Promise<void> {
    while (!this.#over) {
      const floor = ledger.newest;
      const outcome = await this.#connection.call("Range", COUNT, READ_WITHIN_MS);
      if (outcome.kind !== "answered") {
        this.refused++;
        continue;
      }
      this.answered++;
      const revision = revisionOf(outcome.response);
      if (revision < floor)
        throw new NetworkError(`${member.name} read revision ${revision} after ${floor} had been acknowledged`);
    }
  }

  async stop(): Promise<{ refused: number; answered: number }> {
    this.#over = true;
    await this.#loop;
    this.#connection.close();
    return { refused: this.refused, answered: this.answered };
  }
}

/** What a member has by itself, asking nobody. */
async function serializableRevision({ client }: ClusterMember): Promise<number> {
  return revisionOf(await client.call("Range", { ...COUNT, serializable: true }));
}

/** Waits until these members follow one of themselves. */
async function newLeader(members: readonly ClusterMember[], why: string): Promise<ClusterMember> {
  return eventually(`the others to elect after ${why}`, NOTICED_WITHIN_MS, async () => {
    const told = await all(members.map(async (member) => member.status()));
    const leader = members.find(({ id }) => id === told[0]!.leader);
    const agreed = told.every((status) => status.leader === leader?.id && status.term === told[0]!.term);
    return leader !== undefined && agreed ? leader : told.map(({ leader: id }) => `leader ${id}`).join(", ");
  });
}

async function stepsDown(member: ClusterMember): Promise<void> {
  await eventually(`${member.name} to know that it has no leader`, NOTICED_WITHIN_MS, async () => {
    const { leader } = await member.status();
    return leader === 0n ? true : `it follows ${leader}`;
  });
}

async function follows(member: ClusterMember, leader: ClusterMember): Promise<void> {
  await eventually(`${member.name} to follow ${leader.name}`, NOTICED_WITHIN_MS, async () => {
    const [own, its] = await all([member.status(), leader.status()] as const);
    const reached = own.leader === leader.id && own.appliedIndex >= its.index - PER_SECOND;
    return reached
      ? true
      : `it follows ${own.leader} in term ${own.term} and has applied ${own.appliedIndex} of ${its.index}`;
  });
}

/** Watches a member for so long. @throws NetworkError when its term changes */
async function termStays(member: ClusterMember, term: number, forMs: number): Promise<void> {
  const until = performance.now() + forMs;
  while (performance.now() < until) {
    const status = await member.status();
    if (status.term !== term) throw new NetworkError(`${member.name} went from term ${term} to ${status.term}`);
    await pause(ELECTION_MS / 10);
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string", default: "under-test" },
      only: { type: "string", default: "" },
      puts: { type: "string", default: "2000" },
    },
  });
  const names = values.server.split(",");
  const binaries = Array.from({ length: 3 }, (_, i) => serverNamed(names[i % names.length]!));
  const scenes = SCENES.filter(({ title }) => title.includes(values.only));
  await playScenes(scenes, { binaries, puts: Number(values.puts) }, (text) => console.log(text));
}

if (process.argv[1] === import.meta.filename) await main();
