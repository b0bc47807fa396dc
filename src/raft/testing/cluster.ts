/**
 * A small world to run a cluster in: a network that loses, repeats, delays and reorders messages and falls apart; members that
 * stop at any point and start again with what was synced. All chance comes from one seed.
 *
 * After each step the laws of the Raft paper are checked:
 * - election safety: a term has one leader;
 * - log matching: equal index and term mean equal logs up to there;
 * - leader completeness: a leader's log has all that is committed;
 * - state machine safety: at equal index, states are equal;
 * and that a read sees everything that anyone had applied when it was asked for.
 */
import { concatBytes, equalBytes, readUint32LE, writeUint32LE } from "../../base/bytes.js";
import { crc32cPortable } from "../../base/crc32c.js";
import { invariant } from "../../base/errors.js";
import { textFromUtf8, utf8FromText } from "../../base/text.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  MessageType,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
} from "../../proto/raft.js";
import type { RaftConfig } from "../config.js";
import { confChangeOf, isConfChange, isJoint } from "../configuration.js";
import { describeEntry, describeMessage } from "../describe.js";
import { RaftError } from "../errors.js";
import { isLocalTarget } from "../ids.js";
import { SILENT_LOGGER } from "../logger.js";
import { RawNode, type Ready } from "../raw-node.js";
import { MemoryStorage } from "../storage.js";
import { confState } from "./messages.js";
import { SeededRandom } from "./random.js";

export interface ClusterOptions {
  readonly seed: number;
  /** Members there are; the first three are the voters of the beginning, the others wait to be added. */
  readonly members: number;
  readonly preVote: boolean;
  readonly checkQuorum: boolean;
  readonly asyncStorageWrites: boolean;
  /** Whether the configuration changes along the way. */
  readonly reconfigure: boolean;
}

const LOG_START = 1;
const LINES_KEPT = 60;

/** A member's disk: what is in it is durable, except for a commit index that was written without a sync. */
class Disk extends MemoryStorage {
  /** The application's state at each index from where the log starts; `data` is a checksum over all that was applied. */
  history: Snapshot[];
  /** The commit index of the last write that was synced. */
  syncedCommit: number;

  constructor(start: Snapshot | undefined) {
    super();
    const none = { data: new Uint8Array(4), metadata: { index: 0, term: 0, confState: confState([]) } };
    if (start !== undefined) this.applySnapshot(start);
    this.history = [start ?? none];
    this.syncedCommit = start?.metadata.index ?? 0;
  }

  get state(): Snapshot {
    return this.history.at(-1)!;
  }

  /** Snapshots are made on demand, from the state of the moment. */
  override snapshot(): Snapshot {
    return this.state;
  }

  override initialState(): { hardState: HardState; confState: ConfState } {
    return { ...super.initialState(), confState: this.state.metadata.confState };
  }
}

interface Read {
  readonly asked: number;
  done: boolean;
}

class Member {
  readonly id: bigint;
  readonly disk: Disk;
  node: RawNode;
  /** The work in hand; a crash forgets it. */
  ready: Ready | undefined;
  readonly appendWork: Message[] = [];
  readonly applyWork: Message[] = [];
  isUp = true;

  constructor(id: bigint, disk: Disk, node: RawNode) {
    this.id = id;
    this.disk = disk;
    this.node = node;
  }
}

export class Cluster {
  readonly #options: ClusterOptions;
  readonly #random: SeededRandom;
  readonly #members: Member[] = [];
  #network: Message[] = [];
  /** Members with different numbers do not hear each other. */
  #sides = new Map<bigint, number>();
  #faults = true;
  #proposals = 0;
  readonly #reads = new Map<string, Read>();

  // What nobody in the world can see, but must hold.
  readonly #leaders = new Map<number, bigint>();
  readonly #committed = new Map<number, Entry>();
  readonly #states = new Map<number, Uint8Array>();
  #appliedMax = LOG_START;
  #steps = 0;
  /** What happened last, to be printed when a law is broken. */
  readonly lines: string[] = [];
  /** Counts of things that should have happened for a run to be worth something. */
  readonly seen = { leaders: 0, crashes: 0, snapshots: 0, reads: 0, confChanges: 0, applied: 0 };

