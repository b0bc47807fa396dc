/**
 * raft's messages (etcd's `raftpb`): types and codecs.
 *
 * Law: what Go writes, these write. Fields that etcd always writes are written even when zero (design decision 8); bytes are
 * written when there are any. Decoders accept fields in any order, keep the last of a repeated scalar, and pass over
 * unknown ones, as protobuf asks. Decoded `Uint8Array`s are views of the input.
 *
 * Terms and indexes are whole numbers in `[0, 2^53-1]`; larger ones are refused on entry with `WIRE_OUT_OF_RANGE`.
 */
import { EMPTY_BYTES, equalBytes, WireError, WireReader, WireWriter } from "../base/bytes.js";

export const EntryType = { normal: 0, confChange: 1, confChangeV2: 2 } as const;
export type EntryType = (typeof EntryType)[keyof typeof EntryType];

export interface Entry {
  readonly type: EntryType;
  readonly term: number;
  readonly index: number;
  readonly data: Uint8Array;
}

export interface HardState {
  readonly term: number;
  /** The member voted for in `term`; 0n when none. */
  readonly vote: bigint;
  readonly commit: number;
}

export interface ConfState {
  readonly voters: readonly bigint[];
  readonly learners: readonly bigint[];
  readonly votersOutgoing: readonly bigint[];
  readonly learnersNext: readonly bigint[];
  readonly autoLeave: boolean;
}

export interface SnapshotMetadata {
  readonly confState: ConfState;
  readonly index: number;
  readonly term: number;
}

export interface Snapshot {
  readonly data: Uint8Array;
  readonly metadata: SnapshotMetadata;
}

export const MessageType = {
  hup: 0,
  beat: 1,
  propose: 2,
  append: 3,
  appendResponse: 4,
  vote: 5,
  voteResponse: 6,
  snapshot: 7,
  heartbeat: 8,
  heartbeatResponse: 9,
  unreachable: 10,
  snapshotStatus: 11,
  checkQuorum: 12,
  transferLeader: 13,
  timeoutNow: 14,
  readIndex: 15,
  readIndexResponse: 16,
  preVote: 17,
  preVoteResponse: 18,
  storageAppend: 19,
  storageAppendResponse: 20,
  storageApply: 21,
  storageApplyResponse: 22,
  forgetLeader: 23,
} as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

const LOCAL_MESSAGES: ReadonlySet<MessageType> = new Set([
  MessageType.hup,
  MessageType.beat,
  MessageType.unreachable,
  MessageType.snapshotStatus,
  MessageType.checkQuorum,
  MessageType.storageAppend,
  MessageType.storageAppendResponse,
  MessageType.storageApply,
  MessageType.storageApplyResponse,
]);

/** Whether only the member itself, or a worker of its, may make such a message. From another member it is an attack or a bug, and raft would obey. */
export function isLocalMessage(type: MessageType): boolean {
  return LOCAL_MESSAGES.has(type);
}

export interface Message {
  readonly type: MessageType;
  readonly to: bigint;
  readonly from: bigint;
  readonly term: number;
  readonly logTerm: number;
  readonly index: number;
  readonly entries: readonly Entry[];
  readonly commit: number;
  /** Only in local storage messages. */
  readonly vote: bigint;
  readonly snapshot: Snapshot | undefined;
  readonly reject: boolean;
  readonly rejectHint: number;
  readonly context: Uint8Array;
  /** Only in local storage messages. */
  readonly responses: readonly Message[];
}

export const ConfChangeType = { addNode: 0, removeNode: 1, updateNode: 2, addLearnerNode: 3 } as const;
export type ConfChangeType = (typeof ConfChangeType)[keyof typeof ConfChangeType];

export const ConfChangeTransition = { auto: 0, jointImplicit: 1, jointExplicit: 2 } as const;
export type ConfChangeTransition = (typeof ConfChangeTransition)[keyof typeof ConfChangeTransition];

export interface ConfChange {
  readonly id: bigint;
  readonly type: ConfChangeType;
  readonly nodeId: bigint;
  readonly context: Uint8Array;
}

export interface ConfChangeSingle {
  readonly type: ConfChangeType;
  readonly nodeId: bigint;
}

