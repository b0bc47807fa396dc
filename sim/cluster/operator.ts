/**
 * Who changes the members of a simulated cluster: adds, removes, replaces and promotes them, and moves leadership, one change at a time.
 *
 * A change whose outcome it does not learn may still take effect. What became of it is found out at the end, when all members can be
 * reached: a member that nobody started is started, a machine that is no member any more is given up. The first is done on the word of any member,
 * for the others may wait for the vote of the one that is missing; the second only on that of a majority.
 */
import type { Member as ClusterMember } from "../../src/membership/member.js";
import type { Member } from "../../src/server/index.js";
import type { SimRandom } from "../random.js";
import type { Cluster, ClusterWorld } from "./cluster.js";
import type { Machine } from "./machine.js";
import { peerUrlOf } from "./peer-door.js";
import { countOf } from "./situations.js";

export type Reconfiguration = "add" | "remove" | "replace" | "promote" | "move-leader";

/** How long an answer is waited for. */
const ANSWER_MS_MAX = 12_000;
/** So long it waits before it looks again whether a member serves. */
const ROUND_MS = 1_000;
/** A cluster does not grow beyond this many machines. */
const MACHINES_MAX = 7;

export class Operator {
  readonly #world: ClusterWorld;
  readonly #cluster: Cluster;
  readonly #random: SimRandom;
  #busy = false;
  #kind: Reconfiguration | undefined;
  #unanswered = false;
  #names: number;

  constructor(world: ClusterWorld, cluster: Cluster, members: number, random: SimRandom) {
    this.#world = world;
    this.#cluster = cluster;
    this.#random = random;
    this.#names = members;
  }

  /** Whether a change is under way. */
  get isBusy(): boolean {
    return this.#busy;
  }

  /** Whether a change of members that it got no answer to may still be carried out. */
  get mayChangeYet(): boolean {
    return this.#unanswered;
  }

  /** Whether it changes who is a member, and does not know yet what became of it. */
  get changesMembers(): boolean {
    return this.#busy && this.#kind !== "move-leader";
  }

