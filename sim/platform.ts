/** The whole simulated world under one seed. */
import type { Platform } from "../src/platform/index.js";
import { SimClock } from "./clock.js";
import { SimDisk, type SimDiskOptions } from "./disk.js";
import { recordingLog, type RecordingLog } from "./log.js";
import { SimNetwork } from "./network.js";
import { SimRandom } from "./random.js";

export interface SimPlatform extends Platform {
  readonly disk: SimDisk;
  readonly clock: SimClock;
  readonly random: SimRandom;
  readonly network: SimNetwork;
  readonly log: RecordingLog;
}

export function simPlatform(options: SimDiskOptions & { readonly seed?: number } = {}): SimPlatform {
  return {
    disk: new SimDisk(options),
    clock: new SimClock(),
    random: new SimRandom(options.seed ?? 1).stream("platform"),
    network: new SimNetwork(),
    log: recordingLog(),
  };
}
