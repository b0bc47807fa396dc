/** What is in a snapshot, or in any `db` that no server has open: the figures of `etcdutl snapshot status`. */
import { crc32c } from "../base/crc32c.js";
import { latin1FromBytes } from "../base/text.js";
import { boltStats, openBolt } from "../bolt/index.js";
import { BUCKETS, mainOf } from "../mvcc/index.js";
import type { Clock, Disk, Log } from "../platform/index.js";
import { RestoreError } from "./errors.js";

export interface SnapshotStatus {
  /** CRC-32C over each bucket's name and all its keys and values, in order. */
  readonly hash: number;
  readonly revision: number;
  /** Keys of all buckets. */
  readonly totalKeys: number;
  readonly totalBytes: number;
}

/**
 * The whole file is proved first.
 *
 * @throws RestoreError `RESTORE_SNAPSHOT_MISSING`, `RESTORE_SNAPSHOT_INVALID` with all that was found; BoltError when it is no bolt file
 */
export async function snapshotStatus(
  d: { readonly disk: Disk; readonly clock: Clock; readonly log: Log },
  path: string,
): Promise<SnapshotStatus> {
  if ((await d.disk.stat(path)) === undefined) {
    throw new RestoreError("RESTORE_SNAPSHOT_MISSING", `stat ${path}: no such file or directory`);
  }
  const { problems } = await boltStats(d, path);
  if (problems.length > 0) {
    const list = problems.map(({ code, detail }) => `${code}: ${detail}`).join("\n");
    throw new RestoreError(
      "RESTORE_SNAPSHOT_INVALID",
      `snapshot file integrity check failed. ${problems.length} errors found.\n${list}`,
    );
  }
  const database = await openBolt(d, path, { readOnly: true });
  try {
    const read = database.beginRead();
    let hash = 0;
    let revision = 0;
    let totalKeys = 0;
    for (const name of read.buckets()) {
      hash = crc32c(hash, name);
      const holdsRows = latin1FromBytes(name) === BUCKETS.key;
      read.bucket(name)?.forEach(undefined, undefined, (key, value) => {
        hash = crc32c(crc32c(hash, key), value);
        if (holdsRows) revision = mainOf(key);
        totalKeys++;
      });
    }
    const totalBytes = read.sizeBytes;
    read.end();
    return { hash, revision, totalKeys, totalBytes };
  } finally {
    await database.close();
  }
}
