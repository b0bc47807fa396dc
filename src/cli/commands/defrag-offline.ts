/** `defrag --data-dir`: the `db` of a directory that no member uses, without its free pages. Loaded only for it. */
import { resolve } from "node:path";
import { CodedError } from "../../base/errors.js";
import { findDb } from "../../inspect/index.js";
import { Backend, boltEngine } from "../../mvcc/index.js";
import { nodePlatform } from "../../platform/node/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { humanBytes } from "./go-text.js";
import type { World } from "./world.js";

/** Between two attempts to get the lock, and after how many the person is told. */
const RETRY_MS = 100;
const ATTEMPTS_UNTOLD = 10;

/**
 * As etcdctl, it waits for a member that has the directory open.
 *
 * @throws CommandFailure for a directory without a `db`, or a damaged one: nothing is changed then
 */
export async function defragmentDirectory(dataDir: string, world: World): Promise<void> {
  const platform = nodePlatform({ log: { level: "warn" } });
  try {
    const path = await findDb(platform.disk, resolve(dataDir));
    const backend = await openPatiently(platform, path, world);
    try {
      const before = backend.sizeBytes;
      await backend.defragment();
      world.err(`walnut: ${path} takes ${humanBytes(backend.sizeBytes)} instead of ${humanBytes(before)}\n`);
    } finally {
      await backend.close();
    }
  } catch (cause) {
    if (!(cause instanceof CodedError)) throw cause;
    throw new CommandFailure(ExitCode.error, cause.message, { cause });
  }
}

async function openPatiently(
  platform: ReturnType<typeof nodePlatform>,
  path: string,
  { err }: World,
): Promise<Backend> {
  for (let attempts = 1; ; attempts++) {
    try {
      return await Backend.open(platform, path, { engine: boltEngine });
    } catch (error) {
      if (!(error instanceof CodedError) || error.code !== "BOLT_LOCKED") throw error;
    }
    if (attempts === ATTEMPTS_UNTOLD) {
      err(
        `waiting for etcd to close and release its lock on ${JSON.stringify(path)}. ` +
          "To defrag a running etcd instance, omit --data-dir.\n",
      );
    }
    await new Promise((wake) => setTimeout(wake, RETRY_MS));
  }
}
