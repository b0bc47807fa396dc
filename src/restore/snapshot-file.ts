/**
 * The file that `snapshot save` writes: `db` as it was on one member, then its SHA-256.
 *
 * | bytes          | meaning                                                       |
 * |----------------|---------------------------------------------------------------|
 * | 0 to n - 1     | a bolt file; n is a multiple of its page size, so of 512      |
 * | n to n + 31    | SHA-256 of those bytes; missing in a copy of a member's `db`  |
 */
import { mebibytes } from "../base/units.js";
import type { Disk, DiskFile } from "../platform/index.js";
import { RestoreError } from "./errors.js";

const DIGEST_BYTES = 32;
const SECTOR_BYTES = 512;
const CHUNK_BYTES = mebibytes(1);

/** Sums up what it is given: the program brings the system's own, for a snapshot may be large. */
export interface Digest {
  update(bytes: Uint8Array): void;
  digest(): Uint8Array;
}

/**
 * Copies the bolt file out of a snapshot.
 *
 * @param skipHashCheck takes a file whose digest is missing or another one
 * @throws RestoreError `RESTORE_SNAPSHOT_MISSING`, `RESTORE_SNAPSHOT_INVALID`
 */
export async function copyDatabase(
  d: { readonly disk: Disk; readonly sha256: () => Digest },
  source: string,
  target: string,
  skipHashCheck: boolean,
): Promise<void> {
  if ((await d.disk.stat(source))?.kind !== "file") {
    throw new RestoreError("RESTORE_SNAPSHOT_MISSING", `open ${source}: no such file or directory`);
  }
  const from = await d.disk.open(source, "read");
  try {
    const size = await from.size();
    const hasDigest = size % SECTOR_BYTES === DIGEST_BYTES;
    if (!hasDigest && !skipHashCheck) refuse("snapshot missing hash but --skip-hash-check=false");
    const databaseBytes = hasDigest ? size - DIGEST_BYTES : size;
    const into = await d.disk.open(target, "create");
    try {
      const found = await copy(from, into, databaseBytes, d.sha256());
      if (skipHashCheck) return;
      const stored = new Uint8Array(DIGEST_BYTES);
      await from.read(stored, databaseBytes);
      if (stored.some((byte, at) => byte !== found[at])) {
        refuse(`expected sha256 [${stored.join(" ")}], got [${found.join(" ")}]`);
      }
    } finally {
      await into.close();
    }
  } finally {
    await from.close();
  }
}

async function copy(from: DiskFile, into: DiskFile, bytes: number, digest: Digest): Promise<Uint8Array> {
  const buffer = new Uint8Array(CHUNK_BYTES);
  for (let at = 0; at < bytes;) {
    const chunk = buffer.subarray(0, Math.min(buffer.length, bytes - at));
    const read = await from.read(chunk, at);
    if (read < chunk.length) refuse(`${from.path} became shorter while it was read: give a file that nobody writes`);
    digest.update(chunk);
    await into.write([chunk], at);
    at += read;
  }
  return digest.digest();
}

function refuse(detail: string): never {
  throw new RestoreError("RESTORE_SNAPSHOT_INVALID", detail);
}