export interface ConfChangeV2 {
  readonly transition: ConfChangeTransition;
  readonly changes: readonly ConfChangeSingle[];
  readonly context: Uint8Array;
}

export const EMPTY_CONF_STATE: ConfState = {
  voters: [],
  learners: [],
  votersOutgoing: [],
  learnersNext: [],
  autoLeave: false,
};

export const EMPTY_SNAPSHOT: Snapshot = {
  data: EMPTY_BYTES,
  metadata: { confState: EMPTY_CONF_STATE, index: 0, term: 0 },
};

export const EMPTY_HARD_STATE: HardState = { term: 0, vote: 0n, commit: 0 };

const NO_ENTRIES: readonly Entry[] = [];
const NO_MESSAGES: readonly Message[] = [];

/** A message with every field that is not given at its zero. Field by field, since a spread costs several times as much. */
export function makeMessage(fields: Partial<Message> & Pick<Message, "type">): Message {
  return {
    type: fields.type,
    to: fields.to ?? 0n,
    from: fields.from ?? 0n,
    term: fields.term ?? 0,
    logTerm: fields.logTerm ?? 0,
    index: fields.index ?? 0,
    entries: fields.entries ?? NO_ENTRIES,
    commit: fields.commit ?? 0,
    vote: fields.vote ?? 0n,
    snapshot: fields.snapshot,
    reject: fields.reject ?? false,
    rejectHint: fields.rejectHint ?? 0,
    context: fields.context ?? EMPTY_BYTES,
    responses: fields.responses ?? NO_MESSAGES,
  };
}

export function equalHardStates(a: HardState, b: HardState): boolean {
  return a.term === b.term && a.vote === b.vote && a.commit === b.commit;
}

// ---- entries ------------------------------------------------------------------------------------------------------

/** Bytes that `writeEntry` will write. */
export function entrySize(entry: Entry): number {
  const data = entry.data.length;
  return 2 + 1 + varintSize(entry.term) + 1 + varintSize(entry.index) + (data > 0 ? 1 + varintSize(data) + data : 0);
}

export function varintSize(value: number): number {
  let size = 1;
  for (let rest = value; rest > 0x7f; rest = Math.floor(rest / 128)) size++;
  return size;
}

export function writeEntry(writer: WireWriter, entry: Entry): void {
  writer.uintField(1, entry.type).uintField(2, entry.term).uintField(3, entry.index);
  if (entry.data.length > 0) writer.bytesField(4, entry.data);
}

export function encodeEntry(entry: Entry): Uint8Array {
  return encodeWith(writeEntry, entry);
}

export function decodeEntry(bytes: Uint8Array): Entry {
  return readEntry(new WireReader(bytes));
}

function readEntry(reader: WireReader): Entry {
  let type = 0;
  let term = 0;
  let index = 0;
  let data = EMPTY_BYTES;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) type = reader.varint();
    else if (tag === 0x10) term = reader.varint();
    else if (tag === 0x18) index = reader.varint();
    else if (tag === 0x22) data = reader.bytes();
    else reader.skip(tag);
  }
  return { type: known(type, 2, "entry type"), term, index, data };
}

// ---- hard state ---------------------------------------------------------------------------------------------------

export function encodeHardState(state: HardState): Uint8Array {
  return encodeWith((writer, value) => {
    writer.uintField(1, value.term).uint64Field(2, value.vote).uintField(3, value.commit);
  }, state);
}

export function decodeHardState(bytes: Uint8Array): HardState {
  const reader = new WireReader(bytes);
  let term = 0;
  let vote = 0n;
  let commit = 0;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) term = reader.varint();
    else if (tag === 0x10) vote = reader.varint64();
    else if (tag === 0x18) commit = reader.varint();
    else reader.skip(tag);
  }
  return { term, vote, commit };
}

// ---- configuration ------------------------------------------------------------------------------------------------

export function writeConfState(writer: WireWriter, state: ConfState): void {
  for (const id of state.voters) writer.uint64Field(1, id);
  for (const id of state.learners) writer.uint64Field(2, id);
  for (const id of state.votersOutgoing) writer.uint64Field(3, id);
  for (const id of state.learnersNext) writer.uint64Field(4, id);
  writer.boolField(5, state.autoLeave);
}

export function encodeConfState(state: ConfState): Uint8Array {
  return encodeWith(writeConfState, state);
}

