/**
 * Clients that watch: each has one stream at a member, with a few watchers. Where the stream ends, or is cut, they open another one at any member
 * and go on from where each watcher had come to. They stop reading for a while, ask for progress, end watchers and make others.
 *
 * What they are told is kept as it is told, in the middle of the member's work; what they do comes in events of their own. All a member
 * knows of them is the contract of `src/server/watch-contract.ts`: how answers are cut in pieces for the wire is tried where that is done.
 */
import { CodedError } from "../../src/base/errors.js";
import { latin1FromBytes } from "../../src/base/text.js";
import { Event } from "../../src/proto/generated/mvccpb/kv.js";
import type { Member, WatchNotice, WatchStream, WatchStreamReceiver } from "../../src/server/index.js";
import type { Change, Span } from "../check/history.js";
import type { TellEvent, Told, WatcherRecord } from "../check/watches.js";
import type { SimRandom } from "../random.js";
import { entryOfToken, type ClientWorld } from "./clients.js";
import type { MemberProcess } from "./machine.js";
import type { ScheduledEvent } from "./scheduler.js";
import { keyValue } from "./translate.js";

export interface WatchHabits {
  readonly watchers: number;
  /** Pause between two things that it does. */
  readonly pauseMsMax: number;
  /** The longest that it reads nothing; 0 for never. */
  readonly restMsMax: number;
  /** Keys are `k0` to below `k<keys>`. */
  readonly keys: number;
}

/** What a client watches, over all streams. */
interface Wish {
  readonly span: Span;
  readonly withoutPuts: boolean;
  readonly withoutDeletes: boolean;
  readonly withPrevious: boolean;
  readonly inFragments: boolean;
  readonly reportsProgress: boolean;
  /** The first revision that it lacks; 0 for what comes from now on. */
  next: number;
  /** Its watcher on the stream that is open; undefined while it has none. */
  record: WatcherRecord | undefined;
}

/** One stream. */
interface Open {
  readonly process: MemberProcess;
  readonly stream: WatchStream;
  /** By the watcher's number. */
  readonly wishes: Map<number, Wish>;
  numbers: number;
  isOver: boolean;
}

const REOPEN_MS_MAX = 300;
const REFUSALS_AT_END_MAX = 3;
/** How far a watcher begins behind or before the newest revision that the client knows. */
const PAST_MAX = 25;
const FUTURE_MAX = 8;

export class WatchClient {
  readonly name: string;
  readonly #world: ClientWorld;
  readonly #habits: WatchHabits;
  readonly #random: SimRandom;
  readonly #user: string | undefined;
  #token: string | undefined;
  readonly #wishes: Wish[] = [];
  #open: Open | undefined;
  #isReading = true;
  #resting: ScheduledEvent | undefined;
  #stopped = false;
  #isOpening = false;
  #refusedAtEnd = 0;
  #records = 0;

  constructor(world: ClientWorld, name: string, habits: WatchHabits, random: SimRandom, user?: string) {
    this.#world = world;
    this.name = name;
    this.#habits = habits;
    this.#random = random;
    this.#user = user;
    for (let i = 0; i < habits.watchers; i++) this.#wishes.push(this.#draw());
  }

  begin(): void {
    this.#openLater();
    this.#actLater();
  }

  /** Does nothing more of itself: reads, and opens streams that end. */
  stop(): void {
    this.#stopped = true;
    this.#readOn();
  }

  /** Tells which watchers should have been told everything. */
  settle(isServing: (process: MemberProcess) => boolean): void {
    const open = this.#open;
    if (open === undefined || open.isOver || !isServing(open.process)) return;
    for (const { record } of open.wishes.values()) {
      if (record?.createdAt !== undefined) record.openAtEnd = true;
    }
  }

  /** Its member is about to stop: it lets go. */
  close(): void {
    this.#leave();
  }

