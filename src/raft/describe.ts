/**
 * Text forms, shared by logs, scripts, errors and the dump tools. They are etcd raft's, letter by letter, so that what is known
 * about reading them holds here too, and its scripts can be compared.
 */
import { describeError } from "../base/errors.js";
import {
  ConfChangeTransition,
  ConfChangeType,
  EntryType,
  type ConfChange,
  type ConfChangeV2,
  type ConfState,
  type Entry,
  type HardState,
  type Message,
  type Snapshot,
} from "../proto/raft.js";
import { asConfChangeV2, confChangeOf, describeConfChanges } from "./configuration.js";
import type { RaftRole, SoftState } from "./core.js";
import { idText, LOCAL_APPEND_THREAD, LOCAL_APPLY_THREAD, NONE } from "./ids.js";
import { messageTypeName } from "./message-kinds.js";
import { progressStateName } from "./progress.js";
import { sortedIds } from "./quorum.js";
import { quoteBytes } from "../base/go-quote.js";
import type { Ready } from "./raw-node.js";
import type { ReadState } from "./read-index.js";
import { isEmptySnapshot } from "./snapshots.js";
import type { Status } from "./status.js";

/** How the data of an ordinary entry is shown; an empty text shows nothing. */
export type EntryFormatter = (data: Uint8Array) => string;

const ENTRY_TYPES: Readonly<Record<EntryType, string>> = {
  [EntryType.normal]: "EntryNormal",
  [EntryType.confChange]: "EntryConfChange",
  [EntryType.confChangeV2]: "EntryConfChangeV2",
};

const TRANSITIONS: Readonly<Record<ConfChangeTransition, string>> = {
  [ConfChangeTransition.auto]: "ConfChangeTransitionAuto",
  [ConfChangeTransition.jointImplicit]: "ConfChangeTransitionJointImplicit",
  [ConfChangeTransition.jointExplicit]: "ConfChangeTransitionJointExplicit",
};

const CHANGE_TYPES: Readonly<Record<ConfChangeType, string>> = {
  [ConfChangeType.addNode]: "ConfChangeAddNode",
  [ConfChangeType.removeNode]: "ConfChangeRemoveNode",
  [ConfChangeType.updateNode]: "ConfChangeUpdateNode",
  [ConfChangeType.addLearnerNode]: "ConfChangeAddLearnerNode",
};

const ROLES: Readonly<Record<RaftRole, string>> = {
  follower: "StateFollower",
  candidate: "StateCandidate",
  leader: "StateLeader",
  "pre-candidate": "StatePreCandidate",
};

/** `EntryNormal` and the like. */
export function entryTypeName(type: EntryType): string {
  return ENTRY_TYPES[type];
}

/** `StateFollower` and the like. */
export function roleName(role: RaftRole): string {
  return ROLES[role];
}

/** `Term:1 Vote:2 Commit:3`, the vote left out when there is none. */
export function describeHardState({ term, vote, commit }: HardState): string {
  return `Term:${term}${vote === NONE ? "" : ` Vote:${vote}`} Commit:${commit}`;
}

/** `Lead:1 State:StateLeader`. */
export function describeSoftState({ leader, role }: SoftState): string {
  return `Lead:${leader} State:${ROLES[role]}`;
}

/** `Voters:[1 2] VotersOutgoing:[] Learners:[] LearnersNext:[] AutoLeave:false`. */
export function describeConfState(state: ConfState): string {
  const list = (ids: readonly bigint[]): string => `[${ids.join(" ")}]`;
  return (
    `Voters:${list(state.voters)} VotersOutgoing:${list(state.votersOutgoing)} Learners:${list(state.learners)} ` +
    `LearnersNext:${list(state.learnersNext)} AutoLeave:${state.autoLeave}`
  );
}

/** `Index:3 Term:1 ConfState:...`. */
export function describeSnapshot({ metadata }: Snapshot): string {
  return `Index:${metadata.index} Term:${metadata.term} ConfState:${describeConfState(metadata.confState)}`;
}

/** `Term/Index Type data`; configuration changes as `v1 l2 r3 u4`. */
export function describeEntry(entry: Entry, format: EntryFormatter = quoteBytes): string {
  const shown = entry.type === EntryType.normal ? format(entry.data) : describeConfChangeEntry(entry);
  return `${entry.term}/${entry.index} ${ENTRY_TYPES[entry.type]}${shown === "" ? "" : ` ${shown}`}`;
}

