/** The snapshot file that real etcd wrote (golden/README.md says how). Compiled tests run from dist/, the file stays in src/. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

export const GOLDEN_NAME = "0000000000000003-0000000000000016.snap";

/** The repository's root, seen from the compiled tests (`dist/src/snap/testing`). */
export const REPOSITORY = join(import.meta.dirname, "..", "..", "..", "..");

export function goldenSnapshot(): Uint8Array {
  return new Uint8Array(readFileSync(join(REPOSITORY, "src/snap/testing/golden", GOLDEN_NAME)));
}