export function decodeConfState(bytes: Uint8Array): ConfState {
  return readConfState(new WireReader(bytes));
}

function readConfState(reader: WireReader): ConfState {
  const lists: [bigint[], bigint[], bigint[], bigint[]] = [[], [], [], []];
  let autoLeave = false;
  while (!reader.done) {
    const tag = reader.tag();
    const list = lists[(tag >> 3) - 1];
    if (list !== undefined && tag % 8 === 0) list.push(reader.varint64());
    else if (list !== undefined && tag % 8 === 2) {
      const packed = reader.message();
      while (!packed.done) list.push(packed.varint64());
    } else if (tag === 0x28) autoLeave = reader.bool();
    else reader.skip(tag);
  }
  const [voters, learners, votersOutgoing, learnersNext] = lists;
  return { voters, learners, votersOutgoing, learnersNext, autoLeave };
}

export function encodeConfChange(change: ConfChange): Uint8Array {
  return encodeWith((writer, value) => {
    writer.uint64Field(1, value.id).uintField(2, value.type).uint64Field(3, value.nodeId);
    if (value.context.length > 0) writer.bytesField(4, value.context);
  }, change);
}

export function decodeConfChange(bytes: Uint8Array): ConfChange {
  const reader = new WireReader(bytes);
  let id = 0n;
  let type = 0;
  let nodeId = 0n;
  let context = EMPTY_BYTES;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) id = reader.varint64();
    else if (tag === 0x10) type = reader.varint();
    else if (tag === 0x18) nodeId = reader.varint64();
    else if (tag === 0x22) context = reader.bytes();
    else reader.skip(tag);
  }
  return { id, type: known(type, 3, "configuration change type"), nodeId, context };
}

export function encodeConfChangeV2(change: ConfChangeV2): Uint8Array {
  return encodeWith((writer, value) => {
    writer.uintField(1, value.transition);
    const inner = new WireWriter(32);
    for (const single of value.changes) {
      inner.reset();
      inner.uintField(1, single.type).uint64Field(2, single.nodeId);
      writer.bytesField(2, inner.view());
    }
    if (value.context.length > 0) writer.bytesField(3, value.context);
  }, change);
}

export function decodeConfChangeV2(bytes: Uint8Array): ConfChangeV2 {
  const reader = new WireReader(bytes);
  let transition = 0;
  let context = EMPTY_BYTES;
  const changes: ConfChangeSingle[] = [];
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) transition = reader.varint();
    else if (tag === 0x12) changes.push(readConfChangeSingle(reader.message()));
    else if (tag === 0x1a) context = reader.bytes();
    else reader.skip(tag);
  }
  return { transition: known(transition, 2, "configuration change transition"), changes, context };
}

function readConfChangeSingle(reader: WireReader): ConfChangeSingle {
  let type = 0;
  let nodeId = 0n;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) type = reader.varint();
    else if (tag === 0x10) nodeId = reader.varint64();
    else reader.skip(tag);
  }
  return { type: known(type, 3, "configuration change type"), nodeId };
}

// ---- snapshots ----------------------------------------------------------------------------------------------------

export function writeSnapshot(writer: WireWriter, snapshot: Snapshot): void {
  if (snapshot.data.length > 0) writer.bytesField(1, snapshot.data);
  const metadata = new WireWriter(64);
  metadata.bytesField(1, encodeConfState(snapshot.metadata.confState));
  metadata.uintField(2, snapshot.metadata.index).uintField(3, snapshot.metadata.term);
  writer.bytesField(2, metadata.view());
}

export function encodeSnapshot(snapshot: Snapshot): Uint8Array {
  return encodeWith(writeSnapshot, snapshot);
}

export function decodeSnapshot(bytes: Uint8Array): Snapshot {
  return readSnapshot(new WireReader(bytes));
}

function readSnapshot(reader: WireReader): Snapshot {
  let data = EMPTY_BYTES;
  let metadata = EMPTY_SNAPSHOT.metadata;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) data = reader.bytes();
    else if (tag === 0x12) metadata = readSnapshotMetadata(reader.message());
    else reader.skip(tag);
  }
  return { data, metadata };
}

