/**
 * One run under one seed: a cluster is made, clients call while things go wrong, then everything heals, and the cluster must come to
 * rest: a leader, an end of every call, equal content everywhere. The laws are checked all the time, the clients' history at the end.
 */
import { describeError } from "../../src/base/errors.js";
import { checkHistory } from "../check/check-history.js";
import type { LogFields } from "../../src/platform/index.js";
import { HistoryRecorder, type History, type Request, type Response } from "../check/history.js";
import { describeViolation } from "../check/report.js";
import type { LeaseLife } from "../check/state-machine.js";
import type { CallContext, Member } from "../../src/server/index.js";
import { SimRandom } from "../random.js";
import { Accounts, ROOT, USERS } from "./accounts.js";
import { Administrator } from "./administrator.js";
import { Client, type ClientWorld } from "./clients.js";
import { Cluster } from "./cluster.js";
import { Counts } from "./counts.js";
import { Machine, MemberProcess } from "./machine.js";
import { Nemesis } from "./nemesis.js";
import { Oracle } from "./oracle.js";
import { Operator } from "./operator.js";
import { CALM_HABITS, SimPeerNetwork } from "./peer-network.js";
import { Scheduler } from "./scheduler.js";
import { Situations } from "./situations.js";
import { StateWitness, type StateWitnessOptions } from "./state-witness.js";
import { StoreLog } from "./store-log.js";
import { MessageType } from "../../src/proto/raft.js";
import { drawPlan, type SeedPlan, type SwarmOptions } from "./swarm.js";
import { tablesOf } from "./tables-on-disk.js";
import { Trace } from "./trace.js";
import { ViolationError } from "./violation.js";
import { callMember } from "./translate.js";
import { WatchClient } from "./watch-clients.js";
import { ALL_KEYS, LONG_LEASE_SECONDS, Workload } from "./workload.js";

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
/** Beside its time, what the end of a lease takes once all is well. */
const LEASES_MS = 5_000;
/** Watchers that are behind are served within that. */
const WATCHERS_MS = 2_000;
const READERS = 3;
/** Of leases that are granted to be asked for. */
const GRANTED_SECONDS = 3;
/** Of one who calls when he is told to, and waits. */
const NO_HABITS = { readsOnly: true, pauseMsMax: 0, timeoutMsMin: 0, timeoutMsMax: 0, lossOneIn: 0, moveOneIn: 0 };
const READERS_PAUSE_MS = 40;
const READERS_AFTER_SNAPSHOT_MS = 300;
/** Nothing more is applied for so long: what a client gave up on, and was still on its way, has come or is lost. */
const QUIET_MS = 2_000;

export async function runSeed(seed: number, options: SwarmOptions = {}): Promise<SeedReport> {
  const run = new SeedRun(seed, options);
  return run.run();
}

