/** The page tells the limits as they are. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { GRPC_LIMITS } from "./limits.js";

test("docs/formats/http2.md has every limit of the sockets with its value", () => {
  const page = readFileSync(join(import.meta.dirname, "..", "..", "..", "docs", "formats", "http2.md"), "utf8");
  for (const [name, value] of Object.entries(GRPC_LIMITS)) {
    if (typeof value !== "number") continue;
    assert.match(page, new RegExp(`\\| \`${name}\` +\\| ${value.toLocaleString("en-US")} +\\|`), name);
  }
});
