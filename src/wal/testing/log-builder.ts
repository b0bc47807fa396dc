/**
 * Logs with any records in them, also such as no member writes, and a naive twin of the encoder: protobuf written field by field
 * with 64-bit integers, without any of the tricks of `RecordEncoder`.
 */
import { concatBytes, WireWriter } from "../../base/bytes.js";
import { crc32cPortable } from "../../base/crc32c.js";
import { encodeEntry, encodeHardState, type Entry, type HardState } from "../../proto/raft.js";
import { encodeWalSnapshot } from "../../proto/wal.js";
import type { SimDisk } from "../../../sim/index.js";
import { RecordType } from "../encoder.js";
import { segmentName } from "../names.js";
import { FOLDER, METADATA } from "./fixture.js";

/** One frame, from the words of the format's description. */
export function naiveFrame(type: number, crc: number, data: Uint8Array | undefined): Uint8Array {
  const writer = new WireWriter();
  writer.uintField(1, type).uintField(2, crc);
  if (data !== undefined) writer.bytesField(3, data);
  const record = writer.finish();
  const padding = (8 - (record.length % 8)) % 8;
  const lengthField = BigInt(record.length) | (padding === 0 ? 0n : BigInt(0x80 | padding) << 56n);
  const header = new Uint8Array(8);
  new DataView(header.buffer).setBigUint64(0, lengthField, true);
  return concatBytes([header, record, new Uint8Array(padding)]);
}

/** Builds segments record by record and puts them onto a disk. */
export class LogBuilder {
  #crc = 0;
  #frames: Uint8Array[] = [];
  readonly #segments: { readonly name: string; readonly bytes: Uint8Array }[] = [];
  #sequence = -1;
  #index = 0;

  /** The end of the segment so far. */
  get offset(): number {
    return this.#frames.reduce((sum, frame) => sum + frame.length, 0);
  }

  record(type: number, data?: Uint8Array): this {
    if (data !== undefined && type !== RecordType.crc) this.#crc = crc32cPortable(this.#crc, data);
    this.#frames.push(naiveFrame(type, this.#crc, data));
    return this;
  }

  raw(bytes: Uint8Array): this {
    this.#frames.push(bytes);
    return this;
  }

  /** Begins a segment with its head; `index` is that of its name. */
  segment(index = 0, metadata = METADATA): this {
    return this.bareSegment(index).record(RecordType.crc).record(RecordType.metadata, metadata);
  }

  bareSegment(index = 0): this {
    this.#finish(0);
    this.#sequence++;
    this.#index = index;
    return this;
  }

  /** A first segment as `createWal` makes it. */
  begin(): this {
    return this.segment().snapshot(0, 0);
  }

  entry(...entries: readonly Entry[]): this {
    for (const entry of entries) this.record(RecordType.entry, encodeEntry(entry));
    return this;
  }

  state(state: HardState): this {
    return this.record(RecordType.state, encodeHardState(state));
  }

  snapshot(index: number, term: number): this {
    return this.record(RecordType.snapshot, encodeWalSnapshot({ index, term, confState: undefined }));
  }

  #finish(zeros: number): void {
    if (this.#sequence < 0) return;
    const bytes = concatBytes([...this.#frames, new Uint8Array(zeros)]);
    this.#segments.push({ name: segmentName(this.#sequence, this.#index), bytes });
    this.#frames = [];
  }

  /** Puts the log onto a disk, the last segment with zeros behind it. */
  onto(disk: SimDisk, zeros = 4096): void {
    this.#finish(zeros);
    for (const { name, bytes } of this.#segments) disk.writeAll(`${FOLDER}/${name}`, bytes);
    this.#sequence = -1;
  }
}
