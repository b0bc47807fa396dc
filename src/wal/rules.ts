/**
 * What whole records must say to be a member's log (faults.md 5.4 b). The checksum does not cover a record's type, so a flipped
 * bit there turns one kind into another with a checksum that fits; these rules find it.
 *
 * The laws:
 * - a segment begins with a CRC record and the metadata, and has neither of them anywhere else;
 * - terms and commit never fall, a vote stays within its term, commit lies within the log;
 * - entries follow each other, or overwrite from an index above commit on; the term of an entry is not below that of the one
 *   before it; a configuration change has data, unless it ends a joint configuration, and then it overwrites nothing;
 * - an entry's term is over that of every state before it only until the state of the same save comes.
 *
 * They hold for what etcd 3.4 and 3.5 write, with these allowances: a log read from its middle has no state at first; etcd
 * before 3.4.10 wrote the state of a received snapshot in front of the record that names the snapshot; etcd may write the same
 * entries twice (its unstable log re-sends what a change of leaders interrupted).
 */
import { equalBytes, WireError, WireWriter } from "../base/bytes.js";
import { decodeHardState, EntryType, type HardState } from "../proto/raft.js";
import { decodeWalSnapshot, type WalSnapshot } from "../proto/wal.js";
import { RecordType } from "./encoder.js";

/** The fields of an entry, decoded in place: its data is `bytes[dataStart, dataEnd)`. */
export class EntryFields {
  type: EntryType = EntryType.normal;
  term = 0;
  index = 0;
  dataStart = 0;
  dataEnd = 0;