  constructor(options: ClusterOptions) {
    this.#options = options;
    this.#random = new SeededRandom(options.seed);
    const start: Snapshot = {
      data: new Uint8Array(4),
      metadata: { index: LOG_START, term: 1, confState: confState([1n, 2n, 3n]) },
    };
    for (let at = 0; at < options.members; at++) {
      const id = BigInt(at + 1);
      const disk = new Disk(at < 3 ? start : undefined);
      this.#members.push(new Member(id, disk, this.#makeNode(id, disk)));
    }
  }

  #makeNode(id: bigint, disk: Disk): RawNode {
    const { preVote, checkQuorum, asyncStorageWrites } = this.#options;
    const config: RaftConfig = {
      id,
      storage: disk,
      applied: disk.state.metadata.index,
      electionTicks: 10,
      heartbeatTicks: 2,
      maxSizePerMessage: 100,
      maxCommittedSizePerReady: 200,
      maxUncommittedEntriesSize: 2_000,
      maxInflightMessages: 4,
      maxInflightBytes: 400,
      preVote,
      checkQuorum,
      asyncStorageWrites,
      log: SILENT_LOGGER,
      random: this.#random,
    };
    return new RawNode(config);
  }

  #note(text: string): void {
    this.lines.push(`${this.#steps}: ${text}`);
    if (this.lines.length > LINES_KEPT) this.lines.shift();
  }

  /** Lets chance do `steps` things, faults among them. */
  run(steps: number): void {
    for (let step = 0; step < steps; step++) {
      this.#steps++;
      this.#happen();
      this.#checkRoles();
      if (this.#steps % 50 === 0) this.#checkLogs();
    }
  }

  #happen(): void {
    const random = this.#random;
    const what = random.below(1_000);
    const member = random.pick(this.#members);
    if (!member.isUp) {
      if (random.oneIn(30)) this.#restart(member);
    } else if (what < 400) this.#deliverOne();
    else if (what < 800) this.#work(member);
    else if (what < 870) this.#tick(member);
    else if (what < 930) this.#propose(member);
    else if (what < 950) this.#read(member);
    else if (what < 960) this.#compact(member);
    else if (what < 965) this.#transfer(member);
    else if (what < 975) this.#changeConfiguration(member);
    else if (what < 980) this.#crash(member);
    else if (what < 985) this.#partition();
    else if (what < 989) this.#sides.clear();
  }

  #upper(member: Member): RawNode | undefined {
    return member.isUp ? member.node : undefined;
  }

  #tick(member: Member): void {
    this.#upper(member)?.tick();
  }

  #propose(member: Member): void {
    const data = utf8FromText(`proposal ${++this.#proposals}`);
    this.#attempt(() => this.#upper(member)?.propose(data));
  }

  #read(member: Member): void {
    const node = this.#upper(member);
    if (node === undefined) return;
    const key = `read ${this.#reads.size}`;
    this.#reads.set(key, { asked: this.#appliedMax, done: false });
    node.readIndex(utf8FromText(key));
  }

  #compact({ disk }: Member): void {
    // What is compacted must be committed as far as the disk knows; writing a snapshot syncs what was written before it.
    const { commit } = disk.initialState().hardState;
    const applied = Math.min(disk.state.metadata.index, commit);
    const index = disk.firstIndex() + this.#random.below(Math.max(1, applied - disk.firstIndex() + 1));
    if (index > applied || index > disk.lastIndex()) return;
    disk.compact(index);
    disk.syncedCommit = commit;
    disk.history = disk.history.filter(({ metadata }) => metadata.index >= index);
  }

  #transfer(member: Member): void {
    this.#upper(member)?.transferLeader(this.#random.pick(this.#members).id);
  }

  #changeConfiguration(member: Member): void {
    const node = this.#upper(member);
    if (node === undefined || !this.#options.reconfigure) return;
    const random = this.#random;
    if (isJoint(node.status().configuration) && random.oneIn(2)) {
      this.#leaveJoint(node);
      return;
    }
    const types = [ConfChangeType.addNode, ConfChangeType.addLearnerNode, ConfChangeType.removeNode];
    const changes = Array.from({ length: 1 + random.below(3) }, () => ({
      type: random.pick(types),
      nodeId: random.pick(this.#members).id,
    }));
    const voters = new Set(node.status().configuration.voters.incoming);
    for (const { type, nodeId } of changes) {
      if (type === ConfChangeType.addNode) voters.add(nodeId);
      else voters.delete(nodeId);
    }
    // To remove everyone is refused when it is applied, which stops the member: an application does not propose it.
    if (voters.size < 2) return;
    const transition = random.pick([
      ConfChangeTransition.auto,
      ConfChangeTransition.jointImplicit,
      ConfChangeTransition.jointExplicit,
    ]);
    this.#attempt(() => node.proposeConfChange({ transition, changes, context: new Uint8Array(0) }));
  }

  #leaveJoint(node: RawNode): void {
    const leave = { transition: ConfChangeTransition.auto, changes: [], context: new Uint8Array(0) };
    this.#attempt(() => node.proposeConfChange(leave));
  }

  #crash(member: Member): void {
    this.seen.crashes++;
    this.#note(`${member.id} crashes`);
    member.isUp = false;
    member.ready = undefined;
    member.appendWork.length = 0;
    member.applyWork.length = 0;
    this.#network = this.#network.filter(({ from, to }) => to !== member.id || (from !== to && !isLocalTarget(from)));
  }

  #restart(member: Member): void {
    const { disk } = member;
    // A commit index that was not synced may be gone; the application may have kept an older state.
    if (this.#random.oneIn(2)) {
      const { hardState } = disk.initialState();
      const commit = Math.max(disk.syncedCommit, disk.firstIndex() - 1);
      if (commit < hardState.commit) disk.setHardState({ ...hardState, commit });
    }
    disk.history.length = 1 + this.#random.below(disk.history.length);
    member.node = this.#makeNode(member.id, disk);
    member.isUp = true;
    this.#note(`${member.id} starts again, applied ${disk.state.metadata.index}`);
  }

  /** Two sides at random; or a leader alone, or with one other, which is where stale leaders come from. */
  #partition(): void {
    const random = this.#random;
    const leaders = this.#members.filter(({ isUp, node }) => isUp && node.basicStatus().role === "leader");
    const alone = leaders.length > 0 && random.oneIn(2) ? [random.pick(leaders).id] : undefined;
    if (alone !== undefined && random.oneIn(2)) alone.push(random.pick(this.#members).id);
    for (const { id } of this.#members) {
      this.#sides.set(id, alone === undefined ? random.below(2) : alone.includes(id) ? 1 : 0);
    }
    this.#note(`partition ${[...this.#sides.values()].join("")}`);
  }

  // ---- network ----------------------------------------------------------------------------------------------------

  #send(message: Message): void {
    this.#network.push(message);
  }

  #deliverOne(): void {
    if (this.#network.length === 0) return;
    const random = this.#random;
    const at = this.#faults && random.oneIn(3) ? random.below(this.#network.length) : 0;
    const message = this.#network[at]!;
    const isLocal = message.from === message.to || isLocalTarget(message.from);
    if (isLocal) {
      // Between a member and its workers order holds, and nothing is lost.
      const first = this.#network.findIndex(
        ({ from, to }) => to === message.to && (from === to || isLocalTarget(from)),
      );
      this.#deliver(this.#network.splice(first, 1)[0]!);
      return;
    }
    if (!this.#faults || !random.oneIn(20)) this.#network.splice(at, 1); // else it will come again
    const isLost = this.#faults && random.oneIn(12);
    const isCut = (this.#sides.get(message.from) ?? 0) !== (this.#sides.get(message.to) ?? 0);
    const arrives = !isLost && !isCut && this.#deliver(message);
    if (message.type === MessageType.snapshot) {
      // The transport reports what became of it; sometimes success for one that was lost on the last metres, as real ones do.
      const sender = this.#members[Number(message.from) - 1]!;
      this.#upper(sender)?.reportSnapshot(message.to, arrives || random.oneIn(5));
    }
  }

  /** Says whether the message reached its receiver. */
  #deliver(message: Message): boolean {
    const member = this.#members[Number(message.to) - 1]!;
    if (!member.isUp) return false;
    this.#note(describeMessage(message));
    this.#attempt(() => member.node.step(message));
    return true;
  }

  /** Runs what may be refused in ways that are part of life. */
  #attempt(body: () => void): void {
    try {
      body();
    } catch (error) {
      const known = error instanceof RaftError && /PROPOSAL_DROPPED|PEER_UNKNOWN/.test(error.code);
      if (!known) throw error;
    }
  }

  // ---- a member's work --------------------------------------------------------------------------------------------

  #work(member: Member): void {
    if (!member.isUp) return;
    if (this.#options.asyncStorageWrites) this.#workAsync(member);
    else this.#workSync(member);
  }

  /** Takes a `Ready`, or finishes the one in hand: a crash may come between. */
  #workSync(member: Member): void {
    const { node, ready } = member;
    if (ready === undefined) {
      if (!node.hasReady()) return;
      member.ready = node.ready();
      this.#takeReads(member.ready);
      for (const message of member.ready.messages.slice(0, member.ready.earlyMessages)) this.#send(message);
      return;
    }
    member.ready = undefined;
    this.#save(member, ready.hardState, ready.entries, ready.snapshot, ready.mustSync);
    for (const message of ready.messages.slice(ready.earlyMessages)) this.#send(message);
    this.#apply(member, ready.committedEntries);
    node.advance();
  }

  #workAsync(member: Member): void {
    const { node, appendWork, applyWork } = member;
    const choice = this.#random.below(3);
    if (choice === 0 && node.hasReady()) {
      const ready = node.ready();
      this.#takeReads(ready);
      for (const message of ready.messages) {
        if (message.type === MessageType.storageAppend) appendWork.push(message);
        else if (message.type === MessageType.storageApply) applyWork.push(message);
        else this.#send(message);
      }
    } else if (choice === 1) {
      const work = appendWork.shift();
      if (work === undefined) return;
      const hasState = work.term !== 0 || work.vote !== 0n || work.commit !== 0;
      this.#save(member, hasState ? work : undefined, work.entries, work.snapshot, true);
      for (const response of work.responses) this.#send(response);
    } else if (choice === 2) {
      const work = applyWork.shift();
      if (work === undefined) return;
      this.#apply(member, work.entries);
      for (const response of work.responses) this.#send(response);
    }
  }

  #save(
    { disk }: Member,
    state: HardState | undefined,
    entries: readonly Entry[],
    snapshot: Snapshot | undefined,
    isSynced: boolean,
  ): void {
    if (snapshot !== undefined) {
      this.seen.snapshots++;
      disk.applySnapshot(snapshot);
      disk.history = [snapshot];
      this.#checkState(snapshot);
    }
    disk.append(entries);
    if (state !== undefined) {
      const { term, vote, commit } = state;
      const before = disk.initialState().hardState;
      invariant(term >= before.term, "the term never falls");
      invariant(term > before.term || before.vote === 0n || vote === before.vote, "one vote a term");
      disk.setHardState({ term, vote, commit });
      if (isSynced || snapshot !== undefined) disk.syncedCommit = commit;
    }
  }

  #apply(member: Member, entries: readonly Entry[]): void {
    for (const entry of entries) {
      const { disk, node } = member;
      const before = disk.state.metadata;
      // A snapshot may overtake work that was handed out before it.
      if (this.#options.asyncStorageWrites && entry.index <= before.index) continue;
      invariant(entry.index === before.index + 1, () => `${member.id} applies ${entry.index} after ${before.index}`);
      this.#checkCommitted(entry);
      const kept = isConfChange(entry) ? node.applyConfChange(confChangeOf(entry)) : before.confState;
      if (isConfChange(entry)) this.seen.confChanges++;
      const data = new Uint8Array(4);
      const seed = readUint32LE(disk.state.data, 0);
      writeUint32LE(data, 0, crc32cPortable(seed, concatBytes([entry.data, new Uint8Array([entry.term & 0xff])])));
      const state = { data, metadata: { index: entry.index, term: entry.term, confState: kept } };
      disk.history.push(state);
      this.#checkState(state);
      this.seen.applied++;
    }
  }

  #takeReads(ready: Ready): void {
    for (const { index, context } of ready.readStates) {
      const key = textFromUtf8(context);
      const read = this.#reads.get(key)!;
      invariant(index >= read.asked, () => `${key} may be served at ${index}, but ${read.asked} was applied before it`);
      if (!read.done) this.seen.reads++;
      read.done = true;
    }
  }

  // ---- laws -------------------------------------------------------------------------------------------------------

  #checkCommitted(entry: Entry): void {
    const known = this.#committed.get(entry.index);
    if (known === undefined) {
      this.#committed.set(entry.index, entry);
      return;
    }
    const isSame = known.term === entry.term && known.type === entry.type && equalBytes(known.data, entry.data);
    invariant(isSame, () => `committed twice: ${describeEntry(known)} and ${describeEntry(entry)}`);
  }

  #checkState({ data, metadata }: Snapshot): void {
    const known = this.#states.get(metadata.index);
    if (known === undefined) this.#states.set(metadata.index, data);
    else invariant(equalBytes(known, data), () => `two states at ${metadata.index}`);
    this.#appliedMax = Math.max(this.#appliedMax, metadata.index);
  }

  #checkRoles(): void {
    for (const member of this.#members) {
      const node = this.#upper(member);
      if (node === undefined) continue;
      const { role, term } = node.basicStatus();
      if (role !== "leader") continue;
      const leader = this.#leaders.get(term);
      invariant(leader === undefined || leader === member.id, () => `${leader} and ${member.id} lead term ${term}`);
      if (leader !== undefined) continue;
      this.seen.leaders++;
      this.#leaders.set(term, member.id);
      this.#note(`${member.id} leads term ${term}`);
      this.#checkComplete(member);
    }
  }

  /** What is on the new leader's disk must hold all that is committed: it was elected for it, and has appended nothing but its own. */
  #checkComplete({ id, disk }: Member): void {
    for (let index = disk.firstIndex(); index <= this.#appliedMax; index++) {
      const committed = this.#committed.get(index);
      if (committed === undefined) continue;
      const has = index <= disk.lastIndex() && disk.term(index) === committed.term;
      invariant(has, () => `${id} leads without the committed ${describeEntry(committed)}`);
    }
  }

  #checkLogs(): void {
    for (const a of this.#members) {
      for (const b of this.#members) if (a.id < b.id) checkMatching(a.disk, b.disk);
    }
  }

  // ---- the end ----------------------------------------------------------------------------------------------------

  /** Ends all faults; then the cluster must elect a leader and apply a proposal on every voter. */
  settle(): void {
    this.#faults = false;
    this.#sides.clear();
    for (const member of this.#members) if (!member.isUp) this.#restart(member);
    for (let round = 0; round < 600; round++) {
      this.#quietRound();
      if (round % 10 === 9 && this.#isSettled()) {
        this.#checkLogs();
        return;
      }
    }
    const states = this.#members.map(({ id, node }) => {
      const { role, term, leader, commit, configuration } = node.status();
      return `${id}: ${role} term ${term} leader ${leader} commit ${commit} voters ${configuration.voters.incoming.join()}`;
    });
    throw new Error(`the cluster does not settle: ${states.join("; ")}`);
  }

  #quietRound(): void {
    for (const member of this.#members) member.node.tick();
    for (let work = 0; work < 40; work++) {
      for (const member of this.#members) this.#work(member);
      for (let left = this.#network.length; left > 0; left--) this.#deliverOne();
      this.#steps++;
      this.#checkRoles();
    }
  }

  /** Proposes something, and says whether the last such proposal was applied by all voters. */
  #isSettled(): boolean {
    const leaders = this.#members.filter(({ node }) => node.basicStatus().role === "leader");
    const newest = leaders.sort((a, b) => b.node.basicStatus().term - a.node.basicStatus().term)[0];
    if (newest === undefined) return false;
    const { configuration, commit, term } = newest.node.status();
    if (isJoint(configuration)) {
      // A leader that could not leave by itself tries again when the next entry is applied.
      if (configuration.autoLeave) this.#propose(newest);
      else this.#leaveJoint(newest.node);
      return false;
    }
    const voters = this.#members.filter(({ id }) => configuration.voters.incoming.includes(id));
    const isDone =
      commit > LOG_START &&
      newest.disk.lastIndex() === commit &&
      newest.disk.term(commit) === term &&
      voters.every(({ disk }) => disk.state.metadata.index === commit);
    if (!isDone) this.#propose(newest);
    return isDone;
  }
}

/** From the highest index where both have the same term, downwards, everything must be equal. */
function checkMatching(a: MemoryStorage, b: MemoryStorage): void {
  const low = Math.max(a.firstIndex(), b.firstIndex());
  let agreed = false;
  for (let index = Math.min(a.lastIndex(), b.lastIndex()); index >= low; index--) {
    const [ours] = a.entries(index, index + 1, 0);
    const [theirs] = b.entries(index, index + 1, 0);
    const isSame = ours!.term === theirs!.term && equalBytes(ours!.data, theirs!.data);
    invariant(
      !agreed || isSame,
      () => `logs agree after ${index} and differ there: ${describeEntry(ours!)}, ${describeEntry(theirs!)}`,
    );
    invariant(ours!.term !== theirs!.term || isSame, () => `two entries ${ours!.term}/${index}`);
    if (isSame) agreed = true;
  }
}
