/**
 * What lies behind a place where a log cannot be read on (faults.md 5.4 c and d).
 *
 * A crash leaves such a place only in what was not synced yet. etcd syncs after every save that has entries, a new term or a new
 * vote, and after every snapshot record; only states with a new commit alone stay unsynced. So what can be torn is
 *
 *     state* (entry+ state? | state | snapshot)       each `state` in `state*` with the term and vote of the one before
 *
 * and whatever of it the disk lost. If the frames behind the place show that something followed a save that was synced, then the
 * place itself was synced, too: what is there is damage, and acknowledged entries are gone. Frames are found at 8-byte steps and
 * believed when their checksums chain with each other, which needs nothing of what was lost before them.
 */
import { WireError } from "../base/bytes.js";
import { decodeHardState, type HardState } from "../proto/raft.js";
import { chainCrc, RecordType } from "./encoder.js";
import { FrameParser } from "./frames.js";
import { EntryFields } from "./rules.js";

/** What the log said up to the place. */
export interface Before {
  readonly last: number | undefined;
  readonly state: HardState | undefined;
}

export interface Aftermath {
  /** Why the place must have been synced, a clause; undefined when the last save alone may be hit. */
  readonly evidence: string | undefined;
  /** The first and the highest index among the entries that can be made out behind the place. */
  readonly firstIndex: number | undefined;
  readonly highestIndex: number | undefined;
  /** Records whose checksums chain. */
  readonly records: number;
}

interface Found {
  /** Where its data begin. */
  readonly at: number;
  readonly kind: "entry" | "state" | "snapshot" | "other";
  /** Of an entry. */
  readonly index: number;
  /** Of a state. */
  readonly state: HardState | undefined;
  /** The frame before it is in the list, too, and nothing lies between. */
  readonly adjacent: boolean;
}

/** Smallest frame of an entry: a bound on how many may lie in a span. */
const ENTRY_FRAME_BYTES_MIN = 24;

/** The data of the frame at the place itself begin at this byte at the latest: length field, type, crc, tag and size. */
const FIRST_DATA_MAX = 8 + 2 + 6 + 1 + 8;

/** Bytes that may be summed for each byte that is looked at, so that hostile bytes cannot hold us up. */
const WORK_FACTOR = 64;

/**
 * Looks at `bytes`, which begin at the place (8-byte aligned in the file) and end with the file.
 *
 * @param dirty where only zeros are left: no frame begins there, but one may end there
 */
export function examineAftermath(bytes: Uint8Array, dirty: number, before: Before): Aftermath {
  const lone = { lowest: Number.POSITIVE_INFINITY, highest: 0 };
  const found = findRuns(bytes, dirty, before, lone);
  const entries = found.filter((record) => record.kind === "entry");
  // The frame at the place itself is the damaged one: it is not what the log goes on with.
  const first =
    entries.find((record) => record.at > FIRST_DATA_MAX)?.index ?? (lone.highest > 0 ? lone.lowest : undefined);
  const highest = entries.reduce((most, { index }) => Math.max(most, index), lone.highest);
  return {
    evidence: evidenceIn(found, before),
    firstIndex: first,
    highestIndex: highest > 0 ? highest : undefined,
    records: found.length,
  };
}

/** Frames that chain, in the order of the file. Those that stand alone only leave their index in `lone`. */
function findRuns(
  bytes: Uint8Array,
  dirty: number,
  before: Before,
  lone: { lowest: number; highest: number },
): Found[] {
  const found: Found[] = [];
  const parser = new FrameParser();
  const fields = new EntryFields();
  const budget = { left: dirty * WORK_FACTOR + 65_536 };
  let at = 0;
  while (at < dirty && at + 16 <= bytes.length && budget.left > 0) {
    if (bytes[at + 8] !== 0x08 || bytes[at + 10] !== 0x10) {
      at += 8;
      continue;
    }
    const run = runAt(bytes, at, parser, budget);
    if (run.frames.length === 1) {
      const index = plausibleIndex(bytes, run.frames[0]!, fields, dirty, before);
      if (index !== undefined) {
        lone.highest = Math.max(lone.highest, index);
        lone.lowest = Math.min(lone.lowest, index);
      }
    }
    if (run.frames.length < 2) {
      at += 8;
      continue;
    }
    const records = run.frames.map((frame, i) => describeFrame(bytes, frame, fields, i > 0));
    if (records.every((record) => isPlausible(record, dirty, before))) {
      found.push(...records);
      at = run.end;
    } else at += 8;
  }
  return found;
}

