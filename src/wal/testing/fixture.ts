/** The simulated world around a log, and entries to put into one. */
import assert from "node:assert/strict";
import { recordingLog, SimClock, SimDisk, type RecordingLog } from "../../../sim/index.js";
import type { Entry, HardState } from "../../proto/raft.js";
import { encodeWalMetadata } from "../../proto/wal.js";
import {
  createWal,
  openWal,
  readWal,
  type SnapshotPoint,
  type WalContents,
  type WalOptions,
  type WalWriter,
} from "../index.js";

export const FOLDER = "/data/wal";
export const METADATA = encodeWalMetadata({ nodeId: 0x8e9e_05c5_2164_694dn, clusterId: 0xcdf8_18d9_9f0c_6fc1n });
export const ORIGIN: SnapshotPoint = { index: 0, term: 0 };

/** A disk, a clock and a log line recorder; the log is in `FOLDER`. */
export class World {
  readonly clock = new SimClock();
  readonly log: RecordingLog = recordingLog();
  readonly disk: SimDisk;

  constructor(disk: SimDisk = new SimDisk()) {
    this.disk = disk;
  }

  create(options: WalOptions = {}): Promise<WalWriter> {
    return createWal(this, FOLDER, METADATA, { segmentBytes: 4096, ...options });
  }

  open(at = ORIGIN, options: WalOptions = {}): Promise<{ writer: WalWriter; contents: WalContents }> {
    return openWal(this, FOLDER, at, { segmentBytes: 4096, ...options });
  }

  read(at = ORIGIN): Promise<WalContents> {
    return readWal(this, FOLDER, at);
  }

  /** Names in the log's folder. */
  async names(): Promise<string[]> {
    return (await this.disk.list(FOLDER)).map(({ name }) => name);
  }

  /** Nothing stays open and no armed fault was missed. */
  assertAtRest(): void {
    assert.deepEqual(this.disk.openHandles(), []);
    assert.equal(this.disk.faultsArmed, 0);
  }
}

export function entry(index: number, data: string | Uint8Array = `entry ${index}`, term = 1): Entry {
  return { type: 0, term, index, data: typeof data === "string" ? new TextEncoder().encode(data) : data };
}

/** Entries `[from, to)`. */
export function entries(from: number, to: number, bytes = 20, term = 1): Entry[] {
  return Array.from({ length: to - from }, (_, i) => entry(from + i, valueOf(from + i, bytes), term));
}

/** Bytes that differ from index to index and hold no zero. */
export function valueOf(index: number, bytes: number): Uint8Array {
  return Uint8Array.from({ length: bytes }, (_, i) => 1 + ((index * 31 + i * 7) % 255));
}

export function state(term: number, commit: number, vote = 1n): HardState {
  return { term, vote, commit };
}

/** Index and text of each entry: what a test compares. */
export function texts(contents: WalContents): string[] {
  return contents.entries.map(({ index, term, data }) => `${index}/${term} ${new TextDecoder().decode(data)}`);
}
