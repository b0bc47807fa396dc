/**
 * One run under one seed: a cluster is made, clients call while things go wrong, then everything heals, and the cluster must come to
 * rest: a leader, an end of every call, equal content everywhere. The laws are checked all the time, the clients' history at the end.
 */
import { describeError } from "../../src/base/errors.js";
import { checkHistory } from "../check/check-history.js";
import type { LogFields } from "../../src/platform/index.js";
import { HistoryRecorder, type History, type Request, type Response } from "../check/history.js";
import { describeViolation } from "../check/report.js";
import { SimRandom } from "../random.js";
import { Client } from "./clients.js";
import { Cluster } from "./cluster.js";
import { Counts } from "./counts.js";
import { Machine, MemberProcess } from "./machine.js";
import { Nemesis } from "./nemesis.js";
import { Oracle } from "./oracle.js";
import { Operator } from "./operator.js";
import { CALM_HABITS, SimPeerNetwork } from "./peer-network.js";
import { Scheduler } from "./scheduler.js";
import { Situations } from "./situations.js";
import { StoreLog } from "./store-log.js";
import { drawPlan, type SeedPlan, type SwarmOptions } from "./swarm.js";
import { Trace } from "./trace.js";
import { ViolationError } from "./violation.js";
import { callMember } from "./translate.js";
import { Workload } from "./workload.js";

export interface SeedReport {
  readonly seed: number;
  readonly plan: SeedPlan;
  readonly traceHash: string;
  readonly counts: Readonly<Record<string, number>>;
  /** Milliseconds of the world's time. */
  readonly worldMs: number;
  readonly events: number;
  readonly violation: { readonly law: string; readonly text: string; readonly log: string } | undefined;
  readonly history: History;
}

/** Local time that a cluster has to become whole again once nothing goes wrong any more, in election timeouts. */
const HEAL_ELECTIONS = 60;
/** ... and beside that for calls that wait, and files that are read. */
const HEAL_MS = 30_000;
/** What a clogged link held back has come by then. */
const LATE_MS = 6_000;
/** Nothing more is applied for so long: what a client gave up on, and was still on its way, has come or is lost. */
const QUIET_MS = 2_000;

export async function runSeed(seed: number, options: SwarmOptions = {}): Promise<SeedReport> {
  const run = new SeedRun(seed, options);
  return run.run();
}

class SeedRun {
  readonly #seed: number;
  readonly #plan: SeedPlan;
  readonly #random: SimRandom;
  readonly #scheduler = new Scheduler();
  readonly #trace = new Trace();
  readonly #counts = new Counts();
  readonly #network: SimPeerNetwork;
  readonly #cluster: Cluster;
  readonly #oracle: Oracle;
  readonly #situations: Situations;
  readonly #recorder: HistoryRecorder;
  readonly #storeLog: StoreLog;
  readonly #clients: Client[] = [];
  readonly #operator: Operator;
  readonly #nemesis: Nemesis;
  #violation: ViolationError | undefined;

