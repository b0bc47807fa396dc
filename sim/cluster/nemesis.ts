/**
 * What makes things go wrong: every now and then one of the seed's kinds of faults, on a machine or a link, each with its own end.
 */
import { describeError } from "../../src/base/errors.js";
import { CRASH_MODES } from "../platter.js";
import type { SimRandom } from "../random.js";
import type { Cluster, ClusterWorld, CrashKind } from "./cluster.js";
import type { FaultKind } from "./fault-kinds.js";
import type { Operator } from "./operator.js";
import { DISK_PARTS, type CrashPoint, type Machine } from "./machine.js";
import type { Ambush } from "./situations.js";
import type { SeedPlan } from "./swarm.js";

/** One ambush in so many is carried out: fewer where the moment comes often. */
const AMBUSH_ONE_IN: Readonly<Record<Ambush, number>> = {
  "log repaired": 1,
  "replacing snapshot installing": 1,
  "older snapshot begins a segment": 1,
  "snapshot begun short of replaced entries": 1,
  "snapshot short of replaced entries": 1,
  "db defragmented": 2,
  "db compacted": 4,
  "segment cut": 6,
  "segment cut in a snapshot": 1,
  "snapshot begun": 6,
  "snapshot taken": 6,
  "snapshot arriving": 2,
  "snapshot installing": 2,
  "snapshot installed": 2,
  "entries replaced": 1,
  "leader elected": 4,
  "members changed": 4,
};
/** Within so many milliseconds of its moment. */
const AMBUSH_MS_MAX = [5, 20, 200];
/** A second strike comes within so long. */
const SECOND_STRIKE_MS_MAX = 3_000;
/** A follower is deaf for so long while a snapshot is taken. */
const DEAF_MS_MAX = 300;
/** Snapshots and defragmentations are slow for so long. */
const SLOW_BESIDE_LOG_FOR_MS_MAX = 1_000;
/** Longest partition and clog. */
const CUT_MS_MAX = 5_000;
/** From the moment at which it is decided that a leader stands still to the one at which it does. */
const FREEZE_AFTER_MS = 200;
/** How long a follower's reads are late. */
const LATE_READS_FOR_MS = 4_000;

/** Who comes in the moments in which a mistake would show. */
export interface Crowds {
  /** Until a moment many should read from one machine, while many write through another one. */
  onLateReads(reader: Machine, writer: Machine, until: number): void;
  /** Leases should be granted and asked for while the leader's disk is slow for so long: the others may have applied what it has not. */
  onLeaderSlow(leader: Machine, forMs: number): void;
  /** Leases should be granted now, and renewed at the leader just before it goes on: it stands still after a while, for so long. */
  onLeaderToFreeze(leader: Machine, afterMs: number, forMs: number): void;
}

export class Nemesis {
  readonly #world: ClusterWorld;
  readonly #cluster: Cluster;
  readonly #operator: Operator;
  readonly #plan: SeedPlan;
  readonly #random: SimRandom;
  readonly #crowds: Crowds;
  #stopped = false;

  constructor(
    world: ClusterWorld,
    cluster: Cluster,
    operator: Operator,
    plan: SeedPlan,
    random: SimRandom,
    crowds: Crowds,
  ) {
    this.#crowds = crowds;
    this.#world = world;
    this.#cluster = cluster;
    this.#operator = operator;
    this.#plan = plan;
    this.#random = random;
  }

