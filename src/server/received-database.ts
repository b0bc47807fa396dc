/**
 * A database that a leader sent with a snapshot, looked at before it may take the place of this member's own: the way here has no
 * checksum of its own (etcd's peer protocol has none), and what it replaces is gone.
 */
import { SNAPSHOT_RESTS_MS_MAX } from "../base/limits.js";
import { bytesFromLatin1 } from "../base/text.js";
import { checkBolt, openBolt } from "../bolt/index.js";
import { RestingClock, type Platform } from "../platform/index.js";
import { loadProgress } from "./applier.js";
import { MemberError } from "./errors.js";

/** Problems that an error names; there may be thousands. */
const PROBLEMS_TOLD = 3;

/**
 * Proves every page and reads how far the database goes. The cluster serves on without this member, so it rests between its slices.
 *
 * @param index of the snapshot that it came with
 * @throws MemberError `SNAPSHOT_DAMAGED`; DiskError
 */
export async function checkReceivedDatabase(platform: Platform, path: string, index: number): Promise<void> {
  const problems = await checkBolt(
    { ...platform, clock: new RestingClock(platform.clock, SNAPSHOT_RESTS_MS_MAX) },
    path,
  );
  if (problems.length > 0) {
    const told = problems.slice(0, PROBLEMS_TOLD).map(({ detail }) => detail);
    throw damaged(index, `${problems.length} problems, first ${told.join("; ")}`);
  }
  const { consistentIndex } = await progressOf(platform, path);
  if (consistentIndex < index) throw damaged(index, `it holds entries up to ${consistentIndex}`);
}

async function progressOf(platform: Platform, path: string): Promise<ReturnType<typeof loadProgress>> {
  const database = await openBolt(platform, path, { readOnly: true });
  try {
    const read = database.beginRead();
    try {
      return loadProgress({ get: (bucket, key) => read.bucket(bytesFromLatin1(bucket))?.get(key) });
    } finally {
      read.end();
    }
  } finally {
    await database.close();
  }
}

function damaged(index: number, why: string): MemberError {
  return new MemberError(
    "SNAPSHOT_DAMAGED",
    `the database that came with snapshot ${index} is not what its sender meant to send, and was not taken: ${why}. ` +
      "The leader sends another one; if that happens again, look at its disk and the network between",
  );
}
