/**
 * Plays with a whole cluster: members that do only what the script tells them, and a network that keeps every message until it is
 * told to deliver or drop it. The commands are those of etcd raft's own plays:
 *
 *     add-nodes N [voters=(1,2)] [learners=(3)] [index=10] [content=text] [inflight=N] [prevote=B] [checkquorum=B]
 *               [async-storage-writes=B] [max-committed-size-per-ready=N] [disable-conf-change-validation=B]
 *               [read-only=safe|lease-based] [step-down-on-removal=B]
 *     campaign ID · propose ID TEXT · propose-conf-change ID [v1=B] [transition=auto|implicit|explicit], steps as input
 *     process-ready ID... · process-append-thread ID... · process-apply-thread ID... · stabilize [ID...] [log-level=LEVEL]
 *     deliver-msgs ID... [drop=(ID...)] [type=MsgApp] · tick-election ID · tick-heartbeat ID
 *     set-randomized-election-timeout ID timeout=N · transfer-leadership from=ID to=ID · forget-leader ID
 *     report-unreachable ID ID · send-snapshot ID ID · compact ID INDEX
 *     log-level LEVEL · raft-log ID · raft-state · status ID
 *
 * and some of this project's own:
 *
 *     add-nodes ... [election-ticks=N] [max-size-per-message=N] [max-inflight-bytes=N] [max-uncommitted-size=N]
 *               [disable-proposal-forwarding=B]
 *     propose-batch ID TEXT... · read-index ID TEXT · report-snapshot ID of=ID ok=B · tick ID N
 *     crash ID [commit=INDEX]    starts the member again from what was written; unsent messages and unfinished work are gone, and
 *                                so is, if given, what came after this commit index, which is not synced on its own
 *     json ID     the status as JSON
 *
 * Members are numbered from 1 in the order in which they were added. The state of a member is the data of all entries that it has
 * applied, one after the other.
 */
import { EMPTY_BYTES, concatBytes } from "../../base/bytes.js";
import { utf8FromText } from "../../base/text.js";
import {
  ConfChangeTransition,
  EMPTY_CONF_STATE,
  EMPTY_HARD_STATE,
  EMPTY_SNAPSHOT,
  equalHardStates,
  makeMessage,
  MessageType,
  type ConfChange,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
} from "../../proto/raft.js";
import type { RaftConfig } from "../config.js";
import { confChangeOf, isConfChange, parseConfChanges } from "../configuration.js";
import { describeEntries, describeMessage, describeReady, describeStatus, roleName } from "../describe.js";
import { RaftError, type RaftErrorCode } from "../errors.js";
import { isLocalTarget } from "../ids.js";
import { messageTypeNamed } from "../message-kinds.js";
import { allVoters } from "../quorum.js";
import { RawNode } from "../raw-node.js";
import { isEmptySnapshot } from "../snapshots.js";
import { MemoryStorage } from "../storage.js";
import { describeProgressMap } from "../tracker.js";
import { mustHave, ScriptOutput, ShownError } from "./output.js";
import { argumentValue, parseBool, parseId, parseUint, ScriptError, type Command } from "./script-file.js";

/** The library's texts of the errors that a command may show. */
const ERROR_TEXTS: Partial<Record<RaftErrorCode, string>> = {
  RAFT_PROPOSAL_DROPPED: "raft proposal dropped",
  RAFT_LOCAL_MESSAGE: "raft: cannot step raft local message",
  RAFT_PEER_UNKNOWN: "raft: cannot step as peer not found",
  RAFT_COMPACTED: "requested index is unavailable due to compaction",
  RAFT_UNAVAILABLE: "requested entry at index is unavailable",
  RAFT_SNAPSHOT_OUT_OF_DATE: "requested index is older than the existing snapshot",
  RAFT_SNAPSHOT_TEMPORARILY_UNAVAILABLE: "snapshot is temporarily unavailable",
};

/** Stabilizing is over long before this many rounds, unless members go on talking for ever. */
const STABILIZE_ROUNDS_MAX = 10_000;

/** What a member is made from; IDs, storage and log come with each member. */
type Template = Omit<RaftConfig, "id" | "storage" | "log" | "random">;