  begin(): void {
    this.#cluster.crashesInBoot = this.#plan.faults.includes("crash-in-boot");
    if (this.#plan.faults.length > 0) this.#later();
  }

  stop(): void {
    this.#stopped = true;
  }

  #later(): void {
    this.#world.scheduler.after(this.#upTo(this.#plan.faultPauseMsMax), undefined, () => {
      if (this.#stopped) return;
      this.#strike(this.#random.pick(this.#plan.faults));
      this.#later();
    });
  }

  #strike(kind: FaultKind): void {
    // What befalls the leader tells the most.
    const leader = this.#random.oneIn(2) ? this.#cluster.leader() : undefined;
    const machine = leader ?? this.#random.pick(this.#cluster.machines);
    this.#world.trace.text(`${kind} ${machine.name}`);
    this.#world.counts.add(`fault: ${kind}`);
    this.#acts[kind](machine);
  }

  readonly #acts: Readonly<Record<FaultKind, (machine: Machine) => void>> = {
    kill: (machine) => this.#cluster.crash(machine, "kill"),
    "kill-at-operation": (machine) => this.#crashAtOperation(machine, "kill"),
    "kill-then-power-loss": (machine) => this.#crashTwice(machine),
    "power-loss": (machine) => this.#cluster.crash(machine, this.#random.pick(CRASH_MODES)),
    "power-loss-at-operation": (machine) => this.#crashAtOperation(machine, this.#random.pick(CRASH_MODES)),
    "power-loss-of-all": () => {
      for (const each of this.#cluster.machines) this.#cluster.crash(each, this.#random.pick(CRASH_MODES));
    },
    "crash-in-boot": (machine) => this.#cluster.crash(machine, this.#random.pick(["kill", ...CRASH_MODES])),
    stop: (machine) => this.#cluster.stopGracefully(machine),
    freeze: (machine) => {
      this.#world.counts.add("freezes");
      const leader = this.#cluster.leader();
      if (leader !== undefined && this.#cluster.machines.length > 1 && this.#random.oneIn(2)) this.#freezeApart(leader);
      else machine.freeze(this.#random.oneIn(10) ? this.#upTo(30_000) : 50 + this.#upTo(4_000));
    },
    "clock-skew": (machine) => {
      machine.clock.setRate(0.95 + this.#upTo(0.1));
      machine.clock.jumpWall(this.#upTo(7_200_000) - 3_600_000);
    },
    partition: (machine) => this.#partition(machine),
    clog: (machine) => this.#clog(machine),
    "late-reads": (machine) => this.#delayReads(machine),
    "slow-disk": (machine) => this.#slowDisk(machine),
    "sync-error": (machine) => this.#failDisk(machine, ["datasync", "sync", "sync-folder"]),
    "write-error": (machine) => this.#failDisk(machine, ["write", "open", "rename", "truncate"]),
    "disk-full": (machine) => this.#fillDisk(machine),
    "bit-rot": (machine) => {
      // A voter more or less than is known, and the damaged one may be one too many.
      if (!this.#operator.isBusy && !this.#operator.mayChangeYet) this.#cluster.rot(machine);
    },
    defragment: (machine) => this.#defragment(machine),
    "add-member": (machine) => this.#operator.begin(this.#random.pick(["add", "promote", "promote"]), machine),
    "remove-member": (machine) => this.#operator.begin("remove", machine),
    "replace-member": (machine) => this.#operator.begin(this.#random.pick(["replace", "promote"]), machine),
    "promote-member": (machine) => this.#operator.begin(this.#random.pick(["add", "promote", "promote"]), machine),
    "move-leader": (machine) => this.#operator.begin("move-leader", machine),
  };

  // ---- crashes -----------------------------------------------------------------------------------------------------

  #crashAtOperation(machine: Machine, kind: CrashKind): void {
    const point = this.#drawPoint();
    this.#cluster.crashAt(machine, 1 + this.#random.below(operationsMax(point)), kind, point);
  }

  /** On `db` above all: its pages take the places of those that the state before had, and its last page is written apart from them. */
  #crashTwice(machine: Machine): void {
    const point = this.#random.oneIn(3) ? this.#drawPoint() : { part: "db" as const, atSync: true };
    this.#cluster.crashTwice(machine, this.#random.below(operationsMax(point)), point);
  }

  #drawPoint(): CrashPoint | undefined {
    if (this.#random.oneIn(3)) return undefined;
    return { part: this.#random.pick(DISK_PARTS), atSync: !this.#random.oneIn(3) };
  }

  /** Somebody has come to a moment that this seed lies in wait for: something happens to him, or to the leader, before he is far. */
  onAmbush(ambush: Ambush, machine: Machine): void {
    const { ambushes, faults } = this.#plan;
    if (this.#stopped || faults.length === 0) return;
    // A snapshot that takes long sees cuts, and no entry comes to a follower that hears nothing: its record may be the first in a segment.
    if (ambush === "snapshot begun" && this.#random.oneIn(3)) this.#slowBesideLog(machine);
    if (ambush === "segment cut in a snapshot" && !this.#random.oneIn(4)) this.#separate([machine], "in", DEAF_MS_MAX);
    if (!this.#random.oneIn(AMBUSH_ONE_IN[ambush])) return;
    switch (ambush) {
      case "log repaired":
        this.#strikeLater(machine, "kill");
        return;
      case "replacing snapshot installing":
        this.#cluster.crashAt(machine, 1 + this.#random.below(12), "kill");
        return;
      case "snapshot begun short of replaced entries":
        this.#separate([machine], "in", DEAF_MS_MAX); // no more entries until it is taken
        return;
      case "older snapshot begins a segment":
      case "snapshot short of replaced entries":
      case "db defragmented":
      case "db compacted":
        // From outside of what it is doing: the moment was told in the midst of it.
        this.#world.scheduler.after(0, undefined, () => {
          if (!this.#stopped) this.#cluster.crash(machine, "kill");
        });
        return;
      default:
    }
    if (!ambushes.includes(ambush)) return;
    this.#world.scheduler.after(this.#upTo(this.#random.pick(AMBUSH_MS_MAX)), undefined, () => {
      if (!this.#stopped) this.#spring(ambush, machine);
    });
  }

  #spring(ambush: Ambush, machine: Machine): void {
    this.#world.trace.text(`ambush ${ambush} ${machine.name}`);
    this.#world.counts.add(`ambush: ${ambush}`);
    const leader = this.#cluster.leader() ?? machine;
    const kind = this.#random.pick<CrashKind>(["kill", ...CRASH_MODES]);
    switch (this.#random.below(6)) {
      case 0:
        this.#cluster.crash(machine, kind);
        return;
      case 1:
        this.#cluster.crashAt(machine, 1 + this.#random.below(20), kind);
        return;
      case 3:
      case 4:
        this.#crashTwice(machine);
        return;
      case 2:
        this.#cluster.crash(leader, kind);
        break;
      default:
        this.cutOff(leader);
    }
    this.#strikeLater(machine, kind);
  }

  /** What was done to him shows when he reads it again. */
  #strikeLater(machine: Machine, kind: CrashKind): void {
    this.#world.scheduler.after(this.#upTo(SECOND_STRIKE_MS_MAX), undefined, () => {
      if (!this.#stopped) this.#cluster.crash(machine, kind);
    });
  }

  // ---- networks ----------------------------------------------------------------------------------------------------

  #partition(machine: Machine): void {
    const { machines } = this.#cluster;
    if (machines.length < 2) return;
    const leader = this.#cluster.leader() ?? machine;
    this.#world.counts.add("partitions");
    switch (this.#random.below(6)) {
      case 0: // one machine alone
        this.#separate([machine], "both");
        break;
      case 1: // the leader alone
        this.#separate([leader], "both");
        break;
      case 2: // one that is not heard, or does not hear
        this.#separate([this.#random.oneIn(2) ? leader : machine], this.#random.pick(["in", "out"]));
        break;
      case 3: // two sides
        this.#separate(
          machines.filter(() => this.#random.oneIn(2)),
          "both",
        );
        break;
      case 4: // each sees only its neighbours in a ring: everybody has a majority, and nobody the same
        this.#ring();
        break;
      default: // on and off
        for (let i = 0; i < 4; i++) {
          this.#world.scheduler.after(this.#upTo(CUT_MS_MAX), undefined, () => {
            if (!this.#stopped) this.#separate([leader], this.#random.pick(["both", "in", "out"]), 500);
          });
        }
    }
  }

  /** Nobody hears this machine for a while, nor does it hear anybody; not in a calm world. */
  cutOff(machine: Machine): void {
    if (!this.#stopped && this.#plan.faults.length > 0) this.#separate([machine], "both");
  }

  /** A leader stands still, cut off, until another one leads for sure; when it goes on, nobody tells it at first. */
  #freezeApart(leader: Machine): void {
    const { network, scheduler } = this.#world;
    const forMs = (6 + this.#upTo(3)) * (this.#plan.options.electionMs ?? 1_000);
    this.#crowds.onLeaderToFreeze(leader, FREEZE_AFTER_MS, forMs);
    scheduler.after(FREEZE_AFTER_MS, undefined, () => {
      if (this.#stopped) return;
      this.#world.counts.add("leaders that stood still, cut off");
      leader.freeze(forMs);
      for (const other of this.#cluster.machines) {
        if (other === leader) continue;
        network.cut(leader.name, other.name);
        network.cut(other.name, leader.name);
        scheduler.after(forMs + FREEZE_AFTER_MS, undefined, () => {
          if (this.#stopped) return; // all is mended then
          network.mend(leader.name, other.name);
          network.mend(other.name, leader.name);
        });
      }
    });
  }

  #separate(side: readonly Machine[], direction: "both" | "in" | "out", msMax = CUT_MS_MAX): void {
    const others = this.#cluster.machines.filter((machine) => !side.includes(machine));
    for (const inside of side) {
      for (const outside of others) {
        if (direction !== "out") this.#cut(outside, inside, msMax);
        if (direction !== "in") this.#cut(inside, outside, msMax);
      }
    }
  }

  #ring(): void {
    const { machines } = this.#cluster;
    for (let i = 0; i < machines.length; i++) {
      for (let j = 0; j < machines.length; j++) {
        const apart = Math.abs(i - j);
        if (apart > 1 && apart < machines.length - 1) this.#cut(machines[i]!, machines[j]!, CUT_MS_MAX);
      }
    }
    if (machines.length === 3) this.#cut(machines[0]!, machines[2]!, CUT_MS_MAX);
  }

  /** What a machine sends is held back for a while, and then comes all at once: to one of the others, or to all of them. */
  #clog(machine: Machine): void {
    const { network, scheduler } = this.#world;
    const others = this.#cluster.machines.filter((other) => other !== machine);
    if (others.length === 0) return;
    const until = scheduler.now + this.#upTo(CUT_MS_MAX);
    const clogged = this.#random.oneIn(2) ? others : [this.#random.pick(others)];
    for (const other of clogged) network.clog(machine.name, other.name, until);
  }

  /** A follower's reads are late, and many read from it while others write. */
  #delayReads(machine: Machine): void {
    const { scheduler, network } = this.#world;
    const leader = this.#cluster.leader();
    const followers = this.#cluster.machines.filter((each) => each !== leader);
    if (leader === undefined || followers.length === 0) return;
    const reader = machine === leader ? this.#random.pick(followers) : machine;
    const until = scheduler.now + LATE_READS_FOR_MS;
    network.delayReads(reader.name, until);
    this.#crowds.onLateReads(reader, leader, until);
  }

  /** Each direction heals by itself. */
  #cut(from: Machine, to: Machine, msMax: number): void {
    const { network, scheduler } = this.#world;
    network.cut(from.name, to.name);
    scheduler.after(50 + this.#upTo(msMax), undefined, () => {
      if (!this.#stopped) network.mend(from.name, to.name);
    });
  }

  // ---- disks -------------------------------------------------------------------------------------------------------

  #slowDisk(machine: Machine): void {
    const stallMsMax = this.#random.pick([100, 1_000, 10_000]);
    machine.diskHabits = { syncMsMin: 1, syncMsMax: 50, stallOneIn: 5, stallMsMax, waitOneIn: 4 };
    const forMs = this.#upTo(CUT_MS_MAX);
    if (machine === this.#cluster.leader()) this.#crowds.onLeaderSlow(machine, forMs);
    this.#world.scheduler.after(forMs, undefined, () => {
      if (!this.#stopped) machine.diskHabits = this.#plan.disks;
    });
  }

  #slowBesideLog(machine: Machine): void {
    machine.slowBesideLogUntil = this.#world.scheduler.now + this.#upTo(SLOW_BESIDE_LOG_FOR_MS_MAX);
  }

  #failDisk(
    machine: Machine,
    kinds: readonly ("datasync" | "sync" | "sync-folder" | "write" | "open" | "rename" | "truncate")[],
  ): void {
    if (machine.process === undefined) return;
    machine.process.mayFail = true;
    machine.disk.fail({
      kinds,
      nth: 1 + this.#random.below(40),
      code: "DISK_IO",
      bytesWritten: this.#random.below(2_000),
      wholeSectors: true,
      afterwards: this.#random.pick(["new", "old", "mixed"]),
    });
  }

  #fillDisk(machine: Machine): void {
    if (machine.process === undefined) return;
    machine.process.mayFail = true;
    machine.disk.capacityBytes = machine.disk.usedBytes + this.#random.below(20_000);
    this.#world.scheduler.after(100 + this.#upTo(CUT_MS_MAX), undefined, () => {
      machine.disk.capacityBytes = Number.POSITIVE_INFINITY;
    });
  }

  #defragment(machine: Machine): void {
    const { process } = machine;
    const { member } = process ?? {};
    if (process === undefined || member === undefined || process.stopping || process.failure !== undefined) return;
    // A crash soon after finds out whether the new file stands for itself.
    if (this.#random.oneIn(2))
      this.#cluster.crashAt(machine, 10 + this.#random.below(30), this.#random.pick(["kill", "lost"]));
    else this.#slowBesideLog(machine);
    member.defragment().then(
      () => this.#world.counts.add("defragmentations"),
      (error: unknown) => this.#world.trace.text(describeError(error)),
    );
  }

  #upTo(value: number): number {
    return (value * this.#random.below(4096)) / 4096;
  }
}

/** Operations among which a crash comes; fewer where few count. */
function operationsMax(point: CrashPoint | undefined): number {
  if (point === undefined) return 100;
  return point.atSync ? 8 : 30;
}
