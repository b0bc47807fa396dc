/**
 * A cluster of machines in one world, and what keeps it going: machines that went down come up again after a while.
 *
 * It decides what an end of a process means. A member may fail of a fault that its disk was given, and may refuse a disk whose bits
 * changed; anything else that ends one is a broken law.
 */
import { CodedError, describeError, invariant } from "../../src/base/errors.js";
import type { LogFields } from "../../src/platform/index.js";
import { defaultOptions, type MemberOptions } from "../../src/server/index.js";
import type { CrashMode, DiskOperation } from "../platter.js";
import { CRASH_MODES } from "../platter.js";
import type { SimRandom } from "../random.js";
import type { Counts } from "./counts.js";
import type { ReplacedBy } from "./durable-log.js";
import { Machine, type CrashPoint, type MachineEvents, type MemberProcess } from "./machine.js";
import { machineOf, peerUrlOf } from "./peer-door.js";
import type { SimPeerNetwork } from "./peer-network.js";
import type { Scheduler } from "./scheduler.js";
import type { SeedPlan } from "./swarm.js";
import type { Trace } from "./trace.js";
import { ViolationError } from "./violation.js";

export interface ClusterWorld {
  readonly scheduler: Scheduler;
  readonly network: SimPeerNetwork;
  readonly trace: Trace;
  readonly counts: Counts;
}

/** Who else wants to know what becomes of processes and disks. */
export interface ClusterObserver {
  onProcessEnded(process: MemberProcess): void;
  onServing(process: MemberProcess): void;
  onDiskOperation(machine: Machine, operation: DiskOperation): void;
  /** The machine's process is about to die. */
  onCrashing(machine: Machine, isPowerLossAfterKill: boolean): void;
  /** What the machine's disk holds may be less than before: it crashed. */
  onCrash(machine: Machine): void;
  onWiped(machine: Machine): void;
  onEntriesReplaced(machine: Machine, by: ReplacedBy): void;
  onLogLine(machine: Machine, message: string, fields: LogFields | undefined): void;
  /** A member refused its damaged disk: somebody must replace it. */
  onDamageTold(machine: Machine): void;
}

/** How a machine goes down at a crash point. */
export type CrashKind = "kill" | CrashMode;

const RESTART_MS_MAX = 2_000;
/** So often it is looked whether a process that is to stop has ended otherwise. */
const LOOK_MS = 50;
/** Reasons why a machine may not be able to join yet. Who lags behind may tell it of the member that it takes the place of. */
const JOIN_CODES: readonly string[] = ["CLUSTER_UNREACHABLE", "CLUSTER_MISMATCH", "MEMBER_BOOTSTRAPPED"];

export class Cluster {
  /** Those that are members, as far as is known. */
  readonly machines: Machine[] = [];
  /** All that ever were. */
  readonly everyMachine: Machine[] = [];
  readonly #world: ClusterWorld;
  readonly #plan: SeedPlan;
  readonly #random: SimRandom;
  readonly #observer: ClusterObserver;
  /** Machines that lose power in their next life, and at what. */
  readonly #losesPowerSoon = new Map<Machine, CrashPoint | undefined>();
  /** Those whose life that is. */
  readonly #losesPowerNow = new Set<Machine>();
  readonly #crashKinds = new Map<Machine, CrashKind>();
  #initialCluster = new Map<string, readonly string[]>();
  readonly #fail: (violation: ViolationError) => void;
  /** Whether machines crash again while they boot. */
  crashesInBoot = false;

  /** @param fail told of broken laws */
  constructor(
    world: ClusterWorld,
    plan: SeedPlan,
    random: SimRandom,
    observer: ClusterObserver,
    fail: (violation: ViolationError) => void,
  ) {
    this.#world = world;
    this.#plan = plan;
    this.#random = random;
    this.#observer = observer;
    this.#fail = fail;
  }

  /** Machines that are up. */
  get running(): Machine[] {
    return this.machines.filter(({ process }) => process !== undefined);
  }

  /** Machines whose members serve. */
  get serving(): Machine[] {
    return this.machines.filter(
      ({ process }) => process?.member !== undefined && process.failure === undefined && !process.stopping,
    );
  }