/** What `add-nodes` may change in a template, and how. */
const OPTIONS: Readonly<Record<string, (value: string) => Partial<Template>>> = {
  inflight: (value) => ({ maxInflightMessages: parseUint(value) }),
  "async-storage-writes": (value) => ({ asyncStorageWrites: parseBool(value) }),
  prevote: (value) => ({ preVote: parseBool(value) }),
  checkquorum: (value) => ({ checkQuorum: parseBool(value) }),
  "max-committed-size-per-ready": (value) => ({ maxCommittedSizePerReady: parseUint(value) }),
  "disable-conf-change-validation": (value) => ({ disableConfChangeValidation: parseBool(value) }),
  "read-only": (value) => {
    if (value === "safe" || value === "lease-based") return { readOnlyOption: value };
    throw new ShownError(`invalid read-only option "${value}"`);
  },
  "step-down-on-removal": (value) => ({ stepDownOnRemoval: parseBool(value) }),
  "election-ticks": (value) => ({ electionTicks: parseUint(value) }),
  "max-size-per-message": (value) => ({ maxSizePerMessage: parseUint(value) }),
  "max-inflight-bytes": (value) => ({ maxInflightBytes: parseUint(value) }),
  "max-uncommitted-size": (value) => ({ maxUncommittedEntriesSize: parseUint(value) }),
  "disable-proposal-forwarding": (value) => ({ disableProposalForwarding: parseBool(value) }),
};

/** Gives as its snapshot the newest state that was applied, where a `MemoryStorage` gives the one that was last made. */
class PlayStorage extends MemoryStorage {
  readonly history: Snapshot[];

  constructor(first: Snapshot) {
    super();
    this.history = [first];
  }

  override snapshot(): Snapshot {
    return this.history.at(-1)!;
  }

  override initialState(): { hardState: HardState; confState: ConfState } {
    const { hardState, confState } = super.initialState();
    const newest = this.snapshot().metadata;
    // After a crash the application's state may be ahead of the snapshot that the log starts from, and it has its own configuration.
    return { hardState, confState: newest.index >= this.firstIndex() ? newest.confState : confState };
  }

  /** The index that a member which starts again has applied. */
  appliedIndex(): number {
    return Math.max(this.snapshot().metadata.index, this.firstIndex() - 1);
  }
}

interface Member {
  readonly id: bigint;
  node: RawNode;
  readonly storage: PlayStorage;
  readonly template: Template;
  /** Writes and applications that were asked for and not yet done. */
  readonly appendWork: Message[];
  readonly applyWork: Message[];
}

export class Interaction {
  readonly #members: Member[] = [];
  /** Everything that was sent and neither delivered nor dropped. */
  #network: Message[] = [];
  readonly #output = new ScriptOutput();

  /** @throws ScriptError */
  run(command: Command): string {
    const output = this.#output;
    output.clear();
    try {
      this.#dispatch(command);
    } catch (error) {
      const text = shownText(error);
      if (text === undefined) throw error;
      // Errors are shown even when all else is not.
      if (output.isQuiet()) return text;
      output.write(text);
    }
    return output.text === "" ? "ok" : output.text;
  }

