/** Looking at a file that no server has open: for `walnut db check` and `walnut db stats`. Never writes. */
import { checkFile, type BoltProblem, type BucketFigures, type OnProgress } from "./check.js";
import type { BoltDoors } from "./database.js";
import { BoltError } from "./errors.js";
import { openFile } from "./open.js";

export interface BoltFileReport {
  readonly path: string;
  readonly problems: readonly BoltProblem[];
  readonly fileBytes: number;
  readonly pageSize: number;
  readonly txid: number;
  /** Pages that were ever used: `[0, pages)`. */
  readonly pages: number;
  readonly freePages: number;
  readonly buckets: readonly BucketFigures[];
}

type OfflineDoors = Pick<BoltDoors, "disk" | "clock">;

/**
 * Proves a whole file, under a shared lock. An empty answer means that it is consistent.
 *
 * @throws BoltError `BOLT_LOCKED`; DiskError
 */
export async function checkBolt(doors: OfflineDoors, path: string, onProgress?: OnProgress): Promise<BoltProblem[]> {
  try {
    const report = await inspect(doors, path, onProgress);
    return [...report.problems];
  } catch (error) {
    if (!(error instanceof BoltError) || error.code === "BOLT_LOCKED") throw error;
    return [{ code: error.code, detail: error.detail, page: error.page, offset: error.offset }];
  }
}

/**
 * What is in a file, bucket by bucket, with the problems found on the way.
 *
 * @throws BoltError when not even its beginning can be read; DiskError
 */
export function boltStats(doors: OfflineDoors, path: string, onProgress?: OnProgress): Promise<BoltFileReport> {
  return inspect(doors, path, onProgress);
}

async function inspect(doors: OfflineDoors, path: string, onProgress?: OnProgress): Promise<BoltFileReport> {
  const opened = await openFile(doors, path, true);
  try {
    const { meta } = opened.state;
    const { problems, buckets, freePages } = await checkFile(
      { file: opened.file, path, clock: doors.clock, meta },
      onProgress,
    );
    const { damagedMeta } = opened;
    if (damagedMeta !== undefined) {
      const { code, detail, page, offset } = damagedMeta;
      problems.unshift({ code, detail: `${detail}; the state is that of the commit before`, page, offset });
    }
    return {
      path,
      problems,
      fileBytes: opened.fileBytes,
      pageSize: meta.pageSize,
      txid: meta.txid,
      pages: meta.highWater,
      freePages,
      buckets,
    };
  } finally {
    await opened.file.close();
  }
}