/** Clocks run apart as the plan says, and where a fault says so. */
function witnessOptionsOf({ options, driftMax, faults, links }: SeedPlan): StateWitnessOptions {
  return {
    electionMs: options.electionMs!,
    rateMax: 1 + Math.max(driftMax / 1000, faults.includes("clock-skew") ? 0.05 : 0),
    // What tells a leader that it does not lead any more are heart-beats, and that nobody answers its own.
    messagesLinger:
      faults.includes("clog") || links.lateOneIn > 0 || links.laggards.includes(MessageType.heartbeatResponse),
  };
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
  readonly #witness: StateWitness;
  readonly #clients: Client[] = [];
  readonly #watchClients: WatchClient[] = [];
  /** Who comes where a follower's reads are late. */
  readonly #readers: Client[] = [];
  readonly #writers: Client[] = [];
  /** Who comes where a leader stands still. */
  readonly #renewers: Client[] = [];
  readonly #renewals: SimRandom;
  readonly #workload: Workload;
  readonly #accounts: Accounts | undefined;
  readonly #administrator: Administrator | undefined;
  readonly #operator: Operator;
  readonly #nemesis: Nemesis;
  #violation: ViolationError | undefined;

  constructor(seed: number, options: SwarmOptions) {
    this.#seed = seed;
    this.#random = new SimRandom(seed);
    this.#renewals = this.#random.stream("renewals");
    this.#plan = drawPlan(this.#random.stream("plan"), options);
    this.#workload = new Workload(this.#plan.workload, this.#random.stream("workload"));
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
          this.#witness.onProcessEnded(process);
          for (const client of this.#clients) client.processEnded(process);
          for (const client of this.#watchClients) client.processEnded(process);
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
    this.#recorder = new HistoryRecorder({ now: () => this.#scheduler.now });
    const now = (): number => this.#scheduler.now;
    this.#witness = new StateWitness(witnessOptionsOf(this.#plan), this.#recorder, this.#counts, now, fail);
    this.#oracle = new Oracle(this.#cluster.everyMachine, now, this.#witness, fail);
    const { auth } = this.#plan;
    if (auth !== undefined) {
      this.#accounts = new Accounts();
      const random = this.#random.stream("administrator");
      this.#administrator = new Administrator(world, this.#cluster, this.#accounts, auth.pauseMsMax, random);
    }
    this.#operator = new Operator(world, this.#cluster, this.#plan.members, this.#random.stream("operator"));
    this.#situations = new Situations(
      world,
      this.#cluster.everyMachine,
      () => this.#operator.changesMembers,
      (ambush, machine) => this.#nemesis.onAmbush(ambush, machine),
    );
    this.#storeLog = new StoreLog(this.#recorder);
    this.#nemesis = new Nemesis(world, this.#cluster, this.#operator, this.#plan, this.#random.stream("nemesis"), {
      onLateReads: (reader, writer, until) => this.#readersMeet(reader, writer, until),
      onLeaderSlow: (leader, forMs) => this.#leasesComeAndAreAskedFor(leader, this.#scheduler.now + forMs),
      onLeaderToFreeze: (leader, afterMs, forMs) => this.#renewersCome(leader, afterMs, forMs),
    });
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
    this.#administrator?.begin();
    this.#nemesis.begin();
    const chaosEnd = this.#scheduler.now + this.#plan.chaosMs;
    await this.#passUntil((next) => next > chaosEnd);
    await this.#heal();
    await this.#leasesEnd();
    await this.#audit();
    await this.#watchersCatchUp();
    await this.#ends("the members stop", this.#cluster.stopAll(), HEAL_MS * 3);
    await this.#compareTables();
    this.#checkHistory();
  }

  /** I11: leases, users, roles and their switch are the same in every member's `db`, to the byte. */
  async #compareTables(): Promise<void> {
    const [first, ...others] = this.#cluster.machines.filter(({ damaged }) => damaged === undefined);
    if (first === undefined) return;
    const expected = await tablesOf(first);
    for (const other of others) {
      const found = await tablesOf(other);
      const bucket = [...expected.keys()].find((name) => expected.get(name) !== found.get(name));
      if (bucket === undefined) continue;
      const detail = `bucket ${bucket} of ${other.name} is ${found.get(bucket)}, of ${first.name} ${expected.get(bucket)}`;
      throw new ViolationError("equal-content", detail);
    }
  }

  #checkHistory(): void {
    const verdict = checkHistory(this.#recorder.history());
    this.#counts.add("operations of unknown outcome", verdict.outcomes.unknown);
    this.#counts.add("operations refused", verdict.outcomes.refused);
    if (verdict.kind === "undecided") this.#counts.add("histories undecided");
    if (verdict.tookEffect > 0) this.#situations.reached("a request of unknown outcome took effect");
    const [first] = verdict.violations;
    if (first !== undefined) throw new ViolationError(first.law, describeViolation(first));
    this.#witness.check();
  }

  /** Nothing goes wrong any more: all members must serve, all calls end, and all know the same leader and have applied the same. */
  async #heal(): Promise<void> {
    this.#nemesis.stop();
    this.#network.habits = CALM_HABITS;
    this.#cluster.heal();
    for (const client of this.#clients) client.stop();
    for (const client of this.#watchClients) client.stop();
    this.#administrator?.stop();
    const lateUntil = Math.max(
      this.#scheduler.now + LATE_MS,
      ...this.#cluster.everyMachine.map((each) => each.heldLast),
    );
    await this.#passUntil((next) => next > lateUntil);
    const boundMs = this.#healMs;
    await this.#until("the operator's change ends", boundMs, () => !this.#operator.isBusy);
    await this.#ends("a member serves, and members and machines are the same", this.#operator.settle(), boundMs);
    this.#cluster.endGivenUp();
    await this.#allServe();
    await this.#until(
      "all calls end",
      boundMs,
      () => this.#clients.every((client) => !client.isWaiting) && this.#administrator?.isBusy !== true,
    );
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

  /** What a healed cluster may take to come to rest. */
  get #healMs(): number {
    return HEAL_MS + HEAL_ELECTIONS * (this.#plan.options.electionMs ?? 1_000);
  }

  /** A disk that was full shows late, when the log comes to the segment that could not be prepared: its member begins once more. */
  async #allServe(): Promise<void> {
    await this.#until(
      "all members serve",
      this.#healMs,
      () => this.#cluster.serving.length === this.#cluster.machines.length,
    );
  }

  /** Leader and last entry, where all members serve and agree on them. */
  #rest(): string | undefined {
    const { serving, machines } = this.#cluster;
    // Somebody may have been replaced since all served.
    if (serving.length < machines.length) return undefined;
    const [first, ...others] = serving.map(({ process }) => process!.member!.observe());
    if (first === undefined || first.leader === 0n) return undefined;
    // What leases have left is noted again and again, as long as there are any.
    const last = this.#witness.lastIndexButNotes;
    const index = last ?? first.appliedIndex;
    const isThere = (applied: number): boolean => (last === undefined ? applied === index : applied >= index);
    const agree = [first, ...others].every(
      ({ leader, appliedIndex }) => leader === first.leader && isThere(appliedIndex),
    );
    return agree ? `${first.leader} ${index}` : undefined;
  }

  /** Leases that may run out do, within their time; the long ones are revoked. Then nothing hangs on any, wherever one asks. */
  async #leasesEnd(): Promise<void> {
    const { state } = this.#witness;
    const remaining = (): LeaseLife[] =>
      this.#witness.isSeeing ? [...state.leases.values()].filter((life) => life.revokedAt === undefined) : [];
    const mayRunOut = remaining().filter(({ ttlSeconds }) => ttlSeconds < LONG_LEASE_SECONDS);
    for (const { memberName, process } of this.#cluster.machines)
      await this.#compareLeases(memberName, process!.member!);
    const longest = Math.max(0, ...mayRunOut.map(({ ttlSeconds }) => ttlSeconds));
    const boundMs = longest * 1_000 + LEASES_MS + 2 * (this.#plan.options.electionMs ?? 1_000);
    await this.#until("leases run out", boundMs, () => mayRunOut.every(({ revokedAt }) => revokedAt !== undefined));
    await this.#allServe();
    const { name, process } = this.#random.stream("audit").pick(this.#cluster.machines);
    const { member } = process!;
    const context = await this.#rootOn(member!);
    for (const { lease } of remaining()) {
      this.#witness.onRevocation(lease, name);
      await this.#ends(`lease ${lease} is revoked`, member!.leaseRevoke({ ID: BigInt(lease) }, context));
    }
  }

  /** Every member knows the leases that the log made. */
  async #compareLeases(name: string, member: Member): Promise<void> {
    const alive = (): Set<string> =>
      new Set(
        [...this.#witness.state.leases.values()]
          .filter(({ revokedAt }) => revokedAt === undefined)
          .map(({ lease }) => lease),
      );
    const before = alive();
    const context = await this.#rootOn(member);
    const { ids } = await this.#ends(`${name} lists its leases`, member.leaseLeases(context));
    if (!this.#witness.isSeeing) return;
    const listed = new Set([...ids].map(String));
    const after = alive();
    const missing = [...after].find((lease) => before.has(lease) && !listed.has(lease));
    const surplus = [...listed].find((lease) => !before.has(lease) && !after.has(lease));
    if (missing !== undefined) throw new ViolationError("equal-content", `${name} does not know of lease ${missing}`);
    if (surplus !== undefined) throw new ViolationError("equal-content", `${name} has lease ${surplus}, which is gone`);
  }

  /** Root's token for this member; none where authentication is off. */
  async #rootOn(member: Member): Promise<CallContext> {
    if (this.#accounts === undefined || !this.#witness.state.auth.isEnabled) return {};
    const login = member.auth.authenticate({ name: ROOT, password: this.#accounts.passwordOf(ROOT) });
    return { token: (await this.#ends("root gets a token", login)).token };
  }

  /** What all members have come to, those who watch must have been told. */
  async #watchersCatchUp(): Promise<void> {
    const until = this.#scheduler.now + WATCHERS_MS;
    await this.#passUntil((next) => next > until);
    const serving = new Set(this.#cluster.serving.map(({ process }) => process));
    for (const client of this.#watchClients) {
      client.settle((process) => serving.has(process));
      client.close();
    }
  }

  /** Every member is asked for all it has, as a client asks. */
  async #audit(): Promise<void> {
    await this.#allServe();
    const hashes: { readonly name: string; readonly text: string }[] = [];
    for (const { memberName: name, process } of this.#cluster.machines) {
      const { member, number: run } = process!;
      const context = await this.#rootOn(member!);
      const ask = async (request: Request): Promise<Response> => {
        const call = this.#recorder.call({ client: "audit", member: name, run }, request);
        const response = await this.#ends(`${name} answers a ${request.kind}`, callMember(member!, request, context));
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
      if (this.#accounts !== undefined) await this.#auditRights(member!, process!, this.#accounts);
    }
    const [first, ...others] = hashes;
    const other = others.find(({ text }) => text !== first?.text);
    if (first === undefined || other === undefined) return;
    const detail = `${first.name} has ${first.text}, ${other.name} has ${other.text}`;
    throw new ViolationError("equal-content", detail);
  }

  /** Who may read what is the same on every member, whatever each made of users and roles on its way. */
  async #auditRights(member: Member, process: MemberProcess, accounts: Accounts): Promise<void> {
    for (const user of USERS) {
      const login = member.auth.authenticate({ name: user, password: accounts.passwordOf(user) }).then(
        ({ token }) => token,
        () => undefined, // he is gone, or authentication is off
      );
      const token = await this.#ends(`${user} gets a token, or none`, login);
      if (token === undefined) continue;
      const client = new Client(this.#clientWorld(), `audit/${user}`, this.#workload, NO_HABITS, this.#renewals, user);
      for (const span of [{ key: "k0" }, { key: "k1" }, { key: "k3" }, ALL_KEYS]) {
        const read = client.readAs(token, { kind: "range", ...span, serializable: true }, process, member);
        await this.#ends(`${user} reads`, read);
      }
    }
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
    if (message === "applied snapshot" && machine.process !== undefined) this.#onInstalled(machine, machine.process);
    if (message === "recovered v3 backend")
      this.#oracle.onDatabaseOpen(machine, Number(fields?.["consistent-index"] ?? 0));
    else if (fields?.["logger"] === "raft" && message.startsWith("newRaft "))
      this.#oracle.onRaftBegins(machine, message);
  }

  /** Who reads now finds out whether what came counts: users and roles above all. */
  #onInstalled(machine: Machine, process: MemberProcess): void {
    this.#witness.onInstalled(process);
    if (this.#accounts === undefined) return;
    const until = this.#scheduler.now + READERS_AFTER_SNAPSHOT_MS;
    this.#scheduler.after(0, undefined, () => this.#readersMeet(machine, machine, until));
  }

  /** Something happened to this process, and its promises have come to rest. */
  #onRest(process: MemberProcess): void {
    const seen = this.#oracle.onRest(process);
    if (seen === undefined) return;
    this.#witness.onRest(process, seen);
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

  #clientWorld(): ClientWorld {
    return {
      scheduler: this.#scheduler,
      trace: this.#trace,
      counts: this.#counts,
      recorder: this.#recorder,
      machines: this.#cluster.machines,
      witness: this.#witness,
      accounts: this.#accounts,
    };
  }

  #beginClients(): void {
    const world = this.#clientWorld();
    const workload = this.#workload;
    // One of them may do everything: compactions are for root.
    const userOf = (at: number): string | undefined =>
      this.#accounts === undefined ? undefined : at === 0 ? ROOT : USERS[at % USERS.length];
    this.#plan.clients.forEach((habits, at) => {
      const name = `c${at + 1}`;
      const client = new Client(world, name, workload, habits, this.#random.stream(`client/${name}`), userOf(at));
      this.#clients.push(client);
      client.begin();
    });
    this.#plan.watchers.forEach((habits, at) => {
      const name = `w${at + 1}`;
      const client = new WatchClient(world, name, habits, this.#random.stream(`watcher/${name}`), userOf(at));
      this.#watchClients.push(client);
      client.begin();
    });
    const { crowd } = this.#plan;
    const random = this.#random.stream("crowd");
    const members = Array.from({ length: crowd.size }, (_, at) => {
      const name = `crowd${at + 1}`;
      return new Client(world, name, workload, crowd.habits, this.#random.stream(`client/${name}`), userOf(at));
    });
    this.#clients.push(...members);
    const habits = { ...crowd.habits, timeoutMsMin: 3_000, timeoutMsMax: 5_000 };
    for (let at = 0; at < READERS; at++) {
      const make = (name: string, readsOnly: boolean): Client => {
        const stream = this.#random.stream(`client/${name}${at}`);
        return new Client(world, `${name}${at}`, workload, { ...habits, readsOnly }, stream, userOf(at));
      };
      this.#readers.push(make("reader", true));
      this.#writers.push(make("writer", false));
      this.#renewers.push(make("renewer", false));
    }
    this.#clients.push(...this.#readers, ...this.#writers, ...this.#renewers);
    if (crowd.size > 0) this.#crowdLater(members, random);
  }

  /** Until a moment some read from one machine, and some write through another one, one call after the other. */
  #readersMeet(reader: Machine, writer: Machine, until: number): void {
    if (this.#scheduler.now > until) return;
    for (const client of this.#readers) client.callNow(reader);
    for (const client of this.#writers) client.callNow(writer);
    this.#scheduler.after(READERS_PAUSE_MS, undefined, () => this.#readersMeet(reader, writer, until));
  }

  /** Leases are granted that outlive the leader's rest, and just before it goes on some ask it to renew them. */
  #renewersCome(leader: Machine, afterMs: number, forMs: number): void {
    const ttlSeconds = Math.ceil((afterMs + forMs) / 1_000) + 1;
    for (const client of this.#renewers) {
      client.callNow(leader, { errand: "grant", lease: "0", ttlSeconds });
      const delayMs = afterMs + forMs * (0.9 + (0.1 * this.#renewals.below(1024)) / 1024);
      this.#scheduler.after(delayMs, undefined, () => {
        const there = [...this.#witness.state.leases.values()].filter(
          (life) => life.revokedAt === undefined && life.ttlSeconds === ttlSeconds,
        );
        if (there.length > 0) client.callNow(leader, { errand: "renew", lease: this.#renewals.pick(there).lease });
      });
    }
  }

  /** Other members are asked to grant leases, and at once how long the newest one has. */
  #leasesComeAndAreAskedFor(leader: Machine, until: number): void {
    const others = this.#cluster.machines.filter((machine) => machine !== leader);
    if (this.#scheduler.now > until || others.length === 0) return;
    const [newest] = [...this.#witness.state.leases.values()].reverse();
    const [first, ...askers] = this.#renewers;
    first!.callNow(this.#renewals.pick(others), { errand: "grant", lease: "0", ttlSeconds: GRANTED_SECONDS });
    for (const client of askers) {
      if (newest === undefined) break;
      client.callNow(this.#renewals.pick(others), { errand: "time", lease: newest.lease, keys: true });
    }
    this.#scheduler.after(READERS_PAUSE_MS, undefined, () => this.#leasesComeAndAreAskedFor(leader, until));
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