  #dispatch(command: Command): void {
    switch (command.name) {
      case "_breakpoint":
        return;
      case "add-nodes":
        this.#addNodes(command);
        return;
      case "campaign":
        this.#first(command).node.campaign();
        return;
      case "compact": {
        const member = this.#first(command);
        member.storage.compact(parseUint(mustHave(command.args[1], "compact takes a member and an index").key));
        this.#showLog(member);
        return;
      }
      case "deliver-msgs":
        this.#deliverCommand(command);
        return;
      case "process-ready":
        this.#forEach(command, "handling Ready", (member) => this.#processReady(member));
        return;
      case "process-append-thread":
        this.#forEach(command, "processing append thread", (member) => this.#processAppend(member));
        return;
      case "process-apply-thread":
        this.#forEach(command, "processing apply thread", (member) => this.#processApply(member));
        return;
      case "log-level":
        this.#setLevel(mustHave(command.args[0], "log-level takes a level").key);
        return;
      case "raft-log":
        this.#showLog(this.#first(command));
        return;
      case "raft-state":
        this.#showStates();
        return;
      case "set-randomized-election-timeout": {
        const ticks = mustHave(argumentValue(command, "timeout"), "timeout=N is missing");
        this.#first(command).node.overrideElectionTimeout(parseUint(ticks));
        return;
      }
      case "stabilize":
        this.#stabilizeCommand(command);
        return;
      case "status":
        this.#output.write(describeProgressMap(this.#first(command).node.status().progress));
        return;
      case "tick-election": {
        const { node, template } = this.#first(command);
        for (let tick = 0; tick < template.electionTicks; tick++) node.tick();
        return;
      }
      case "tick-heartbeat": {
        const { node, template } = this.#first(command);
        for (let tick = 0; tick < template.heartbeatTicks; tick++) node.tick();
        return;
      }
      case "transfer-leadership": {
        const from = this.#member(mustHave(argumentValue(command, "from"), "from=ID is missing"));
        const to = this.#member(mustHave(argumentValue(command, "to"), "to=ID is missing"));
        from.node.transferLeader(to.id);
        return;
      }
      case "forget-leader":
        this.#first(command).node.forgetLeader();
        return;
      case "send-snapshot":
        this.#sendSnapshot(command);
        return;
      case "propose":
        this.#propose(command);
        return;
      case "propose-conf-change":
        this.#proposeConfChange(command);
        return;
      case "report-unreachable": {
        const [on, of, ...more] = this.#named(command);
        if (on === undefined || of === undefined || more.length > 0) {
          throw new ShownError("must specify exactly two node indexes: node on which to report, and reported node");
        }
        on.node.reportUnreachable(of.id);
        return;
      }
      default:
        this.#dispatchOwn(command);
    }
  }

  /** The commands that upstream's plays do not have. */
  #dispatchOwn(command: Command): void {
    switch (command.name) {
      case "propose-batch":
        this.#first(command).node.proposeBatch(command.args.slice(1).map(({ key }) => utf8FromText(key)));
        return;
      case "read-index":
        this.#first(command).node.readIndex(utf8FromText(mustHave(command.args[1], "read-index takes a word").key));
        return;
      case "report-snapshot": {
        const of = this.#member(mustHave(argumentValue(command, "of"), "of=ID is missing"));
        const ok = parseBool(mustHave(argumentValue(command, "ok"), "ok=BOOL is missing"));
        this.#first(command).node.reportSnapshot(of.id, ok);
        return;
      }
      case "tick": {
        const { node } = this.#first(command);
        const ticks = parseUint(mustHave(command.args[1], "tick takes a member and a number").key);
        for (let tick = 0; tick < ticks; tick++) node.tick();
        return;
      }
      case "crash":
        this.#crash(this.#first(command), argumentValue(command, "commit"));
        return;
      case "json":
        this.#output.write(describeStatus(this.#first(command).node.status()));
        return;
      default:
        throw new ShownError("unknown command");
    }
  }

  #crash(member: Member, commit: string | undefined): void {
    if (commit !== undefined) {
      const { hardState } = member.storage.initialState();
      member.storage.setHardState({ ...hardState, commit: parseUint(commit) });
    }
    member.appendWork.length = 0;
    member.applyWork.length = 0;
    this.#network = this.#network.filter((message) => message.to !== member.id || !isWithinMember(message));
    const template = { ...member.template, applied: member.storage.appliedIndex() };
    member.node = this.#nodeFor(member.id, template, member.storage);
  }

  #nodeFor(id: bigint, template: Template, storage: PlayStorage): RawNode {
    return new RawNode({ ...template, id, storage, log: this.#output, random: { below: () => 0 } });
  }

  // ---- members ----------------------------------------------------------------------------------------------------

  #member(text: string): Member {
    return mustHave(this.#members[Number(parseId(text)) - 1], `there is no member ${text}`);
  }

  #first(command: Command): Member {
    return this.#member(mustHave(command.args[0], `${command.name} takes a member`).key);
  }

  /** The members given without `key=`. */
  #named(command: Command): Member[] {
    return command.args.filter(({ values }) => values.length === 0).map(({ key }) => this.#member(key));
  }

  /** Runs `body` for the members named; when there are several, each with a headline and indented. */
  #forEach(command: Command, headline: string, body: (member: Member) => void): void {
    const members = this.#named(command);
    for (const member of members) {
      if (members.length === 1) body(member);
      else this.#section(member, headline, body);
    }
  }

  #section(member: Member, headline: string, body: (member: Member) => void): void {
    this.#output.write(`> ${member.id} ${headline}\n`);
    // An error ends the command, but what was written before it is shown.
    const failure = this.#output.indented((): { error: unknown } | undefined => {
      try {
        body(member);
        return undefined;
      } catch (error) {
        return { error };
      }
    });
    // oxlint-disable-next-line typescript/only-throw-error
    if (failure !== undefined) throw failure.error;
  }

  #addNodes(command: Command): void {
    const count = parseUint(mustHave(command.args[0], "add-nodes takes a number").key);
    const voters: bigint[] = [];
    const learners: bigint[] = [];
    let index = 0;
    let data = EMPTY_BYTES;
    let template: Template = {
      electionTicks: 3,
      heartbeatTicks: 1,
      maxSizePerMessage: Number.POSITIVE_INFINITY,
      maxInflightMessages: 0x7fff_ffff,
    };
    for (const { key, values } of command.args.slice(1)) {
      for (const value of values) {
        if (key === "voters") voters.push(parseId(value));
        else if (key === "learners") learners.push(parseId(value));
        else if (key === "index") index = parseUint(value);
        else if (key === "content") data = utf8FromText(value);
        else template = { ...template, ...mustHave(OPTIONS[key], `unknown option ${key}`)(value) };
      }
    }
    if (index > 0) template = { ...template, applied: index };
    const confState = { ...EMPTY_CONF_STATE, voters, learners };
    const isEmpty = index === 0 && voters.length === 0 && learners.length === 0 && data.length === 0;
    if (!isEmpty && index <= 1) throw new ShownError("index must be specified as > 1 due to bootstrap");
    const snapshot = isEmpty ? EMPTY_SNAPSHOT : { data, metadata: { index, term: 1, confState } };
    for (let added = 0; added < count; added++) this.#addNode(template, snapshot);
  }

  #addNode(template: Template, snapshot: Snapshot): void {
    const id = BigInt(this.#members.length + 1);
    const storage = new PlayStorage(snapshot);
    if (!isEmptySnapshot(snapshot)) storage.applySnapshot(snapshot);
    const node = this.#nodeFor(id, template, storage);
    this.#members.push({ id, node, storage, template, appendWork: [], applyWork: [] });
  }

  // ---- proposals --------------------------------------------------------------------------------------------------

  #propose(command: Command): void {
    const [, data, ...more] = command.args;
    if (data === undefined || data.values.length > 0 || more.length > 0) {
      throw new ScriptError("propose takes a member and a word");
    }
    this.#first(command).node.propose(utf8FromText(data.key));
  }

  #proposeConfChange(command: Command): void {
    const member = this.#first(command);
    let isV1 = false;
    let transition: ConfChangeTransition = ConfChangeTransition.auto;
    for (const { key, values } of command.args.slice(1)) {
      for (const value of values) {
        if (key === "v1") isV1 = parseBool(value);
        else if (key === "transition") transition = parseTransition(value);
        else throw new ShownError(`unknown command ${key}`);
      }
    }
    const changes = parseConfChanges(command.input);
    if ("error" in changes) throw new ShownError(changes.error);
    let change: ConfChange | ConfChangeV2 = { transition, changes, context: EMPTY_BYTES };
    if (isV1) {
      const [single, ...more] = changes;
      if (more.length > 0 || transition !== ConfChangeTransition.auto) {
        throw new ShownError("v1 conf change can only have one operation and no transition");
      }
      change = { id: 0n, context: EMPTY_BYTES, ...mustHave(single, "v1 conf change without an operation") };
    }
    member.node.proposeConfChange(change);
  }

  // ---- a member's work --------------------------------------------------------------------------------------------

  #processReady(member: Member): void {
    const { node, template } = member;
    const ready = node.ready();
    this.#output.write(describeReady(ready));
    const isAsync = template.asyncStorageWrites === true;
    if (!isAsync) {
      save(member.storage, ready.hardState ?? EMPTY_HARD_STATE, ready.entries, ready.snapshot);
      apply(member, ready.committedEntries);
    }
    for (const message of ready.messages) {
      if (!isLocalTarget(message.to)) this.#network.push(message);
      else if (message.type === MessageType.storageAppend) member.appendWork.push(message);
      else member.applyWork.push(message);
    }
    if (!isAsync) node.advance();
  }

  #processAppend(member: Member): void {
    const message = member.appendWork.shift();
    if (message === undefined) {
      this.#output.write("no append work to perform");
      return;
    }
    this.#output.write(`Processing:\n${describeMessage({ ...message, responses: [] })}\n`);
    save(member.storage, message, message.entries, message.snapshot);
    this.#respond(message);
  }

  #processApply(member: Member): void {
    const message = member.applyWork.shift();
    if (message === undefined) {
      this.#output.write("no apply work to perform");
      return;
    }
    this.#output.write(`Processing:\n${describeMessage({ ...message, responses: [] })}\n`);
    apply(member, message.entries);
    this.#respond(message);
  }

  #respond(message: Message): void {
    this.#output.write("Responses:\n");
    for (const response of message.responses) this.#output.write(`${describeMessage(response)}\n`);
    this.#network.push(...message.responses);
  }

  // ---- network ----------------------------------------------------------------------------------------------------

  #deliverCommand(command: Command): void {
    const receivers: { id: bigint; drop: boolean }[] = [];
    let type: MessageType | undefined;
    for (const { key, values } of command.args) {
      if (values.length === 0) receivers.push({ id: parseId(key), drop: false });
      for (const value of values) {
        if (key === "drop") {
          const id = parseId(value);
          if (receivers.some((other) => other.id === id)) {
            throw new ScriptError(`can't both deliver and drop msgs to ${id}`);
          }
          receivers.push({ id, drop: true });
        } else if (key === "type") {
          type = mustHave(messageTypeNamed(value), `unknown message type ${value}`);
        }
      }
    }
    let handled = 0;
    for (const { id, drop } of receivers) handled += this.#deliver(id, type, drop);
    if (handled === 0) this.#output.write("no messages\n");
  }

  /** Delivers or drops what is on its way to `id`, in order of sending; says how much that was. */
  #deliver(id: bigint, type: MessageType | undefined, drop: boolean): number {
    const wanted = (message: Message): boolean =>
      message.to === id && (type === undefined || message.type === type) && !(drop && isWithinMember(message));
    const chosen = this.#network.filter(wanted);
    this.#network = this.#network.filter((message) => !wanted(message));
    for (const message of chosen) {
      this.#output.write(`${drop ? "dropped: " : ""}${describeMessage(message)}\n`);
      if (drop) continue;
      try {
        this.#member(String(id)).node.step(message);
      } catch (error) {
        const text = shownText(error);
        if (text === undefined) throw error;
        this.#output.write(`${text}\n`);
      }
    }
    return chosen.length;
  }

  #sendSnapshot(command: Command): void {
    const [from, to] = this.#named(command);
    if (from === undefined || to === undefined) throw new ScriptError("send-snapshot takes two members");
    const { term } = from.node.basicStatus();
    const snapshot = from.storage.snapshot();
    const message = makeMessage({ type: MessageType.snapshot, term, from: from.id, to: to.id, snapshot });
    this.#network.push(message);
    this.#output.write(describeMessage(message));
  }

  #stabilizeCommand(command: Command): void {
    const before = this.#output.level;
    try {
      const level = argumentValue(command, "log-level");
      if (level !== undefined) this.#setLevel(level);
      const named = this.#named(command);
      this.#stabilize(named.length > 0 ? named : this.#members);
    } finally {
      this.#output.level = before;
    }
  }

  /** Lets the members work and talk until there is nothing left to do. */
  #stabilize(members: readonly Member[]): void {
    for (let round = 0; round < STABILIZE_ROUNDS_MAX; round++) {
      let busy = false;
      for (const member of members) {
        if (!member.node.hasReady()) continue;
        this.#section(member, "handling Ready", () => this.#processReady(member));
        busy = true;
      }
      for (const member of members) {
        if (!this.#network.some(({ to }) => to === member.id)) continue;
        this.#section(member, "receiving messages", () => this.#deliver(member.id, undefined, false));
        busy = true;
      }
      for (const member of members) busy = this.#drain(member, member.appendWork, "append") || busy;
      for (const member of members) busy = this.#drain(member, member.applyWork, "apply") || busy;
      if (!busy) return;
    }
    throw new ScriptError(`members still talk after ${STABILIZE_ROUNDS_MAX} rounds`);
  }

  #drain(member: Member, work: readonly Message[], thread: "append" | "apply"): boolean {
    if (work.length === 0) return false;
    this.#section(member, `processing ${thread} thread`, () => {
      while (work.length > 0) {
        if (thread === "append") this.#processAppend(member);
        else this.#processApply(member);
      }
    });
    return true;
  }

  // ---- looking ----------------------------------------------------------------------------------------------------

  #setLevel(name: string): void {
    const wrong = this.#output.setLevel(name);
    if (wrong !== undefined) throw new ShownError(wrong);
  }

  #showLog({ storage }: Member): void {
    const first = storage.firstIndex();
    const last = storage.lastIndex();
    this.#output.write(
      last < first
        ? `log is empty: first index=${first}, last index=${last}`
        : describeEntries(storage.entries(first, last + 1, Number.POSITIVE_INFINITY)),
    );
  }

  #showStates(): void {
    for (const { node } of this.#members) {
      const { id, role, term, leader, configuration } = node.status();
      const voter = allVoters(configuration.voters).includes(id) ? "(Voter)" : "(Non-Voter)";
      this.#output.write(`${id}: ${roleName(role)} ${voter} Term:${term} Lead:${leader}\n`);
    }
  }
}

