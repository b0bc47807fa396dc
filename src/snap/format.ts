/**
 * The `.snap` file: an envelope of a checksum and the bytes of a raft snapshot (docs/formats/snap.md).
 *
 * The reader is strict: it takes only what a writer makes. The checksum covers the snapshot but not the envelope around it, so the
 * envelope must be the one that encoding gives. Each single changed bit and each cut of a file is refused by name.
 */
import { equalBytes, WireError } from "../base/bytes.js";
import { crc32c } from "../base/crc32c.js";
import { describeError, invariant } from "../base/errors.js";
import { hexText } from "../base/text.js";
import { decodeSnapshot, encodeSnapshot, type Snapshot } from "../proto/raft.js";
import { decodeSnapshotEnvelope, encodeSnapshotEnvelope, type SnapshotEnvelope } from "../proto/wal.js";
import { SnapshotError } from "./errors.js";

/** What a `.snap` file's name says. */
export interface SnapshotName {
  readonly name: string;
  readonly term: number;
  readonly index: number;
}

/** `%016x-%016x.snap` of term and index: names in order of text are in order of time. */
export function snapshotName(term: number, index: number): string {
  return `${hexText(term, 16)}-${hexText(index, 16)}.snap`;
}

/** The term and index in a name; `undefined` when it is not a snapshot's. */
export function parseSnapshotName(name: string): SnapshotName | undefined {
  const match = /^([0-9a-f]{16})-([0-9a-f]{16})\.snap$/.exec(name);
  if (match === null) return undefined;
  return safeName({ name, term: parseInt(match[1]!, 16), index: parseInt(match[2]!, 16) });
}

/** `%016x.snap.db` of the index: a whole database that a leader sent. */
export function databaseName(index: number): string {
  return `${hexText(index, 16)}.snap.db`;
}

/** The index in the name of a received database; `undefined` when it is not one. */
export function parseDatabaseName(name: string): number | undefined {
  const match = /^([0-9a-f]{16})\.snap\.db$/.exec(name);
  if (match === null) return undefined;
  const index = parseInt(match[1]!, 16);
  return Number.isSafeInteger(index) ? index : undefined;
}

function safeName(parsed: SnapshotName): SnapshotName | undefined {
  return Number.isSafeInteger(parsed.term) && Number.isSafeInteger(parsed.index) ? parsed : undefined;
}

/** The bytes of a `.snap` file. */
export function encodeSnapshotFile(snapshot: Snapshot): Uint8Array {
  const data = encodeSnapshot(snapshot);
  return encodeSnapshotEnvelope({ crc: crc32c(0, data), data });
}

/**
 * Reads a whole `.snap` file.
 *
 * @param path named in errors
 * @throws SnapshotError `SNAP_EMPTY`, `SNAP_MALFORMED` or `SNAP_CRC_MISMATCH`
 */
export function decodeSnapshotFile(bytes: Uint8Array, path: string): Snapshot {
  const envelope = decodeEnvelope(bytes, path);
  const found = crc32c(0, envelope.data);
  if (found !== envelope.crc) {
    const [low, high] = [bytes.length - envelope.data.length, bytes.length];
    throw new SnapshotError(
      "SNAP_CRC_MISMATCH",
      `${path}: bytes [${low}, ${high}) have the checksum ${hexText(found, 8)}, at offset 1 stands ${hexText(envelope.crc, 8)}`,
    );
  }
  try {
    return decodeSnapshot(envelope.data);
  } catch (error) {
    throw malformed(path, bytes.length - envelope.data.length, "the snapshot inside cannot be read", error);
  }
}

function decodeEnvelope(bytes: Uint8Array, path: string): SnapshotEnvelope {
  if (bytes.length === 0) throw new SnapshotError("SNAP_EMPTY", `${path}: the file has no bytes (offset 0)`);
  let envelope: SnapshotEnvelope;
  try {
    envelope = decodeSnapshotEnvelope(bytes);
  } catch (error) {
    throw malformed(path, 0, "the envelope cannot be read", error);
  }
  if (envelope.data.length === 0 || envelope.crc === 0) {
    const what = envelope.crc === 0 ? "no checksum" : "no snapshot";
    throw new SnapshotError("SNAP_EMPTY", `${path}: there is ${what} in its ${bytes.length} bytes (offset 0)`);
  }
  // Fields that repeat, stand in another order or are unknown would read well, and mean that bytes changed.
  if (!equalBytes(encodeSnapshotEnvelope(envelope), bytes)) {
    throw malformed(path, 0, "the envelope is not as writers make it");
  }
  return envelope;
}

/** Anything but a `WireError` is a bug of ours, and passes through. */
function malformed(path: string, offset: number, what: string, cause?: unknown): SnapshotError {
  if (cause === undefined) return new SnapshotError("SNAP_MALFORMED", `${path}: at offset ${offset} ${what}`);
  invariant(cause instanceof WireError, () => `${path}: ${describeError(cause)}`);
  return new SnapshotError("SNAP_MALFORMED", `${path}: at offset ${offset} ${what} (${cause.message})`, { cause });
}
