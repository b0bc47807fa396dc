/** The messages inside a write-ahead log (etcd's `walpb`), written as Go writes them. */
import { EMPTY_BYTES, WireReader, WireWriter } from "../base/bytes.js";
import { decodeConfState, encodeConfState, type ConfState } from "./raft.js";

/** What a log says of a snapshot: where it is, and since 3.5 the configuration at that point. */
export interface WalSnapshot {
  readonly index: number;
  readonly term: number;
  readonly confState: ConfState | undefined;
}

export function encodeWalSnapshot(snapshot: WalSnapshot): Uint8Array {
  const writer = new WireWriter(64);
  writer.uintField(1, snapshot.index).uintField(2, snapshot.term);
  if (snapshot.confState !== undefined) writer.bytesField(3, encodeConfState(snapshot.confState));
  return writer.finish();
}

export function decodeWalSnapshot(bytes: Uint8Array): WalSnapshot {
  const reader = new WireReader(bytes);
  let index = 0;
  let term = 0;
  let confState: ConfState | undefined;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) index = reader.varint();
    else if (tag === 0x10) term = reader.varint();
    else if (tag === 0x1a) confState = decodeConfState(reader.bytes());
    else reader.skip(tag);
  }
  return { index, term, confState };
}

/** The metadata record of every segment (etcdserverpb `Metadata`): whose log this is. */
export interface WalMetadata {
  readonly nodeId: bigint;
  readonly clusterId: bigint;
}

export function encodeWalMetadata(metadata: WalMetadata): Uint8Array {
  return new WireWriter(32).uint64Field(1, metadata.nodeId).uint64Field(2, metadata.clusterId).finish();
}

export function decodeWalMetadata(bytes: Uint8Array): WalMetadata {
  const reader = new WireReader(bytes);
  let nodeId = 0n;
  let clusterId = 0n;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) nodeId = reader.varint64();
    else if (tag === 0x10) clusterId = reader.varint64();
    else reader.skip(tag);
  }
  return { nodeId, clusterId };
}

/** The envelope of a `.snap` file (etcd's `snappb`): a checksum and the bytes of a raft snapshot. */
export interface SnapshotEnvelope {
  readonly crc: number;
  readonly data: Uint8Array;
}

export function encodeSnapshotEnvelope(envelope: SnapshotEnvelope): Uint8Array {
  const writer = new WireWriter(envelope.data.length + 16);
  return writer.uintField(1, envelope.crc).bytesField(2, envelope.data).finish();
}

export function decodeSnapshotEnvelope(bytes: Uint8Array): SnapshotEnvelope {
  const reader = new WireReader(bytes);
  let crc = 0;
  let data = EMPTY_BYTES;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x08) crc = reader.varint();
    else if (tag === 0x12) data = reader.bytes();
    else reader.skip(tag);
  }
  return { crc, data };
}