interface Frame {
  readonly type: number;
  readonly start: number;
  readonly end: number;
}

/** The frame at a place and those behind it whose checksums continue its own. */
function runAt(
  bytes: Uint8Array,
  start: number,
  parser: FrameParser,
  budget: { left: number },
): { frames: Frame[]; end: number } {
  const frames: Frame[] = [];
  let at = start;
  let crc = 0;
  while (parser.parse(bytes, at, bytes.length, bytes.length - at) === "record") {
    const { type, dataStart, dataEnd } = parser;
    if (frames.length > 0) {
      budget.left -= dataEnd - dataStart;
      if (type === RecordType.crc || chainCrc(crc, bytes, dataStart, dataEnd) !== parser.crc) break;
    }
    crc = parser.crc;
    frames.push({ type, start: dataStart, end: dataEnd });
    at += parser.total;
  }
  return { frames, end: at };
}

function describeFrame(bytes: Uint8Array, frame: Frame, fields: EntryFields, adjacent: boolean): Found {
  const other: Found = { at: frame.start, kind: "other", index: 0, state: undefined, adjacent };
  if (frame.type === RecordType.snapshot) return { ...other, kind: "snapshot" };
  if (frame.type === RecordType.state) {
    const state = stateIn(bytes.subarray(frame.start, frame.end));
    return state === undefined ? other : { ...other, kind: "state", state };
  }
  if (frame.type !== RecordType.entry || fields.decode(bytes, frame.start, frame.end) !== undefined) return other;
  return { ...other, kind: "entry", index: fields.index };
}

function stateIn(data: Uint8Array): HardState | undefined {
  try {
    return decodeHardState(data);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}

/** A value may hold the bytes of another log: what does not go on from this one is not believed. */
function isPlausible(record: Found, span: number, before: Before): boolean {
  if (record.kind === "other") return false;
  if (record.kind === "state") return before.state === undefined || record.state!.term >= before.state.term;
  return record.kind === "snapshot" || isPlausibleIndex(record.index, span, before);
}

function isPlausibleIndex(index: number, span: number, before: Before): boolean {
  if (before.state !== undefined && index <= before.state.commit) return false;
  return before.last === undefined || index <= before.last + 1 + span / ENTRY_FRAME_BYTES_MIN;
}

function plausibleIndex(
  bytes: Uint8Array,
  frame: Frame,
  fields: EntryFields,
  span: number,
  before: Before,
): number | undefined {
  if (frame.type !== RecordType.entry || fields.decode(bytes, frame.start, frame.end) !== undefined) return undefined;
  return isPlausibleIndex(fields.index, span, before) ? fields.index : undefined;
}

/** See the head of this file: what must not come in what one crash can tear. */
function evidenceIn(found: readonly Found[], before: Before): string | undefined {
  let previous: Found | undefined;
  let entries = false;
  /** Why all that lies before the next record was synced. */
  let synced: string | undefined;
  let state = before.state;
  for (const record of found) {
    if (synced !== undefined) return `${describe(record)} follows ${synced}`;
    if (record.kind === "entry") {
      const lostBefore = before.last !== undefined && !entries && record.index > before.last + 1;
      if (lostBefore && record.adjacent && previous?.kind === "state") {
        return `${describe(record)} begins a later save than the entries after ${before.last}`;
      }
      entries = true;
    } else if (record.kind === "state") {
      const changed = state !== undefined && (state.term !== record.state!.term || state.vote !== record.state!.vote);
      if (entries || changed) synced = "a save that was synced";
      state = record.state;
    } else if (record.kind === "snapshot") {
      if (entries) return "a snapshot record follows entries, which were synced before it";
      synced = "a snapshot record, which was synced";
    }
    previous = record;
  }
  return undefined;
}

function describe(record: Found): string {
  if (record.kind === "entry") return `entry ${record.index}`;
  return record.kind === "state" ? `a state of commit ${record.state!.commit}` : "a snapshot record";
}
