/** The five doors to the world. Rooms get them through their constructors; only `platform/node` and `sim/` make them. */
import type { Clock } from "./clock.js";
import type { Disk } from "./disk.js";
import type { Log } from "./log.js";
import type { Network } from "./network.js";
import type { Random } from "./random.js";

export * from "./clock.js";
export * from "./disk.js";
export * from "./log.js";
export * from "./network.js";
export * from "./publish.js";
export * from "./random.js";
export * from "./resting-clock.js";

export interface Platform {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly network: Network;
  readonly log: Log;
}
