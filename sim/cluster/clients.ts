/**
 * Clients of the simulated cluster: each has one call at a time, gives up after a while, and then does not know what became of it.
 *
 * What they ask and what they are told goes into the history in the order in which it happens here, on the clients' side.
 */
import { describeError } from "../../src/base/errors.js";
import type { HistoryRecorder, RecordedCall, Request, Response } from "../check/history.js";
import type { SimRandom } from "../random.js";
import type { Counts } from "./counts.js";
import type { Machine, MemberProcess } from "./machine.js";
import type { Scheduler, ScheduledEvent } from "./scheduler.js";
import type { Trace } from "./trace.js";
import { callMember, refusalReason } from "./translate.js";
import type { Workload } from "./workload.js";

export interface ClientHabits {
  readonly readsOnly: boolean;
  /** Pause between two calls, in milliseconds. */
  readonly pauseMsMax: number;
  readonly timeoutMsMin: number;
  readonly timeoutMsMax: number;
  /** One request, or answer, in so many is lost; 0 for none. */
  readonly lossOneIn: number;
  /** One call in so many goes to another member than the last. */
  readonly moveOneIn: number;
}

export interface ClientWorld {
  readonly scheduler: Scheduler;
  readonly trace: Trace;
  readonly counts: Counts;
  readonly recorder: HistoryRecorder;
  readonly machines: readonly Machine[];
}

/** Members that a client tries to connect to, one after the other. */
const CONNECTS_MAX = 3;

/** The longest way of a request or an answer. */
const WAY_MS_MAX = 1;

interface Pending {
  readonly call: RecordedCall;
  readonly request: Request;
  readonly timeout: ScheduledEvent;
  /** Where it is being worked on; undefined while it is on its way. */
  process: MemberProcess | undefined;
}

export class Client {
  readonly name: string;
  readonly #world: ClientWorld;
  readonly #workload: Workload;
  readonly #habits: ClientHabits;
  readonly #random: SimRandom;
  #machine: Machine;
  #pending: Pending | undefined;
  #callsByItself = false;
  #stopped = false;

  constructor(world: ClientWorld, name: string, workload: Workload, habits: ClientHabits, random: SimRandom) {
    this.name = name;
    this.#world = world;
    this.#workload = workload;
    this.#habits = habits;
    this.#random = random;
    this.#machine = random.pick(world.machines);
  }

  /** One call now, of this machine, unless one is under way: of a client that does not call by itself. */
  callNow(machine: Machine): void {
    if (this.isWaiting) return;
    this.#machine = machine;
    this.#call();
  }

  /** Begins to call, until `stop`. */
  begin(): void {
    this.#callsByItself = true;
    this.#callLater();
  }

  /** Makes no further call. */
  stop(): void {
    this.#stopped = true;
  }

  get isWaiting(): boolean {
    return this.#pending !== undefined;
  }

  /** The connection to a process is gone with it. */
  processEnded(process: MemberProcess): void {
    const pending = this.#pending;
    if (pending === undefined || pending.process !== process) return;
    this.#world.scheduler.after(this.#way(), undefined, () => {
      if (this.#pending !== pending) return;
      this.#end(pending, () => pending.call.unknown("the connection was reset"));
      this.#move();
    });
  }

  #callLater(): void {
    if (this.#stopped || !this.#callsByItself) return;
    const pause = (this.#habits.pauseMsMax * this.#random.below(1024)) / 1024;
    this.#world.scheduler.after(pause, undefined, () => this.#call());
  }

  #call(): void {
    if (this.#stopped) return;
    const { scheduler, recorder, trace, counts } = this.#world;
    if (this.#chance(this.#habits.moveOneIn)) this.#move();
    for (let i = 0; i < CONNECTS_MAX && this.#machine.process?.member === undefined; i++) this.#move();
    const machine = this.#machine;
    if (machine.process?.member === undefined) {
      this.#callLater(); // nobody takes its connection
      return;
    }
    const request = this.#workload.next(this.#habits.readsOnly);
    const run = machine.process.number;
    const call = recorder.call({ client: this.name, member: machine.memberName, run }, request);
    counts.add("operations");
    trace.text(request.kind);
    const { timeoutMsMin, timeoutMsMax } = this.#habits;
    const timeoutMs = timeoutMsMin + this.#random.below(Math.max(1, timeoutMsMax - timeoutMsMin));
    const timeout = scheduler.after(timeoutMs, undefined, () => {
      counts.add("operations timed out");
      this.#end(pending, () => call.unknown("no answer in time"));
      this.#move();
    });
    const pending: Pending = { call, request, timeout, process: undefined };
    this.#pending = pending;
    if (this.#chance(this.#habits.lossOneIn)) return;
    scheduler.after(this.#way(), machine, () => this.#arrive(machine, pending, run));
  }

  /** The request is at the machine. */
  #arrive(machine: Machine, pending: Pending, run: number): void {
    const { process } = machine;
    const { member } = process ?? {};
    // A request goes to the process that was connected to, or to none.
    if (this.#pending !== pending) return;
    if (process === undefined || member === undefined || process.number !== run) {
      this.#answer(process, pending, () => pending.call.refused("other", "nobody serves there"), true);
      return;
    }
    pending.process = process;
    callMember(member, pending.request).then(
      (response) => this.#answer(process, pending, () => this.#answered(pending, response), false),
      (error: unknown) => {
        const reason = refusalReason(error);
        const end =
          reason === undefined
            ? () => pending.call.unknown(describeError(error))
            : () => pending.call.refused(reason, describeError(error));
        this.#answer(process, pending, end, reason === undefined);
      },
    );
  }

  #answered(pending: Pending, response: Response): void {
    this.#world.counts.add("operations answered");
    this.#world.trace.number(response.header.revision);
    pending.call.answered(response);
    this.#workload.learn(pending.request, response);
  }

  /** Something goes back to the client, when the process comes to it. */
  #answer(process: MemberProcess | undefined, pending: Pending, end: () => void, moves: boolean): void {
    if (process?.gone === true || this.#chance(this.#habits.lossOneIn)) return;
    const { scheduler } = this.#world;
    const delay = Math.max(0, (process?.heldUntil ?? 0) - scheduler.now) + this.#way();
    scheduler.after(delay, undefined, () => {
      if (this.#pending !== pending) return;
      this.#end(pending, end);
      if (moves) this.#move();
    });
  }

  #end(pending: Pending, end: () => void): void {
    this.#world.scheduler.cancel(pending.timeout);
    this.#pending = undefined;
    end();
    this.#callLater();
  }

  #move(): void {
    this.#machine = this.#random.pick(this.#world.machines);
  }

  #way(): number {
    return (WAY_MS_MAX * (1 + this.#random.below(1024))) / 1024;
  }

  #chance(oneIn: number): boolean {
    return oneIn > 0 && this.#random.oneIn(oneIn);
  }
}
