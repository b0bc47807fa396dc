/** What real etcd sent (golden/README.md says how it was recorded). Compiled tests run from dist/, the files stay in src/. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

/** The repository's root, seen from the compiled tests (`dist/src/peer/testing`). */
export const REPOSITORY = join(import.meta.dirname, "..", "..", "..", "..");

export function golden(
  name: "message-3.5.30.stream" | "append-3.5.30.stream" | "snapshot-head-3.5.30.bin" | "snapshot-request-3.5.30.txt",
): Uint8Array {
  return new Uint8Array(readFileSync(join(REPOSITORY, "src/peer/testing/golden", name)));
}