  processEnded(process: MemberProcess): void {
    if (this.#open?.process === process) this.#lose();
  }

  // ---- streams -----------------------------------------------------------------------------------------------------

  #lose(): void {
    if (this.#open !== undefined) this.#open.isOver = true;
    this.#open = undefined;
    for (const wish of this.#wishes) wish.record = undefined;
    this.#openLater();
  }

  #leave(): void {
    const open = this.#open;
    if (open === undefined) return;
    open.isOver = true;
    open.stream.close();
    this.#open = undefined;
    for (const wish of this.#wishes) wish.record = undefined;
  }

  #openLater(): void {
    if (this.#isOpening) return;
    this.#isOpening = true;
    this.#world.scheduler.after(1 + (REOPEN_MS_MAX * this.#random.below(1024)) / 1024, undefined, () => {
      this.#isOpening = false;
      if (this.#open !== undefined) return;
      const { process } = this.#random.pick(this.#world.machines);
      const serves = process?.member !== undefined && process.failure === undefined && !process.stopping;
      // A process that stands still answers nobody who connects.
      if (serves && process.heldUntil <= this.#world.scheduler.now) this.#openAt(process, process.member!);
      else this.#openLater();
    });
  }

  #openAt(process: MemberProcess, member: Member): void {
    this.#world.counts.add("watch streams");
    const wishes = new Map<number, Wish>();
    const open: Open = {
      process,
      wishes,
      numbers: 0,
      isOver: false,
      stream: member.watch(
        this.#receiverOf(() => open, process),
        { requiresLeader: this.#random.oneIn(4) },
        this.#context(),
      ),
    };
    this.#open = open;
    for (const wish of this.#wishes) this.#create(open, member, wish);
  }

  #context(): { token?: string } {
    return this.#token === undefined ? {} : { token: this.#token };
  }

  #receiverOf(openOf: () => Open, process: MemberProcess): WatchStreamReceiver {
    const isReading = (): boolean => this.#isReading;
    const tell = (wish: Wish | undefined, told: Told): void => {
      if (wish?.record === undefined || openOf().isOver) return;
      wish.record.told.push(told);
    };
    const applied = (): number => process.reachedIndex;
    return {
      get isReady() {
        return isReading();
      },
      onEvents: ({ id }, events, revision) => {
        const open = openOf();
        const wish = open.wishes.get(id);
        if (wish?.record === undefined || open.isOver) return;
        const { withPrevious } = wish;
        tell(wish, {
          kind: "events",
          events: events.map((event) => toldOf(event.encoded(withPrevious))),
          revision,
          applied: applied(),
        });
        this.#world.counts.add("events told to watchers", events.length);
        this.#world.trace.number(revision);
        wish.next = (events.at(-1)?.revision ?? revision) + 1;
      },
      onNotice: (notice) => this.#onNotice(openOf(), notice, applied()),
      onEnd: () => {
        this.#world.scheduler.after(0, undefined, () => {
          if (this.#open === openOf()) this.#lose();
        });
      },
    };
  }