  /** Decodes `bytes[start, end)`; answers what is wrong with it. */
  decode(bytes: Uint8Array, start: number, end: number): string | undefined {
    // Go writes type, term and index always, in this order, and the data when there is any.
    const type = bytes[start + 1]!;
    if (end - start < 6 || bytes[start] !== 0x08 || bytes[start + 2] !== 0x10) return "an entry without type and term";
    if (type > EntryType.confChangeV2) return `an entry of unknown type ${type}`;
    this.type = type as EntryType;
    this.#at = start + 3;
    this.term = this.#varint(bytes, end);
    if (this.#at >= end || bytes[this.#at++] !== 0x18) return "an entry without an index";
    this.index = this.#varint(bytes, end);
    if (this.term > Number.MAX_SAFE_INTEGER || this.index > Number.MAX_SAFE_INTEGER) {
      return "an entry with a term or an index over 2^53-1";
    }
    if (this.#at === end) {
      this.dataStart = end;
      this.dataEnd = end;
      return undefined;
    }
    if (bytes[this.#at++] !== 0x22) return "an entry with an unknown field";
    const size = this.#varint(bytes, end);
    if (size !== end - this.#at) return `an entry with ${size} bytes of data in ${end - this.#at}`;
    this.dataStart = this.#at;
    this.dataEnd = end;
    return undefined;
  }

  #at = 0;

  /** Past the end it answers Infinity, which no check lets through. */
  #varint(bytes: Uint8Array, end: number): number {
    let at = this.#at;
    let value = bytes[at++]!;
    if (value > 0x7f) {
      value &= 0x7f;
      for (let scale = 128; ; scale *= 128) {
        if (at >= end || scale > 2 ** 63) {
          value = Number.POSITIVE_INFINITY;
          break;
        }
        const byte = bytes[at++]!;
        value += (byte & 0x7f) * scale;
        if (byte < 0x80) break;
      }
    }
    this.#at = at;
    return value;
  }
}

/** Terms by index, as runs: from `starts[i]` on the term is `terms[i]`. A log of millions of entries has a handful. */
class TermRuns {
  readonly #starts: number[] = [];
  readonly #terms: number[] = [];

  /** The term at an index, undefined before the first run. */
  at(index: number): number | undefined {
    let run = this.#starts.length - 1;
    while (run >= 0 && this.#starts[run]! > index) run--;
    return this.#terms[run];
  }

  /** The log now ends with `index`, of `term`. */
  set(index: number, term: number): void {
    while (this.#starts.length > 0 && this.#starts.at(-1)! >= index) {
      this.#starts.pop();
      this.#terms.pop();
    }
    if (this.#terms.at(-1) !== term) {
      this.#starts.push(index);
      this.#terms.push(term);
    }
  }

  /** What comes is not connected with what was. */
  clear(): void {
    this.#starts.length = 0;
    this.#terms.length = 0;
  }
}

export interface Violation {
  readonly code: "WAL_SEMANTIC" | "WAL_METADATA_CONFLICT" | "WAL_SLICE_OUT_OF_RANGE";
  readonly why: string;
}

const wrong = (why: string): Violation => ({ code: "WAL_SEMANTIC", why });

/** Follows a log record by record and answers the first law that is broken. */
export class LogRules {
  /** Index of the last entry or snapshot; undefined until one was seen. */
  last: number | undefined;
  state: HardState | undefined;
  metadata: Uint8Array | undefined;
  /** Whether the snapshot record that was checked last takes along the entries behind its index. */
  isReset = false;
  /** Whether an entry since the last state has a term over it: its save is not complete. */
  aheadOfState = false;
  readonly #fields: EntryFields;
  readonly #openAt: number;
  readonly #firstIndex: number;
  readonly #runs = new TermRuns();
  readonly #writer = new WireWriter(64);
  #lastTerm = 0;
  /** Records of this segment so far. */
  #count = 0;
  /** A commit over the last index: a snapshot record must explain it before the next entry. */
  #unexplainedCommit = 0;

  /**
   * @param openAt index of the snapshot that the log is read from: holes up to there do not matter
   * @param firstIndex index in the name of the first segment that is read: the log went up to just before it
   */
  constructor(fields: EntryFields, openAt: number, firstIndex: number) {
    this.#fields = fields;
    this.#openAt = openAt;
    this.#firstIndex = firstIndex;
  }

  beginSegment(): void {
    this.#count = 0;
  }

  /** Whether the segment's head, CRC record and metadata, was read. */
  get headComplete(): boolean {
    return this.#count >= 2;
  }

  /** For CRC and metadata records, and for the place of all others. */
  checkPlace(type: number): Violation | undefined {
    const count = this.#count++;
    if (count >= 2 && type !== RecordType.crc && type !== RecordType.metadata) return undefined;
    if (count === 0 && type === RecordType.crc) return undefined;
    if (count === 1 && type === RecordType.metadata) return undefined;
    if (count === 0) return wrong(`a segment begins with a CRC record, this one with ${describeType(type)}`);
    if (count === 1) return wrong(`a segment's second record is the metadata, here it is ${describeType(type)}`);
    return wrong(`${describeType(type)} stands only at the head of a segment, here it is record ${count + 1}`);
  }

  checkMetadata(metadata: Uint8Array): Violation | undefined {
    if (this.metadata !== undefined && !equalBytes(this.metadata, metadata)) {
      return {
        code: "WAL_METADATA_CONFLICT",
        why: "its metadata (member and cluster ID) differs from that of the segments before: files of two logs are mixed",
      };
    }
    this.metadata ??= metadata.slice();
    return undefined;
  }

  /** Checks the entry in `fields` and follows it. */
  checkEntry(): Violation | undefined {
    const { index, term, type } = this.#fields;
    const violation =
      index === this.last! + 1 && term === this.#lastTerm && type === EntryType.normal && this.#unexplainedCommit === 0
        ? undefined
        : this.#checkUnusualEntry(index, term);
    if (violation !== undefined) return violation;
    this.last = index;
    this.#lastTerm = term;
    if (this.state !== undefined && term > this.state.term) this.aheadOfState = true;
    return undefined;
  }

  #checkUnusualEntry(index: number, term: number): Violation | undefined {
    const { type, dataStart, dataEnd } = this.#fields;
    if (index < 1 || term < 1) return wrong(`an entry of index ${index} and term ${term}, both begin at 1`);
    if (this.#unexplainedCommit > 0) {
      return wrong(
        `commit is ${this.#unexplainedCommit}, and then comes entry ${index} after ${this.last ?? "nothing"}`,
      );
    }
    const overwrites = this.last !== undefined && index <= this.last;
    if (dataStart === dataEnd && type !== EntryType.normal) {
      if (type === EntryType.confChange) return wrong(`entry ${index} is a configuration change without data`);
      if (overwrites) return wrong(`entry ${index} is an empty configuration change that overwrites another entry`);
    }
    if (overwrites && this.state !== undefined && index <= this.state.commit) {
      const committed = this.#runs.at(index);
      if (committed !== undefined && committed !== term) {
        return wrong(`entry ${index} of term ${term} overwrites the committed one of term ${committed}`);
      }
    }
    const last = this.last ?? this.#openAt;
    if (index > last + 1) {
      if (index - 1 > this.#openAt) {
        return {
          code: "WAL_SLICE_OUT_OF_RANGE",
          why: `entry ${index} follows index ${last}: those between them are missing`,
        };
      }
      this.#runs.clear();
    }
    const before = this.#runs.at(index - 1);
    if (before !== undefined && term < before) {
      return wrong(`entry ${index} has term ${term}, the one before it ${before}`);
    }
    this.#runs.set(index, term);
    return undefined;
  }

  /** Decodes a state record, checks it and follows it. */
  checkState(data: Uint8Array): HardState | Violation {
    const state = decodeOr(decodeHardState, data);
    if (state === undefined || !this.#isCanonical(state, data)) {
      return wrong("a state record that is not term, vote and commit");
    }
    const last = this.state;
    if (state.term < 1) return wrong(`a state of term 0 with vote ${state.vote} and commit ${state.commit}`);
    if (last !== undefined) {
      if (state.term < last.term) return wrong(`the term falls from ${last.term} to ${state.term}`);
      if (state.commit < last.commit) return wrong(`commit falls from ${last.commit} to ${state.commit}`);
      if (state.term === last.term && last.vote !== 0n && state.vote !== last.vote) {
        return wrong(`the vote of term ${state.term} changes from ${last.vote} to ${state.vote}`);
      }
    }
    if (this.last !== undefined && state.commit > this.last) this.#unexplainedCommit = state.commit;
    if (this.#lastTerm <= state.term) this.aheadOfState = false;
    this.state = state;
    return state;
  }

  #isCanonical(state: HardState, data: Uint8Array): boolean {
    this.#writer.reset();
    this.#writer.uintField(1, state.term).uint64Field(2, state.vote).uintField(3, state.commit);
    return equalBytes(this.#writer.view(), data);
  }

  checkSnapshot(data: Uint8Array): WalSnapshot | Violation {
    const snapshot = decodeOr(decodeWalSnapshot, data);
    if (snapshot === undefined) return wrong("a snapshot record that cannot be decoded");
    // {0, 0} of a new log tells that entries begin at 1.
    this.isReset = this.#contradicts(snapshot);
    // One that was saved after a cut, and is older than it, says nothing of where the log stands.
    if (snapshot.index > (this.last ?? this.#firstIndex - 2) || this.isReset) {
      if (snapshot.index > 0) this.#runs.set(snapshot.index, snapshot.term);
      this.last = snapshot.index;
      this.#lastTerm = snapshot.index > 0 ? snapshot.term : -1; // no entry has it: the first one is looked at closely
    }
    if (snapshot.index >= this.#unexplainedCommit) this.#unexplainedCommit = 0;
    return snapshot;
  }

  /**
   * Whether the snapshot is a leader's that replaced entries of this member's own: it has another term than the entry of its index.
   * The entries behind that one were given up with it. (etcd's reader brings them back.)
   */
  #contradicts({ index, term }: WalSnapshot): boolean {
    if (this.last === undefined || index === 0 || index > this.last) return false;
    const known = this.#runs.at(index);
    return known !== undefined && known !== term;
  }

  /** At the end of the log. */
  checkEnd(): Violation | undefined {
    if (this.#unexplainedCommit === 0) return undefined;
    return wrong(`commit is ${this.#unexplainedCommit}, but the log ends with entry ${this.last ?? 0}`);
  }
}

export function isViolation(value: object): value is Violation {
  return "why" in value;
}

export function describeType(type: number): string {
  const found = Object.entries(RecordType).find(([, value]) => value === type);
  return found === undefined ? `a record of unknown type ${type}` : `a record of kind "${found[0]}"`;
}

function decodeOr<Value>(decode: (data: Uint8Array) => Value, data: Uint8Array): Value | undefined {
  try {
    return decode(data);
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
}
