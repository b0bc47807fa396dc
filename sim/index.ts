/** The simulated world: a disk that loses power, a clock turned by hand, chance under a seed, a log that remembers. */
export * from "./clock.js";
export * from "./disk.js";
export * from "./explore.js";
export * from "./faults.js";
export * from "./log.js";
export * from "./network.js";
export * from "./platform.js";
export {
  CRASH_MODES,
  describeOperation,
  type CrashMode,
  type DiskOperation,
  type Fate,
  type PendingOperation,
} from "./platter.js";
export { StoredFile } from "./file.js";
export * from "./random.js";