function describeConfChangeEntry(entry: Entry): string {
  try {
    return describeConfChanges(confChangeOf(entry).changes);
  } catch (error) {
    return describeError(error);
  }
}

/** One line for each entry. */
export function describeEntries(entries: readonly Entry[], format?: EntryFormatter): string {
  return entries.map((entry) => `${describeEntry(entry, format)}\n`).join("");
}

/** `transition:... changes:{type:... node_id:...} context:"..."`. */
export function describeConfChange(change: ConfChange | ConfChangeV2): string {
  const { transition, changes, context } = asConfChangeV2(change);
  const steps = changes.map(({ type, nodeId }) => ` changes:{type:${CHANGE_TYPES[type]} node_id:${nodeId}}`).join("");
  return `transition:${TRANSITIONS[transition]}${steps}${context.length > 0 ? ` context:${quoteBytes(context)}` : ""}`;
}

/** `From->To Type Term:1 Log:term/index ...`, over several lines when it carries much. */
export function describeMessage(message: Message, format?: EntryFormatter): string {
  return describeIndented("", message, format);
}

function describeIndented(indent: string, message: Message, format: EntryFormatter | undefined): string {
  const { from, to, type, term, logTerm, index, entries, snapshot, responses } = message;
  let text = `${indent}${describeTarget(from)}->${describeTarget(to)} ${messageTypeName(type)} `;
  text += `Term:${term} Log:${logTerm}/${index}`;
  if (message.reject) text += ` Rejected (Hint: ${message.rejectHint})`;
  if (message.commit !== 0) text += ` Commit:${message.commit}`;
  if (message.vote !== NONE) text += ` Vote:${message.vote}`;
  if (entries.length === 1) {
    text += ` Entries:[${describeEntry(entries[0]!, format)}]`;
  } else if (entries.length > 1) {
    const lines = entries.map((entry) => `\n${indent}  ${describeEntry(entry, format)}`);
    text += ` Entries:[${lines.join("")}\n${indent}]`;
  }
  if (snapshot !== undefined && !isEmptySnapshot(snapshot)) {
    text += `\n${indent}  Snapshot: ${describeSnapshot(snapshot)}`;
  }
  if (responses.length > 0) {
    const lines = responses.map((response) => `\n${describeIndented(`${indent}  `, response, format)}`);
    text += ` Responses:[${lines.join("")}\n${indent}]`;
  }
  return text;
}

function describeTarget(id: bigint): string {
  if (id === NONE) return "None";
  if (id === LOCAL_APPEND_THREAD) return "AppendThread";
  return id === LOCAL_APPLY_THREAD ? "ApplyThread" : idText(id);
}

function describeReadState({ index, context }: ReadState): string {
  return `{${index} [${context.join(" ")}]}`;
}

/** What a `Ready` asks for, part by part; `<empty Ready>` when nothing. */
export function describeReady(ready: Ready, format?: EntryFormatter): string {
  let text = "";
  if (ready.softState !== undefined) text += `${describeSoftState(ready.softState)}\n`;
  if (ready.hardState !== undefined) text += `HardState ${describeHardState(ready.hardState)}\n`;
  if (ready.readStates.length > 0) text += `ReadStates [${ready.readStates.map(describeReadState).join(" ")}]\n`;
  if (ready.entries.length > 0) text += `Entries:\n${describeEntries(ready.entries, format)}`;
  if (ready.snapshot !== undefined) text += `Snapshot ${describeSnapshot(ready.snapshot)}\n`;
  if (ready.committedEntries.length > 0) {
    text += `CommittedEntries:\n${describeEntries(ready.committedEntries, format)}`;
  }
  if (ready.messages.length > 0) {
    text += `Messages:\n${ready.messages.map((message) => `${describeMessage(message, format)}\n`).join("")}`;
  }
  return text === "" ? "<empty Ready>" : `Ready MustSync=${ready.mustSync}:\n${text}`;
}

/** A status as one line of JSON. */
export function describeStatus(status: Status): string {
  const progress = sortedIds(status.progress.keys()).map((id) => {
    const { match, next, state } = status.progress.get(id)!;
    return `"${idText(id)}":{"match":${match},"next":${next},"state":"${progressStateName(state)}"}`;
  });
  return (
    `{"id":"${idText(status.id)}","term":${status.term},"vote":"${idText(status.vote)}","commit":${status.commit},` +
    `"lead":"${idText(status.leader)}","raftState":"${ROLES[status.role]}","applied":${status.applied},` +
    `"progress":{${progress.join(",")}},"leadtransferee":"${idText(status.leadTransferee)}"}`
  );
}
