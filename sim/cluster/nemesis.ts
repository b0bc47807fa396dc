/**
 * What makes things go wrong: every now and then one of the seed's kinds of faults, on a machine or a link, each with its own end.
 */
import { describeError } from "../../src/base/errors.js";
import { CRASH_MODES } from "../platter.js";
import type { SimRandom } from "../random.js";
import type { Cluster, ClusterWorld } from "./cluster.js";
import type { FaultKind } from "./fault-kinds.js";
import type { Operator } from "./operator.js";
import type { Machine } from "./machine.js";
import type { SeedPlan } from "./swarm.js";

/** Longest partition and clog. */
const CUT_MS_MAX = 5_000;

export class Nemesis {
  readonly #world: ClusterWorld;
  readonly #cluster: Cluster;
  readonly #operator: Operator;
  readonly #plan: SeedPlan;
  readonly #random: SimRandom;
  #stopped = false;

  constructor(world: ClusterWorld, cluster: Cluster, operator: Operator, plan: SeedPlan, random: SimRandom) {
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
    "kill-at-operation": (machine) => this.#cluster.crashAt(machine, 1 + this.#random.below(100), "kill"),
    "kill-then-power-loss": (machine) => this.#cluster.crashTwice(machine, this.#random.below(80)),
    "power-loss": (machine) => this.#cluster.crash(machine, this.#random.pick(CRASH_MODES)),
    "power-loss-at-operation": (machine) =>
      this.#cluster.crashAt(machine, 1 + this.#random.below(100), this.#random.pick(CRASH_MODES)),
    "power-loss-of-all": () => {
      for (const each of this.#cluster.machines) this.#cluster.crash(each, this.#random.pick(CRASH_MODES));
    },
    "crash-in-boot": (machine) => this.#cluster.crash(machine, this.#random.pick(["kill", ...CRASH_MODES])),
    stop: (machine) => this.#cluster.stopGracefully(machine),
    freeze: (machine) => {
      machine.freeze(this.#random.oneIn(10) ? this.#upTo(30_000) : 50 + this.#upTo(4_000));
      this.#world.counts.add("freezes");
    },
    "clock-skew": (machine) => {
      machine.clock.setRate(0.95 + this.#upTo(0.1));
      machine.clock.jumpWall(this.#upTo(7_200_000) - 3_600_000);
    },
    partition: (machine) => this.#partition(machine),
    clog: (machine) => {
      const other = this.#random.pick(this.#cluster.machines);
      this.#world.network.clog(machine.name, other.name, this.#world.scheduler.now + this.#upTo(CUT_MS_MAX));
    },
    "slow-disk": (machine) => this.#slowDisk(machine),
    "sync-error": (machine) => this.#failDisk(machine, ["datasync", "sync", "sync-folder"]),
    "write-error": (machine) => this.#failDisk(machine, ["write", "open", "rename", "truncate"]),
    "disk-full": (machine) => this.#fillDisk(machine),
    "bit-rot": (machine) => {
      if (!this.#operator.isBusy) this.#cluster.rot(machine);
    },
    defragment: (machine) => this.#defragment(machine),
    "add-member": (machine) => this.#operator.begin(this.#random.pick(["add", "promote", "promote"]), machine),
    "remove-member": (machine) => this.#operator.begin("remove", machine),
    "replace-member": (machine) => this.#operator.begin(this.#random.pick(["replace", "promote"]), machine),
    "promote-member": (machine) => this.#operator.begin(this.#random.pick(["add", "promote", "promote"]), machine),
    "move-leader": (machine) => this.#operator.begin("move-leader", machine),
  };

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
    this.#world.scheduler.after(this.#upTo(CUT_MS_MAX), undefined, () => {
      if (!this.#stopped) machine.diskHabits = this.#plan.disks;
    });
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
    member.defragment().then(
      () => this.#world.counts.add("defragmentations"),
      (error: unknown) => this.#world.trace.text(describeError(error)),
    );
  }

  #upTo(value: number): number {
    return (value * this.#random.below(4096)) / 4096;
  }
}