  machineNamed(name: string): Machine {
    const machine = this.everyMachine.find((each) => each.name === name);
    invariant(machine !== undefined, () => `there is no machine ${name}`);
    return machine;
  }

  /** The machine that most members take for the leader's, as far as they say. */
  leader(): Machine | undefined {
    const votes = new Map<bigint, number>();
    for (const { process } of this.serving) {
      const leader = process!.member!.leader();
      if (leader !== 0n) votes.set(leader, (votes.get(leader) ?? 0) + 1);
    }
    const first = [...votes].sort((a, b) => b[1] - a[1])[0]?.[0];
    return this.serving.find(({ process }) => process!.member!.memberId === first);
  }

  /** Makes the machines of a new cluster and starts them. */
  begin(): void {
    for (let number = 1; number <= this.#plan.members; number++) this.#addMachine(`m${number}`);
    this.#initialCluster = new Map(this.machines.map(({ name }) => [name, [peerUrlOf(name)]]));
    for (const machine of this.machines) this.start(machine);
  }

  #addMachine(name: string): Machine {
    const machine = new Machine(this.#world, this.#events, name, this.#random);
    machine.diskHabits = this.#plan.disks;
    machine.tokenSeconds = this.#plan.auth?.tokenSeconds ?? machine.tokenSeconds;
    const { driftMax } = this.#plan;
    if (driftMax > 0) machine.clock.setRate(1 + (this.#random.below(2 * driftMax + 1) - driftMax) / 1000);
    this.machines.push(machine);
    this.everyMachine.push(machine);
    return machine;
  }

  // ---- members come and go -----------------------------------------------------------------------------------------

  /** A machine of this name joins the members that there are now, itself included. One that had the name before has a new disk. */
  join(name: string, members: readonly { readonly peerUrls: readonly string[] }[]): void {
    const known = this.everyMachine.find((machine) => machine.name === name);
    if (known !== undefined && this.machines.includes(known)) return;
    const machine = known ?? this.#addMachine(name);
    if (known !== undefined) {
      this.wipe(known);
      this.machines.push(known);
    }
    machine.joins = clusterOf(members);
    this.start(machine);
  }

  /** The machine is no member any more. Its process finds that out by itself, or at the end. */
  giveUp(machine: Machine): void {
    const at = this.machines.indexOf(machine);
    if (at >= 0) this.machines.splice(at, 1);
    machine.mayBeRemoved = true;
  }

  /** A new disk, after the process on the old one is gone. */
  wipe(machine: Machine): void {
    if (machine.process !== undefined) this.crash(machine, "kill");
    machine.wipe();
    this.#observer.onWiped(machine);
  }

  start(machine: Machine): void {
    const process = machine.start(this.#optionsOf(machine));
    this.#losesPowerNow.delete(machine);
    if (this.#losesPowerSoon.has(machine)) {
      const point = this.#losesPowerSoon.get(machine);
      this.#losesPowerSoon.delete(machine);
      this.#losesPowerNow.add(machine);
      const operations = 1 + this.#random.below(point === undefined ? 150 : point.atSync ? 2 : 30);
      // What counts is what is lost, or what is lost while later writes stay.
      this.crashAt(machine, operations, this.#random.pick(["lost", "prefix", "any", "any"]), point);
    }
    if (Number.isFinite(machine.disk.capacityBytes)) process.mayFail = true;
    if (this.crashesInBoot && !this.#random.oneIn(3)) {
      this.crashAt(machine, 1 + this.#random.below(60), this.#random.pick(["kill", ...CRASH_MODES]));
      this.#world.counts.add("crashes in boot planned");
    }
  }

  #optionsOf(machine: Machine): MemberOptions {
    return {
      ...defaultOptions(machine.dataDir),
      ...this.#plan.options,
      name: machine.name,
      initialAdvertisePeerUrls: [peerUrlOf(machine.name)],
      advertiseClientUrls: [`http://${machine.name}:2379`],
      initialCluster: machine.joins ?? this.#initialCluster,
      initialClusterState: machine.joins === undefined ? "new" : "existing",
    };
  }

  // ---- crashes -----------------------------------------------------------------------------------------------------

  crash(machine: Machine, kind: CrashKind): void {
    const { process } = machine;
    if (process === undefined) return;
    this.#world.trace.text(`crash ${kind} ${machine.name}`);
    this.#crashKinds.delete(machine);
    this.#observer.onCrashing(machine, kind !== "kill" && this.#losesPowerNow.has(machine));
    this.#world.counts.add(kind === "kill" ? "kills" : "power losses");
    if (process.member === undefined) this.#world.counts.add("crashes before serving");
    if (kind === "kill") machine.kill();
    else machine.losePower(kind);
    this.#observer.onProcessEnded(process);
    this.#observer.onCrash(machine);
    this.#startLater(machine);
  }

  /** The machine crashes before the how-manieth operation of its disk, or of a part of it, from now on. */
  crashAt(machine: Machine, operations: number, kind: CrashKind, point?: CrashPoint): void {
    this.#crashKinds.set(machine, kind);
    machine.crashAfter(operations, point);
  }

  /**
   * The machine loses power, and a bit or a sector of its disk with it. As many members may be damaged as may be lost: what was acknowledged is
   * on a majority of whole disks then (a fault atlas).
   */
  rot(machine: Machine): void {
    // Who lags behind may know of more voters than there are.
    const known = this.serving.map(({ process }) => process!.member!.observe().confState.voters);
    const [voters = []] = known.sort((a, b) => a.length - b.length);
    // A voter that nobody has started yet is one that is missing.
    if (!voters.every((id) => this.machines.some(({ memberId }) => memberId === id))) return;
    const most = Math.floor((voters.length - 1) / 2);
    if (machine.damaged !== undefined) return;
    if (this.machines.filter(({ damaged }) => damaged !== undefined).length >= most) return;
    if (machine.process === undefined || machine.memberId === undefined) return;
    this.crash(machine, "lost");
    machine.rot();
    this.#observer.onCrash(machine);
  }

  /**
   * The process dies soon, and power fails soon after the next one began: what the first left in the system's cache is lost then, all of it
   * or in part.
   */
  crashTwice(machine: Machine, operationsBefore: number, point: CrashPoint | undefined): void {
    this.#losesPowerSoon.set(machine, point);
    this.crashAt(machine, 1 + operationsBefore, "kill", point);
  }

  #startLater(machine: Machine): void {
    this.#world.scheduler.after((RESTART_MS_MAX * this.#random.below(1024)) / 1024, undefined, () => {
      if (machine.process !== undefined || !this.machines.includes(machine)) return;
      if (machine.joins !== undefined && machine.memberId === undefined) this.#askWhoIsThere(machine);
      this.start(machine);
    });
  }

  /** One that has not joined yet is told who is there now: the members may have changed. Who tells may lag behind, and not know of it yet. */
  #askWhoIsThere(machine: Machine): void {
    const { running } = this;
    if (running.length === 0) return;
    const members = this.#world.network.toldBy(this.#random.pick(running).name)?.members();
    const known = members === undefined ? undefined : clusterOf(members);
    if (known?.has(machine.name) === true) machine.joins = known;
  }

  /** Stops a member as an operator does; it comes up again later. */
  stopGracefully(machine: Machine): void {
    const { process } = machine;
    const { member } = process ?? {};
    if (process === undefined || member === undefined || process.failure !== undefined || process.stopping) return;
    this.#world.counts.add("graceful stops");
    process.stopping = true;
    member.stop().then(
      () => {
        if (process.gone) return;
        this.#checkClosed(machine);
        machine.ended();
        this.#observer.onProcessEnded(process);
        this.#startLater(machine);
      },
      (error: unknown) => {
        if (process.gone) return;
        if (!process.mayFail && machine.damaged === undefined)
          this.#fail(new ViolationError("stop", `${machine.name} did not stop: ${describeError(error)}`));
        this.crash(machine, "kill");
      },
    );
  }

  #checkClosed(machine: Machine): void {
    const open = machine.disk.openHandles();
    if (open.length > 0) this.#fail(new ViolationError("stop", `${machine.name} left open: ${open.join(", ")}`));
  }

