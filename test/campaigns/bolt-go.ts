/**
 * Walnut and Go's bbolt change one file in turns and must read and check it alike:
 * `node dist/test/campaigns/bolt-go.js [FILES] [ROUNDS]`; 200 and 8 unless told.
 */
import { findGoBolt } from "../../src/bolt/testing/go-bolt.js";
import { runDifferential } from "../../src/bolt/testing/go-differential.js";

const files = Number(process.argv[2] ?? 200);
const rounds = Number(process.argv[3] ?? 8);
const go = findGoBolt();
if (go.kind === "missing") {
  console.error(`cannot run: ${go.why}`);
  process.exit(1);
}
let operations = 0;
let keys = 0;
for (let seed = 1; seed <= files; seed++) {
  const counts = await runDifferential(go.tool, seed, rounds);
  operations += counts.operations;
  keys += counts.keysCompared;
}
console.log(`${files} files, ${files * rounds} turns, ${operations} operations, ${keys} keys compared: all alike`);