  constructor(seed: number, options: SwarmOptions) {
    this.#seed = seed;
    this.#random = new SimRandom(seed);
    this.#plan = drawPlan(this.#random.stream("plan"), options);
    const fail = (violation: ViolationError): void => void (this.#violation ??= violation);
    this.#network = new SimPeerNetwork(this.#scheduler, this.#random.stream("network"), this.#trace, this.#counts, {
      onSend: (from, message) => this.#oracle.onSend(from, message),
      onSnapshotStream: (from, message) => this.#oracle.onSend(from, message),
      onOpen: ({ machine: { name }, local }) => {
        const machine = this.#cluster.machineNamed(name);
        machine.memberId = local.memberId;
        this.#oracle.onReload(machine);
      },
    });
    this.#network.habits = this.#plan.links;
    const world = {
      scheduler: this.#scheduler,
      network: this.#network,
      trace: this.#trace,
      counts: this.#counts,
    };
    this.#cluster = new Cluster(
      world,
      this.#plan,
      this.#random.stream("cluster"),
      {
        onProcessEnded: (process) => {
          this.#situations.onGone(process.machine);
          for (const client of this.#clients) client.processEnded(process);
        },
        onServing: ({ machine }) => this.#oracle.onReload(machine),
        onCrashing: (machine, isPowerLossAfterKill) => this.#situations.onCrashing(machine, isPowerLossAfterKill),
        onCrash: (machine) => this.#oracle.onCrash(machine),
        onWiped: (machine) => this.#oracle.onWiped(machine),
        onDamageTold: (machine) => {
          this.#situations.reached("a member refused its damaged disk");
          this.#operator.begin("replace", machine);
        },
        onDiskOperation: (machine, operation) => this.#oracle.onDiskOperation(machine, operation),
        onEntriesReplaced: (machine, by) => this.#situations.onEntriesReplaced(machine, by),
        onLogLine: (machine, message, fields) => this.#onLogLine(machine, message, fields),
      },
      fail,
    );
    this.#oracle = new Oracle(this.#cluster.everyMachine, fail);
    this.#operator = new Operator(world, this.#cluster, this.#plan.members, this.#random.stream("operator"));
    this.#situations = new Situations(
      world,
      this.#cluster.everyMachine,
      () => this.#operator.changesMembers,
      (ambush, machine) => this.#nemesis.onAmbush(ambush, machine),
    );
    this.#recorder = new HistoryRecorder({ now: () => this.#scheduler.now });
    this.#storeLog = new StoreLog(this.#recorder);
    this.#nemesis = new Nemesis(world, this.#cluster, this.#operator, this.#plan, this.#random.stream("nemesis"));
  }

  async run(): Promise<SeedReport> {
    try {
      await this.#play();
    } catch (error) {
      this.#violation ??=
        error instanceof ViolationError
          ? error
          : new ViolationError("simulation", describeError(error), { cause: error });
    }
    const violation = this.#violation;
    return {
      seed: this.#seed,
      plan: this.#plan,
      traceHash: this.#trace.hash,
      counts: this.#counts.toJSON(),
      worldMs: this.#scheduler.now,
      events: this.#scheduler.ran,
      violation:
        violation === undefined
          ? undefined
          : { law: violation.law, text: violation.stack ?? violation.message, log: this.#log() },
      history: this.#recorder.history(),
    };
  }

  async #play(): Promise<void> {
    this.#cluster.begin();
    await this.#until("the new cluster serves", 60_000, () => this.#cluster.serving.length === this.#plan.members);
    this.#beginClients();
    this.#nemesis.begin();
    const chaosEnd = this.#scheduler.now + this.#plan.chaosMs;
    await this.#passUntil((next) => next > chaosEnd);
    await this.#heal();
    await this.#audit();
    await this.#ends("the members stop", this.#cluster.stopAll(), HEAL_MS * 3);
    this.#checkHistory();
  }

  #checkHistory(): void {
    const verdict = checkHistory(this.#recorder.history());
    this.#counts.add("operations of unknown outcome", verdict.outcomes.unknown);
    this.#counts.add("operations refused", verdict.outcomes.refused);
    if (verdict.kind === "undecided") this.#counts.add("histories undecided");
    if (verdict.tookEffect > 0) this.#situations.reached("a request of unknown outcome took effect");
    const [first] = verdict.violations;
    if (first !== undefined) throw new ViolationError(first.law, describeViolation(first));
  }

  /** Nothing goes wrong any more: all members must serve, all calls end, and all know the same leader and have applied the same. */
  async #heal(): Promise<void> {
    this.#nemesis.stop();
    this.#network.habits = CALM_HABITS;
    this.#cluster.heal();
    for (const client of this.#clients) client.stop();
    const lateUntil = Math.max(
      this.#scheduler.now + LATE_MS,
      ...this.#cluster.everyMachine.map((each) => each.heldLast),
    );
    await this.#passUntil((next) => next > lateUntil);
    const boundMs = HEAL_MS + HEAL_ELECTIONS * (this.#plan.options.electionMs ?? 1_000);
    await this.#until("the operator's change ends", boundMs, () => !this.#operator.isBusy);
    await this.#ends("a member serves, and members and machines are the same", this.#operator.settle(), boundMs);
    this.#cluster.endGivenUp();
    await this.#until(
      "all members serve",
      boundMs,
      () => this.#cluster.serving.length === this.#cluster.machines.length,
    );
    await this.#until("all calls end", boundMs, () => this.#clients.every((client) => !client.isWaiting));
    let restingSince = Number.POSITIVE_INFINITY;
    let resting = "";
    await this.#until("all members have one leader and have applied the same", boundMs, () => {
      const rest = this.#rest();
      if (rest === undefined || rest !== resting) {
        resting = rest ?? "";
        restingSince = rest === undefined ? Number.POSITIVE_INFINITY : this.#scheduler.now;
      }
      return this.#scheduler.now - restingSince > QUIET_MS;
    });
  }

  /** Leader and applied index, where all members serve and agree on them. */
  #rest(): string | undefined {
    const { serving, machines } = this.#cluster;
    // Somebody may have been replaced since all served.
    if (serving.length < machines.length) return undefined;
    const [first, ...others] = serving.map(({ process }) => process!.member!.observe());
    if (first === undefined || first.leader === 0n) return undefined;
    const agree = others.every(
      ({ leader, appliedIndex }) => leader === first.leader && appliedIndex === first.appliedIndex,
    );
    return agree ? `${first.leader} ${first.appliedIndex}` : undefined;
  }

  /** Every member is asked for all it has, as a client asks. */
  async #audit(): Promise<void> {
    const hashes: { readonly name: string; readonly text: string }[] = [];
    for (const { memberName: name, process } of this.#cluster.machines) {
      const { member, number: run } = process!;
      const ask = async (request: Request): Promise<Response> => {
        const call = this.#recorder.call({ client: "audit", member: name, run }, request);
        const response = await this.#ends(`${name} answers a ${request.kind}`, callMember(member!, request));
        call.answered(response);
        return response;
      };
      await ask({ kind: "range", key: "\0", end: "\0" });
      const hash = await ask({ kind: "hash" });
      if (hash.kind === "hash") {
        hashes.push({
          name,
          text: `${hash.hash} at revision ${hash.header.revision}, compacted ${hash.compactRevision}`,
        });
      }
    }
    const [first, ...others] = hashes;
    const other = others.find(({ text }) => text !== first?.text);
    if (first === undefined || other === undefined) return;
    const detail = `${first.name} has ${first.text}, ${other.name} has ${other.text}`;
    throw new ViolationError("equal-content", detail);
  }

  /** Time passes until the condition holds; within a bound, or the law of liveness is broken. */
  async #until(what: string, boundMs: number, holds: () => boolean): Promise<void> {
    const end = this.#scheduler.now + boundMs;
    let held = false;
    await this.#passUntil((next) => {
      held = holds();
      return held || next > end;
    });
    if (!held) throw new ViolationError("liveness", `not within ${boundMs} ms: ${what}`);
  }

  /** Time passes until a promise of a member settles. */
  async #ends<Value>(what: string, promise: Promise<Value>, boundMs = HEAL_MS): Promise<Value> {
    let settled = false;
    const watched = promise.finally(() => (settled = true));
    watched.catch(() => undefined); // it is awaited below
    await this.#until(what, boundMs, () => settled);
    return watched;
  }

  async #passUntil(done: (next: number) => boolean): Promise<void> {
    await this.#scheduler.run((next) => {
      const owner = this.#scheduler.lastOwner;
      if (owner instanceof MemberProcess) this.#onRest(owner);
      else if (owner instanceof Machine && owner.process !== undefined) this.#onRest(owner.process);
      if (this.#violation !== undefined) throw this.#violation;
      return done(next);
    });
  }

  #onLogLine(machine: Machine, message: string, fields: LogFields | undefined): void {
    this.#situations.onLogLine(machine, message, fields);
    if (message === "recovered v3 backend")
      this.#oracle.onDatabaseOpen(machine, Number(fields?.["consistent-index"] ?? 0));
    else if (fields?.["logger"] === "raft" && message.startsWith("newRaft "))
      this.#oracle.onRaftBegins(machine, message);
  }

  /** Something happened to this process, and its promises have come to rest. */
  #onRest(process: MemberProcess): void {
    const seen = this.#oracle.onRest(process);
    if (seen === undefined) return;
    this.#situations.onRest(process.machine, seen.abstains);
    this.#storeLog.onRevision(process.member!, seen.revision);
  }

  /** The last lines of all machines, by time. */
  #log(): string {
    return this.#cluster.everyMachine
      .flatMap(({ name, log }) =>
        log.lines().map(({ at, text }) => ({ at, text: `${at.toFixed(3).padStart(12)} ${name} ${text}` })),
      )
      .sort((a, b) => a.at - b.at)
      .map(({ text }) => text)
      .join("\n");
  }

  #beginClients(): void {
    const world = {
      scheduler: this.#scheduler,
      trace: this.#trace,
      counts: this.#counts,
      recorder: this.#recorder,
      machines: this.#cluster.machines,
    };
    const workload = new Workload(this.#plan.workload, this.#random.stream("workload"));
    this.#plan.clients.forEach((habits, at) => {
      const name = `c${at + 1}`;
      const client = new Client(world, name, workload, habits, this.#random.stream(`client/${name}`));
      this.#clients.push(client);
      client.begin();
    });
    const { crowd } = this.#plan;
    const random = this.#random.stream("crowd");
    const members = Array.from({ length: crowd.size }, (_, at) => {
      const name = `crowd${at + 1}`;
      return new Client(world, name, workload, crowd.habits, this.#random.stream(`client/${name}`));
    });
    this.#clients.push(...members);
    if (crowd.size > 0) this.#crowdLater(members, random);
  }

  /** The crowd comes again and again, to the leader; often that is cut off in the same moment. */
  #crowdLater(members: readonly Client[], random: SimRandom): void {
    const pauseMs = (this.#plan.crowd.pauseMsMax * random.below(1024)) / 1024;
    this.#scheduler.after(pauseMs, undefined, () => {
      const leader = this.#cluster.leader();
      if (leader !== undefined) {
        if (random.oneIn(2)) this.#nemesis.cutOff(leader);
        for (const member of members) member.callNow(leader);
      }
      this.#crowdLater(members, random);
    });
  }
}