  // ---- what becomes of processes -----------------------------------------------------------------------------------

  readonly #events: MachineEvents = {
    onServing: (machine, process) => {
      this.#world.trace.text(`serving ${machine.name}`);
      this.#observer.onServing(process);
    },
    onRefused: (machine, process, error) => this.#onEnd(machine, process, error, "refused to start"),
    onFailure: (machine, process, error) => this.#onEnd(machine, process, error, "failed"),
    onCrashPoint: (machine) => this.crash(machine, this.#crashKinds.get(machine) ?? "kill"),
    onDiskOperation: (machine, operation) => this.#observer.onDiskOperation(machine, operation),
    onEntriesReplaced: (machine, by) => this.#observer.onEntriesReplaced(machine, by),
    onLogLine: (machine, message, fields) => this.#observer.onLogLine(machine, message, fields),
  };

  /** A process that failed is about to exit; until then nothing of it may be acknowledged. */
  #onEnd(machine: Machine, process: MemberProcess, error: unknown, what: string): void {
    const code = error instanceof CodedError ? (error.code as string) : "none";
    this.#world.trace.text(`${what} ${code}`);
    this.#world.counts.add(`members that ${what}`);
    machine.log.door(() => this.#world.scheduler.now).warn(`the member ${what}`, { error: describeError(error) });
    const removed = code === "MEMBER_REMOVED" && machine.mayBeRemoved;
    if (removed) this.giveUp(machine);
    // One that never was a member finds nobody, or the members changed since it was told of them: it tries again.
    const joins = machine.joins !== undefined && machine.memberId === undefined && JOIN_CODES.includes(code);
    if (!process.mayFail && machine.damaged === undefined && !removed && !joins) {
      const detail = `${machine.name} ${what}: ${describeError(error)}`;
      this.#fail(new ViolationError("member-goes-on", detail, { cause: error }));
      return;
    }
    if (machine.damaged !== undefined) this.#world.counts.add(`damaged ${machine.damaged} found: ${code}`);
    this.#world.scheduler.after(0, process, () => {
      this.crash(machine, "kill");
      if (machine.damaged !== undefined) this.#observer.onDamageTold(machine);
    });
  }

  // ---- the end -----------------------------------------------------------------------------------------------------

  /** Nothing goes wrong from now on; what is down comes up. */
  heal(): void {
    this.crashesInBoot = false;
    this.#losesPowerSoon.clear();
    this.#crashKinds.clear();
    for (const machine of this.everyMachine) machine.heal();
    this.#world.network.mendAll();
  }

  /** Ends what is left of machines that are no members any more. */
  endGivenUp(): void {
    for (const machine of this.everyMachine) if (!this.machines.includes(machine)) this.crash(machine, "kill");
  }

  /** Stops all members and checks that they left nothing open. */
  async stopAll(): Promise<void> {
    for (const machine of this.machines) {
      const { process } = machine;
      if (process?.member === undefined || !(await this.#stops(process))) {
        // A disk that failed while the next segment was prepared ends its member only when that segment is needed: as late as now, when
        // leadership is handed over before a stop. That all members serve was seen before.
        this.#world.counts.add("members that were down at the end");
        continue;
      }
      this.#checkClosed(machine);
      machine.ended();
    }
  }

  /** Whether the member came to its stop before its process ended. */
  async #stops(process: MemberProcess): Promise<boolean> {
    const stop = process.member!.stop().then(() => true);
    stop.catch(() => undefined); // thrown below
    while (!process.gone) {
      const look = this.#world.scheduler.sleep(LOOK_MS, undefined).then(() => false);
      if (await Promise.race([stop, look])) return true;
    }
    return false;
  }
}

/** `--initial-cluster` of these members. */
function clusterOf(members: readonly { readonly peerUrls: readonly string[] }[]): Map<string, readonly string[]> {
  return new Map(members.map(({ peerUrls }) => [machineOf(peerUrls[0])!, peerUrls]));
}
