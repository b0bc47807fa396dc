/**
 * Clients of the simulated cluster: each has one call at a time, gives up after a while, and then does not know what became of it.
 *
 * What they ask and what they are told goes into the history in the order in which it happens here, on the clients' side; what has to do
 * with leases and rights goes to the witness of the log, which knows when it was true.
 *
 * Where authentication may be on, a client has a user: when it is told that its token is none, it asks for another one.
 */
import { CodedError, describeError } from "../../src/base/errors.js";
import type { CallContext, Member } from "../../src/server/index.js";
import type { HistoryRecorder, Request, Response } from "../check/history.js";
import type { LeaseCall } from "../check/leases.js";
import type { RightsCall } from "../check/rights.js";
import type { SimRandom } from "../random.js";
import type { Accounts } from "./accounts.js";
import { askOfLease, type LeaseErrand, type LeaseReply } from "./lease-errands.js";
import type { Counts } from "./counts.js";
import type { Machine, MemberProcess } from "./machine.js";
import type { Scheduler, ScheduledEvent } from "./scheduler.js";
import type { StateWitness } from "./state-witness.js";
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
  readonly witness: StateWitness;
  /** Users and their passwords; undefined where authentication is never on. */
  readonly accounts: Accounts | undefined;
}

/** Members that a client tries to connect to, one after the other. */
const CONNECTS_MAX = 3;

/** The longest way of a request or an answer. */
const WAY_MS_MAX = 1;

/** What a client asks for, from its call to its end. */
interface Errand {
  readonly kind: string;
  /** Makes the call; resolves with what to do with the answer when it is back. */
  send(member: Member): Promise<() => void>;
  /** It certainly had no effect. @returns false where that cannot be said */
  refused(error: unknown): boolean;
  unknown(text: string): void;
}

interface Pending {
  readonly errand: Errand;
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
  /** Whom it calls as; undefined where authentication is never on. */
  readonly #user: string | undefined;
  #token: string | undefined;
  /** It was told that it has no token, or none that is one. */
  #needsToken = false;
  #machine: Machine;
  #pending: Pending | undefined;
  #callsByItself = false;
  #stopped = false;

  /** @param user undefined for nobody */
  constructor(
    world: ClientWorld,
    name: string,
    workload: Workload,
    habits: ClientHabits,
    random: SimRandom,
    user?: string,
  ) {
    this.#user = user;
    this.name = name;
    this.#world = world;
    this.#workload = workload;
    this.#habits = habits;
    this.#random = random;
    this.#machine = random.pick(world.machines);
  }