function readSnapshotMetadata(reader: WireReader): SnapshotMetadata {
  let confState = EMPTY_CONF_STATE;
  let index = 0;
  let term = 0;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) confState = readConfState(reader.message());
    else if (tag === 0x10) index = reader.varint();
    else if (tag === 0x18) term = reader.varint();
    else reader.skip(tag);
  }
  return { confState, index, term };
}

// ---- messages between members -------------------------------------------------------------------------------------

const NO_SNAPSHOT_BYTES = encodeSnapshot(EMPTY_SNAPSHOT);

/** As etcd 3.5 writes it: a message without a snapshot carries an empty one. */
export function encodeMessage(message: Message): Uint8Array {
  return encodeWith(writeMessage, message);
}

/** The same into a writer, for those who send many. */
export function writeMessage(writer: WireWriter, message: Message): void {
  writer.uintField(1, message.type).uint64Field(2, message.to).uint64Field(3, message.from);
  writer.uintField(4, message.term).uintField(5, message.logTerm).uintField(6, message.index);
  for (const entry of message.entries) {
    writer.tag(7, 2).varint(entrySize(entry));
    writeEntry(writer, entry);
  }
  writer.uintField(8, message.commit);
  writer.bytesField(9, message.snapshot === undefined ? NO_SNAPSHOT_BYTES : encodeSnapshot(message.snapshot));
  writer.boolField(10, message.reject).uintField(11, message.rejectHint);
  if (message.context.length > 0) writer.bytesField(12, message.context);
}

export function decodeMessage(bytes: Uint8Array): Message {
  const reader = new WireReader(bytes);
  // Fields are put together once at the end: an object that grows costs more than all of the reading.
  let type = 0;
  let to = 0n;
  let from = 0n;
  let term = 0;
  let logTerm = 0;
  let index = 0;
  let entries: Entry[] | undefined;
  let commit = 0;
  let snapshot: Snapshot | undefined;
  let reject = false;
  let rejectHint = 0;
  let context = EMPTY_BYTES;
  let vote = 0n;
  while (!reader.done) {
    const tag = reader.tag();
    switch (tag) {
      case 0x08: type = reader.varint(); break; // prettier-ignore
      case 0x10: to = reader.varint64(); break; // prettier-ignore
      case 0x18: from = reader.varint64(); break; // prettier-ignore
      case 0x20: term = reader.varint(); break; // prettier-ignore
      case 0x28: logTerm = reader.varint(); break; // prettier-ignore
      case 0x30: index = reader.varint(); break; // prettier-ignore
      case 0x3a: (entries ??= []).push(readEntry(reader.message())); break; // prettier-ignore
      case 0x40: commit = reader.varint(); break; // prettier-ignore
      case 0x4a: snapshot = nonEmptySnapshot(reader.bytes()); break; // prettier-ignore
      case 0x50: reject = reader.bool(); break; // prettier-ignore
      case 0x58: rejectHint = reader.varint(); break; // prettier-ignore
      case 0x62: context = reader.bytes(); break; // prettier-ignore
      case 0x68: vote = reader.varint64(); break; // prettier-ignore
      default: reader.skip(tag); // prettier-ignore
    }
  }
  return {
    type: known(type, 23, "message type"),
    to,
    from,
    term,
    logTerm,
    index,
    entries: entries ?? NO_ENTRIES,
    commit,
    vote,
    snapshot,
    reject,
    rejectHint,
    context,
    responses: NO_MESSAGES,
  };
}

/** Every message carries one; nearly always it is etcd's empty one. */
function nonEmptySnapshot(bytes: Uint8Array): Snapshot | undefined {
  if (bytes.length === NO_SNAPSHOT_BYTES.length && equalBytes(bytes, NO_SNAPSHOT_BYTES)) return undefined;
  const snapshot = readSnapshot(new WireReader(bytes));
  return snapshot.metadata.index === 0 ? undefined : snapshot;
}

// ---- helpers ------------------------------------------------------------------------------------------------------

function encodeWith<Value>(write: (writer: WireWriter, value: Value) => void, value: Value): Uint8Array {
  const writer = new WireWriter();
  write(writer, value);
  return writer.finish();
}

function known<Type extends number>(value: number, largest: number, what: string): Type {
  if (value > largest) throw new WireError("WIRE_OUT_OF_RANGE", `${what} ${value}, known are 0 to ${largest}`);
  return value as Type;
}