  /** Begins a change, unless one is under way. */
  begin(kind: Reconfiguration, machine: Machine): void {
    if (this.#busy) return;
    this.#busy = true;
    this.#kind = kind;
    void this.#carryOut(kind, machine).finally(() => (this.#busy = false));
  }

  async #carryOut(kind: Reconfiguration, machine: Machine): Promise<void> {
    switch (kind) {
      case "add":
        if (this.#cluster.machines.length < MACHINES_MAX) await this.#add(`m${++this.#names}`, this.#random.oneIn(2));
        return;
      case "remove":
        await this.#remove(machine);
        return;
      case "replace":
        if (!(await this.#remove(machine))) return;
        this.#cluster.wipe(machine);
        await this.#add(machine.name, false);
        return;
      case "promote":
        await this.#promote();
        return;
      case "move-leader":
        await this.#moveLeader();
    }
  }

  async #add(name: string, isLearner: boolean): Promise<void> {
    if (this.#cluster.machines.some(({ damaged }) => damaged !== undefined)) return; // the new voter would be one more that is missing
    // Whoever joins is refused, as by etcd, while the cluster has no version; and those who are to decide on one may need its vote.
    const { network } = this.#world;
    if (!this.#cluster.serving.some(({ name }) => network.toldBy(name)?.clusterVersion() !== undefined)) return;
    const members = await this.#ask((member) =>
      member.memberAdd({ peerUrls: [peerUrlOf(name)], isLearner }).then((answer) => answer.members),
    );
    if (members === undefined) {
      this.#unanswered = true;
      return;
    }
    this.#count(isLearner ? "learners added" : "members added");
    this.#cluster.join(name, members);
  }

  /** Answers whether the member is known to be removed. */
  async #remove(machine: Machine): Promise<boolean> {
    const { memberId } = machine;
    const voters = this.#cluster.serving[0]?.process?.member?.observe().confState.voters.length ?? 0;
    // From two voters to one is left out: raft's commit alone is not durable, so when the one that stays loses power before it is, it asks
    // for ever for the vote of the one that went.
    if (memberId === undefined || voters < 3) return false;
    // One whose disk is damaged counts as lost: no whole one goes before it is replaced.
    if (machine.damaged === undefined && this.#cluster.machines.some(({ damaged }) => damaged !== undefined))
      return false;
    machine.mayBeRemoved = true;
    const members = await this.#ask((member) => member.memberRemove(memberId).then((answer) => answer.members));
    if (members === undefined || members.some(({ id }) => id === memberId)) {
      this.#unanswered = true;
      return false;
    }
    this.#count("members removed");
    this.#world.counts.add(countOf("a member was removed"));
    this.#cluster.giveUp(machine);
    return true;
  }

  async #promote(): Promise<void> {
    const members = await this.#ask((member) => member.memberList(false).then((answer) => answer.members));
    const learner = members?.find(({ isLearner }) => isLearner);
    if (learner === undefined) return;
    const promoted = await this.#ask((member) => member.memberPromote(learner.id).then((answer) => answer.members));
    if (promoted === undefined) return;
    this.#count("learners promoted");
    this.#world.counts.add(countOf("a learner was promoted"));
  }

  async #moveLeader(): Promise<void> {
    const leader = this.#cluster.leader();
    const target = this.#random.pick(this.#cluster.machines).memberId;
    if (leader === undefined || target === undefined) return;
    const moved = await this.#ask((member) => member.moveLeader(target).then(() => []), leader);
    if (moved !== undefined) this.#count("leadership moved");
  }

  /** When nothing goes wrong any more: brings machines and members together. Resolves when a member serves and they are the same. */
  async settle(): Promise<void> {
    for (;;) {
      this.#startMissing();
      if (this.#cluster.serving.length === 0) {
        await this.#world.scheduler.sleep(ROUND_MS, undefined);
        continue;
      }
      const lost = this.#cluster.machines.find(needsReplacement);
      if (lost !== undefined) await this.#carryOut("replace", lost);
      const members = await this.#ask((member) => member.memberList(true).then((answer) => answer.members));
      if (members !== undefined && this.#isSettled(members)) return;
    }
  }

  /** Starts the members that nobody has started, as far as the running member with the longest commit knows them. */
  #startMissing(): void {
    const [newest] = this.#cluster.running.sort((a, b) => b.durableLog.state.commit - a.durableLog.state.commit);
    const members = newest === undefined ? undefined : this.#world.network.toldBy(newest.name)?.members();
    for (const { id, peerUrls } of members ?? []) {
      const name = machineNameIn(peerUrls);
      const known = this.#cluster.everyMachine.find((machine) => machine.name === name);
      // One that ran and was given up was removed; this member has not heard of it yet.
      if (known?.memberId === id || known?.formerIds.has(id) === true) continue;
      this.#cluster.join(name, members!);
    }
  }

  #isSettled(members: readonly ClusterMember[]): boolean {
    const gone = this.#cluster.machines.filter((machine) => {
      const isMember = members.some(
        ({ id, peerUrls }) =>
          id === machine.memberId || (machine.memberId === undefined && hasUrl(peerUrls, machine.name)),
      );
      return !isMember;
    });
    for (const machine of gone) this.#cluster.giveUp(machine);
    for (const { peerUrls } of members) {
      const name = machineNameIn(peerUrls);
      if (this.#cluster.machines.some((machine) => machine.name === name)) continue;
      this.#cluster.join(name, members);
    }
    return true;
  }

  /** Asks a member that serves; undefined when it refuses, does not answer in time, or none serves. */
  async #ask<Answer>(call: (member: Member) => Promise<Answer>, machine?: Machine): Promise<Answer | undefined> {
    const { serving } = this.#cluster;
    const { scheduler } = this.#world;
    await scheduler.sleep(1 + this.#random.below(50), undefined);
    const process = (machine ?? (serving.length === 0 ? undefined : this.#random.pick(serving)))?.process;
    if (process?.member === undefined || process.failure !== undefined) return undefined;
    const timeout = scheduler.sleep(ANSWER_MS_MAX, undefined).then(() => undefined);
    const answer = call(process.member).catch(() => undefined);
    return Promise.race([answer, timeout]);
  }

  #count(what: string): void {
    this.#world.counts.add(what);
    const { machines } = this.#cluster;
    const apart = machines.some((a) => machines.some((b) => this.#world.network.isCut(a.name, b.name)));
    if (apart) this.#world.counts.add(`situation: ${what} during a partition`);
    if (machines.some(({ process }) => process === undefined))
      this.#world.counts.add(`situation: ${what} while one is down`);
  }
}

/** One that does not start; and one whose `db` is damaged, for nobody knows when it comes to the place. */
function needsReplacement({ damaged, process }: Machine): boolean {
  return damaged === "db" || (damaged !== undefined && process?.member === undefined);
}

function machineNameIn(peerUrls: readonly string[]): string {
  return /^http:\/\/([^:]+):/.exec(peerUrls[0]!)![1]!;
}

function hasUrl(urls: readonly string[], name: string): boolean {
  return urls.includes(peerUrlOf(name));
}