  #onNotice(open: Open, notice: WatchNotice, applied: number): void {
    if (open.isOver) return;
    const { revision, watchId, created, canceled, compactRevision, refusal } = notice;
    if (created && canceled) {
      this.#world.scheduler.after(1, undefined, () => this.#onRefused(open, refusal));
      return;
    }
    const wish = open.wishes.get(watchId);
    if (created) {
      if (wish?.record !== undefined) wish.record.createdAt = revision;
      if (wish !== undefined && wish.next === 0) wish.next = revision + 1;
      return;
    }
    if (compactRevision > 0 && wish?.record !== undefined) {
      this.#world.counts.add("watchers whose history was compacted");
      wish.record.told.push({ kind: "compacted", compactRevision, applied });
      wish.record = undefined;
      open.wishes.delete(watchId);
      wish.next = compactRevision;
      this.#at(open, (member) => {
        open.stream.cancel(watchId);
        this.#create(open, member, wish);
      });
      return;
    }
    if (canceled) return;
    this.#world.counts.add("progress told to watchers");
    const told = { kind: "progress", revision, applied } as const;
    for (const each of wish === undefined ? open.wishes.values() : [wish]) {
      if (each.record?.createdAt === undefined) continue;
      each.record.told.push(told);
      each.next = Math.max(each.next, revision + 1);
    }
  }

  /** No watcher was made: its client may not read the keys, or has no token. It asks for one, and for all of them anew. */
  #onRefused(open: Open, refusal: unknown): void {
    if (this.#open !== open || open.isOver) return;
    const code = refusal instanceof CodedError ? (refusal.code as string) : "";
    const { accounts, counts } = this.#world;
    counts.add(`watchers refused: ${code}`);
    const { member } = open.process;
    this.#leave();
    if (code !== "AUTH_PERMISSION_DENIED") this.#token = undefined;
    // A world that is to come to rest has nobody who asks for ever for what he may not have.
    if (this.#stopped && ++this.#refusedAtEnd > REFUSALS_AT_END_MAX) return;
    if (this.#token !== undefined || this.#user === undefined || accounts === undefined || member === undefined) {
      this.#openLater();
      return;
    }
    const name = this.#user;
    member.auth.authenticate({ name, password: accounts.passwordOf(name) }).then(
      ({ token }) => (this.#token = token),
      () => undefined, // it is off, or he is gone
    );
    this.#openLater();
  }

  // ---- watchers ----------------------------------------------------------------------------------------------------

  #draw(): Wish {
    const { keys } = this.#habits;
    const key = `k${this.#random.below(keys)}`;
    const spans: Span[] = [
      { key },
      { key: "k", end: "l" },
      { key: "k", end: "l" },
      { key, end: "\0" },
      { key: "k1", end: "k2" },
    ];
    return {
      span: this.#random.pick(spans),
      withoutPuts: this.#random.oneIn(8),
      withoutDeletes: this.#random.oneIn(8),
      withPrevious: this.#random.oneIn(2),
      inFragments: this.#random.oneIn(3),
      reportsProgress: this.#random.oneIn(2),
      next: this.#drawStart(),
      record: undefined,
    };
  }

  #drawStart(): number {
    const { revision } = this.#world.witness.state.store;
    switch (this.#random.below(4)) {
      case 0:
        return 0;
      case 1:
        return revision + this.#random.below(FUTURE_MAX);
      default:
        return Math.max(1, revision - this.#random.below(PAST_MAX));
    }
  }

  #create(open: Open, member: Member, wish: Wish): void {
    const { witness, accounts } = this.#world;
    const { span, withoutPuts, withoutDeletes, withPrevious, inFragments, reportsProgress } = wish;
    const watchId = ++open.numbers;
    const record: WatcherRecord = {
      name: `${this.name}/${++this.#records}`,
      member: open.process.machine.name,
      span,
      startRevision: wish.next,
      withoutPuts,
      withoutDeletes,
      withPrevious,
      createdAt: undefined,
      told: [],
      openAtEnd: false,
    };
    wish.record = record;
    open.wishes.set(watchId, wish);
    witness.watchers.push(record);
    this.#world.counts.add("watchers");
    const token = this.#token;
    const appliedBefore = member.observe().appliedIndex;
    open.stream.create({
      span: { key: span.key, end: span.end === "\0" ? "" : span.end },
      watchId,
      startRevision: wish.next,
      withoutPuts,
      withoutDeletes,
      withPrevious,
      inFragments,
      reportsProgress,
    });
    if (accounts === undefined || record.createdAt === undefined) return;
    witness.rightsCalls.push({
      client: this.name,
      member: open.process.machine.name,
      user: token === undefined ? "" : this.#user!,
      tokenIndex: token === undefined ? 0 : entryOfToken(token),
      request: { kind: "range", ...span },
      appliedBefore,
      committedBefore: 0,
      verdict: "let in",
      appliedAfter: open.process.reachedIndex,
    });
  }

  // ---- what it does ------------------------------------------------------------------------------------------------

  #actLater(): void {
    const pause = (this.#habits.pauseMsMax * this.#random.below(1024)) / 1024;
    this.#world.scheduler.after(pause, undefined, () => {
      if (this.#stopped) return;
      this.#act();
      this.#actLater();
    });
  }

  #act(): void {
    const open = this.#open;
    if (open === undefined) return;
    switch (this.#random.below(6)) {
      case 0:
        this.#rest();
        return;
      case 1:
      case 2:
        this.#at(open, () => open.stream.requestProgress());
        return;
      case 3:
      case 4:
        this.#at(open, (member) => this.#replace(open, member));
        return;
      default:
        this.#world.counts.add("watch streams cut");
        this.#at(open, () => {
          this.#leave();
          this.#openLater();
        });
    }
  }

  #rest(): void {
    if (this.#habits.restMsMax === 0 || this.#resting !== undefined) return;
    this.#world.counts.add("watch clients that stop reading");
    this.#isReading = false;
    const ms = (this.#habits.restMsMax * this.#random.below(1024)) / 1024;
    this.#resting = this.#world.scheduler.after(ms, undefined, () => this.#readOn());
  }

  #readOn(): void {
    if (this.#resting !== undefined) this.#world.scheduler.cancel(this.#resting);
    this.#resting = undefined;
    this.#isReading = true;
    const open = this.#open;
    if (open !== undefined) this.#at(open, () => open.stream.resume());
  }

  /** Ends one of its watchers and makes another. */
  #replace(open: Open, member: Member): void {
    const at = this.#random.below(this.#wishes.length);
    const old = this.#wishes[at]!;
    for (const [watchId, wish] of open.wishes) {
      if (wish !== old) continue;
      open.wishes.delete(watchId);
      open.stream.cancel(watchId);
      break;
    }
    old.record = undefined;
    const wish = this.#draw();
    this.#wishes[at] = wish;
    this.#create(open, member, wish);
  }

  /** Does something at the member, when its process comes to it. */
  #at(open: Open, act: (member: Member) => void): void {
    this.#world.scheduler.after(0.1, open.process, () => {
      const { member } = open.process;
      if (this.#open === open && !open.isOver && member !== undefined) act(member);
    });
  }
}

function toldOf(encoded: Uint8Array): TellEvent {
  const { type, kv, prevKv } = Event.decode(encoded);
  const isPut = type === 0;
  const change: Change = isPut ? { kind: "put", kv: keyValue(kv!) } : { kind: "delete", key: latin1FromBytes(kv!.key) };
  return { revision: kv!.modRevision, change, before: prevKv === undefined ? undefined : keyValue(prevKv) };
}