  /**
   * One call now, of this machine, unless one is under way: of a client that does not call by itself.
   *
   * @param errand what it asks for; drawn when left out
   */
  callNow(machine: Machine, errand?: LeaseErrand): void {
    if (this.isWaiting) return;
    this.#machine = machine;
    this.#call(errand);
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
      this.#end(pending, () => pending.errand.unknown("the connection was reset"));
      this.#move();
    });
  }

  #callLater(): void {
    if (this.#stopped || !this.#callsByItself) return;
    const pause = (this.#habits.pauseMsMax * this.#random.below(1024)) / 1024;
    this.#world.scheduler.after(pause, undefined, () => this.#call());
  }

  #call(wanted?: LeaseErrand): void {
    if (this.#stopped) return;
    const { scheduler, trace, counts } = this.#world;
    if (this.#chance(this.#habits.moveOneIn)) this.#move();
    for (let i = 0; i < CONNECTS_MAX && this.#machine.process?.member === undefined; i++) this.#move();
    const machine = this.#machine;
    if (machine.process?.member === undefined) {
      this.#callLater(); // nobody takes its connection
      return;
    }
    const run = machine.process.number;
    const errand = this.#nextErrand(machine.process, wanted);
    counts.add("operations");
    trace.text(errand.kind);
    const { timeoutMsMin, timeoutMsMax } = this.#habits;
    const timeoutMs = timeoutMsMin + this.#random.below(Math.max(1, timeoutMsMax - timeoutMsMin));
    const timeout = scheduler.after(timeoutMs, undefined, () => {
      counts.add("operations timed out");
      this.#end(pending, () => errand.unknown("no answer in time"));
      this.#move();
    });
    const pending: Pending = { errand, timeout, process: undefined };
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
      this.#answer(process, pending, () => void pending.errand.refused(NOBODY_SERVES), true);
      return;
    }
    pending.process = process;
    pending.errand.send(member).then(
      (end) => {
        const answered = (): void => {
          this.#world.counts.add("operations answered");
          end();
        };
        this.#answer(process, pending, answered, false);
      },
      (error: unknown) => {
        const isOfToken = this.#isOfToken(error);
        const end = (): void => {
          if (isOfToken) this.#loseToken();
          if (!pending.errand.refused(error)) pending.errand.unknown(describeError(error));
        };
        this.#answer(process, pending, end, !isRefusal(error) && !isOfToken);
      },
    );
  }

  #isOfToken(error: unknown): boolean {
    return error instanceof CodedError && NO_TOKEN.includes(error.code as string);
  }

  #loseToken(): void {
    this.#token = undefined;
    this.#needsToken = true;
  }

  // ---- errands -----------------------------------------------------------------------------------------------------

  #nextErrand(process: MemberProcess, wanted: LeaseErrand | undefined): Errand {
    // Who cannot get a token (the user may be gone) goes on without one.
    if (this.#needsToken && this.#user !== undefined && !this.#random.oneIn(3)) return this.#authentication(this.#user);
    const next = wanted ?? this.#workload.next(this.#habits.readsOnly);
    return "errand" in next ? this.#leaseErrand(next, process) : this.#historyErrand(next, process);
  }

  #context(): CallContext {
    return this.#token === undefined ? {} : { token: this.#token };
  }

  #authentication(user: string): Errand {
    const { accounts, counts } = this.#world;
    return {
      kind: "authenticate",
      send: async (member) => {
        const { token } = await member.auth.authenticate({ name: user, password: accounts!.passwordOf(user) });
        return () => {
          counts.add("tokens given");
          this.#token = token;
          this.#needsToken = false;
        };
      },
      refused: () => {
        this.#needsToken = !this.#random.oneIn(4);
        return true;
      },
      unknown: () => undefined,
    };
  }

  #historyErrand(request: Request, process: MemberProcess): Errand {
    const { recorder, trace } = this.#world;
    const asked = { client: this.name, member: process.machine.memberName, run: process.number };
    const call = recorder.call(asked, request);
    const context = this.#context();
    return {
      kind: request.kind,
      send: async (member) => {
        const rights = this.#rightsCall(request, process, member, context);
        let response: Response;
        try {
          if (request.kind === "compact") await member.access.requireAdmin(context); // as the API asks
          response = await callMember(member, request, context);
        } catch (error) {
          judged(rights, process, verdictOf(error));
          throw error;
        }
        judged(rights, process, "let in");
        return () => {
          trace.number(response.header.revision);
          call.answered(response);
          this.#workload.learn(request, response);
        };
      },
      refused: (error) => {
        const reason = error === NOBODY_SERVES ? "other" : refusalReason(error);
        if (reason === undefined) return false;
        call.refused(reason, describeError(error));
        return true;
      },
      unknown: (text) => call.unknown(text),
    };
  }

  /** Reads with a token, and lets what comes of it be judged; resolves in any case. */
  async readAs(token: string, request: Request, process: MemberProcess, member: Member): Promise<void> {
    const context = { token };
    const rights = this.#rightsCall(request, process, member, context);
    const verdict = await callMember(member, request, context).then(() => "let in" as const, verdictOf);
    judged(rights, process, verdict);
  }

  #rightsCall(
    request: Request,
    process: MemberProcess,
    member: Member,
    { token }: CallContext,
  ): RightsCall | undefined {
    const { witness, accounts } = this.#world;
    if (accounts === undefined || request.kind === "compact" || request.kind === "hash") return undefined;
    const isLinearizable = request.kind !== "range" || request.serializable !== true;
    const call: RightsCall = {
      client: this.name,
      member: process.machine.name,
      user: token === undefined ? "" : this.#user!,
      tokenIndex: token === undefined ? 0 : entryOfToken(token),
      request,
      appliedBefore: member.observe().appliedIndex,
      committedBefore: isLinearizable ? witness.committedTo : 0,
      verdict: undefined,
      appliedAfter: 0,
    };
    witness.rightsCalls.push(call);
    return call;
  }

  #leaseErrand(errand: LeaseErrand, process: MemberProcess): Errand {
    const { witness, scheduler, trace } = this.#world;
    const call: LeaseCall | undefined =
      errand.errand === "renew" || errand.errand === "time" || errand.errand === "revoke"
        ? {
            asked: errand.errand,
            lease: errand.lease,
            member: process.machine.name,
            calledMs: scheduler.now,
            committedBefore: witness.committedTo,
            answer: undefined,
            answeredMs: 0,
            committedAfter: 0,
          }
        : undefined;
    if (call !== undefined) witness.leaseCalls.push(call);
    const told = (reply: LeaseReply): void => {
      if (call === undefined || reply.answer === undefined) return;
      call.answer = reply.answer;
      call.answeredMs = scheduler.now;
      call.committedAfter = Math.max(witness.committedTo, process.reachedIndex);
    };
    const context = this.#context();
    return {
      kind: errand.errand,
      send: async (member) => {
        const reply = await askOfLease(member, errand, context);
        told(reply);
        return () => {
          trace.text(reply.text);
          this.#workload.learnOfLease(errand, reply);
        };
      },
      refused: () => true, // nothing of it is in the history
      unknown: () => undefined,
    };
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

/** Codes that tell of a token: it is none, or there should be one. */
const NO_TOKEN: readonly string[] = ["AUTH_TOKEN_INVALID", "AUTH_USER_EMPTY"];

/** What a client finds out when it comes to a process that is gone. */
const NOBODY_SERVES = new Error("nobody serves there");

function isRefusal(error: unknown): boolean {
  return refusalReason(error) !== undefined;
}

function judged(call: RightsCall | undefined, process: MemberProcess, verdict: RightsCall["verdict"]): void {
  if (call === undefined || verdict === undefined) return;
  call.verdict = verdict;
  call.appliedAfter = process.reachedIndex;
}

export function verdictOf(error: unknown): RightsCall["verdict"] {
  if (!(error instanceof CodedError)) return undefined;
  const { code } = error as CodedError<string>;
  return code === "AUTH_PERMISSION_DENIED" ? "denied" : code === "AUTH_USER_EMPTY" ? "nobody" : undefined;
}

/** A simple token names the entry before the one that made it. */
export function entryOfToken(token: string): number {
  return Number(token.slice(token.lastIndexOf(".") + 1)) + 1;
}
