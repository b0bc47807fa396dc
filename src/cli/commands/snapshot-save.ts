/** `snapshot save`: `db` as it is on one member, checked against its SHA-256 before it gets its name. */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import type { Client } from "../../client/index.js";
import { NodeDisk } from "../../platform/node/disk.js";
import { publishFile } from "../../platform/publish.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { humanBytes } from "./go-text.js";
import { startProgress } from "./progress.js";
import type { World } from "./world.js";

const SHA256_BYTES = 32;

/** Pieces are gathered up to this before they are written. */
const WRITE_BYTES = 1024 * 1024;

/**
 * Fetches a snapshot into `path`: `db`, then its SHA-256, as etcdutl wants it. Nothing gets that name unless all of it came.
 *
 * @throws CommandFailure when the checksum is missing or another one
 */
export async function saveSnapshot(
  client: Client,
  endpoint: string,
  path: string,
  timeoutMs: number | undefined,
  world: World,
): Promise<void> {
  const final = resolve(path);
  const temporary = `${final}.part`;
  const disk = new NodeDisk();
  const progress = startProgress(world, "snapshot {bar} {percentage}% | {done} of {size}");
  try {
    await publishFile(disk, temporary, final, async (file) => {
      const hash = createHash("sha256");
      let written = 0;
      let gathered: Uint8Array[] = [];
      let gatheredBytes = 0;
      let digest: Uint8Array | undefined;
      const flush = async (): Promise<void> => {
        await file.write(gathered, written);
        written += gatheredBytes;
        gathered = [];
        gatheredBytes = 0;
      };
      for await (const { blob, remainingBytes } of client.snapshot(endpoint, timeoutMs)) {
        // The last piece of db and the checksum both have nothing after them: the checksum is the later one.
        if (digest !== undefined) hash.update(digest);
        digest = undefined;
        if (remainingBytes === 0 && blob.length === SHA256_BYTES) digest = blob;
        else hash.update(blob);
        gathered.push(blob);
        gatheredBytes += blob.length;
        if (gatheredBytes >= WRITE_BYTES) await flush();
        const done = written + gatheredBytes;
        const total = done + remainingBytes;
        progress.update(done, total, { done: humanBytes(done), size: humanBytes(total) });
      }
      await flush();
      if (digest === undefined) throw interrupted(`sha256 checksum not found [bytes: ${written}]`);
      if (!hash.digest().equals(digest))
        throw interrupted("the snapshot's SHA-256 is not that of the bytes that came: try again");
    });
  } catch (error) {
    await disk.removeFile(temporary).catch(() => undefined);
    if (error instanceof CommandFailure) throw error;
    throw new CommandFailure(ExitCode.interrupted, error instanceof Error ? error.message : String(error), {
      cause: error,
    });
  } finally {
    progress.stop();
  }
}

function interrupted(sentence: string): CommandFailure {
  return new CommandFailure(ExitCode.interrupted, sentence);
}