function parseTransition(text: string): ConfChangeTransition {
  if (text === "auto") return ConfChangeTransition.auto;
  if (text === "implicit") return ConfChangeTransition.jointImplicit;
  if (text === "explicit") return ConfChangeTransition.jointExplicit;
  throw new ShownError(`unknown transition ${text}`);
}

/** What a command shows of an error; undefined for one that nobody foresaw. */
function shownText(error: unknown): string | undefined {
  if (error instanceof ShownError) return error.message;
  return error instanceof RaftError ? ERROR_TEXTS[error.code] : undefined;
}

/** Messages between a member and its own workers cannot get lost. */
function isWithinMember({ from, to }: Message): boolean {
  return from === to || isLocalTarget(from) || isLocalTarget(to);
}

/** The disk's part. */
function save(
  storage: MemoryStorage,
  { term, vote, commit }: HardState,
  entries: readonly Entry[],
  snapshot: Snapshot | undefined,
): void {
  const hardState = { term, vote, commit };
  if (!equalHardStates(hardState, EMPTY_HARD_STATE)) storage.setHardState(hardState);
  if (snapshot === undefined || isEmptySnapshot(snapshot)) {
    storage.append(entries);
  } else {
    if (entries.length > 0) throw new ShownError("can't apply snapshot and entries at the same time");
    storage.applySnapshot(snapshot);
  }
}

/** The application's part: its state is the text of all entries. */
function apply({ node, storage }: Member, entries: readonly Entry[]): void {
  for (const entry of entries) {
    const previous = storage.history.at(-1)!;
    let update = entry.data;
    let confState: ConfState = previous.metadata.confState;
    if (isConfChange(entry)) {
      const change = confChangeOf(entry);
      confState = node.applyConfChange(change);
      update = change.context;
    }
    const data = concatBytes([previous.data, update]);
    storage.history.push({ data, metadata: { index: entry.index, term: entry.term, confState } });
  }
}
