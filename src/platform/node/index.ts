/** The five doors as Node has them. */
import { createRequire } from "node:module";
import type * as Crc32 from "@node-rs/crc32";
import { installNativeCrc32c } from "../../base/crc32c.js";
import type { Platform } from "../index.js";
import { NodeClock } from "./clock.js";
import { NodeDisk, UnsyncedDisk } from "./disk.js";
import { nodeLog, type LogOptions, type NodeLog } from "./log.js";
import { NodeNetwork } from "./network.js";
import { NodeRandom } from "./random.js";

export { NodeClock } from "./clock.js";
export { NodeDisk } from "./disk.js";
export { LineWriter, nodeLog, NodeLog, type LineSink, type LogOptions } from "./log.js";
export type { LogRotation } from "./rotating-file.js";
export { NodeNetwork } from "./network.js";
export { openFilesMax } from "./open-files.js";
export { NodeRandom } from "./random.js";
export { lowerRuntimeThreads } from "./runtime-threads.js";

export interface NodePlatformOptions {
  /** Nothing is synced: what was written survives the process, but not the power. */
  readonly unsafeNoFsync?: boolean;
  /** How lines are written; or a log of your own, given as `Platform["log"]` to whoever takes one. */
  readonly log?: LogOptions;
}

/** The real world. Also installs the native CRC-32C where the machine has one. */
export function nodePlatform(options: NodePlatformOptions = {}): Platform & { readonly log: NodeLog } {
  installFastChecksum();
  return {
    disk: options.unsafeNoFsync === true ? new UnsyncedDisk() : new NodeDisk(),
    clock: new NodeClock(),
    random: new NodeRandom(),
    network: new NodeNetwork(),
    log: nodeLog(options.log),
  };
}

/** Without the native package all works, only long spans are summed more slowly. */
export function installFastChecksum(): boolean {
  try {
    const native = createRequire(import.meta.url)("@node-rs/crc32") as typeof Crc32;
    installNativeCrc32c((crc, bytes) => native.crc32c(bytes, crc));
    return true;
  } catch {
    return false;
  }
}
