// The command that `npm` links must carry the executable bit; the compiler does not set it.
import { chmodSync, existsSync } from "node:fs";
import { join } from "node:path";

const main = join(import.meta.dirname, "..", "dist/src/cli/main.js");
if (existsSync(main)) chmodSync(main, 0o755);
