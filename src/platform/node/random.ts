/** Real chance, from the system's source. */
import { randomBytes, randomInt } from "node:crypto";
import type { Random } from "../random.js";

export class NodeRandom implements Random {
  below(bound: number): number {
    return randomInt(bound);
  }

  bytes(count: number): Uint8Array {
    return new Uint8Array(randomBytes(count));
  }
}
