// Runs compiled tests and ends with one line: N passed, N failed, N skipped.
//   node scripts/test.mjs [--fail-on-skip] [--without PART] [FILTER ...]     a filter is a part of a path, as in `raft` or `wal/reader`
// Where CI is set a skipped test fails the run, as with --fail-on-skip.
import { spawn } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";

const root = join(import.meta.dirname, "..", "dist");
const { values, positionals: filters } = parseArgs({
  allowPositionals: true,
  options: {
    "fail-on-skip": { type: "boolean", default: false },
    without: { type: "string", multiple: true, default: [] },
  },
});
const failOnSkip = values["fail-on-skip"] || (process.env.CI ?? "") !== "";
const files = readdirSync(root, { recursive: true })
  .map(String)
  .filter((name) => name.endsWith(".test.js"))
  .filter((name) => filters.length === 0 || filters.some((filter) => name.includes(filter)))
  .filter((name) => !values.without.some((part) => name.includes(part)))
  .sort()
  .map((name) => join(root, name));
if (files.length === 0) {
  console.error(`no compiled test matches ${filters.join(" ") || "anything"} below ${root}: run 'npm run build' first`);
  process.exit(1);
}

const reporter = ["--test-reporter=spec", "--test-reporter-destination=stdout"];
const child = spawn(
  process.execPath,
  ["--test", "--test-concurrency=2", "--enable-source-maps", ...reporter, ...files],
  {
    stdio: ["ignore", "pipe", "inherit"],
  },
);
const counts = { pass: 0, fail: 0, skipped: 0, cancelled: 0, todo: 0 };
let rest = "";
child.stdout.setEncoding("utf8");
child.stdout.on("data", (text) => {
  process.stdout.write(text);
  const lines = (rest + text).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    const match = /^ℹ (pass|fail|skipped|cancelled|todo) (\d+)/.exec(line);
    if (match !== null) counts[match[1]] = Number(match[2]);
  }
});
child.on("close", (code) => {
  const skipped = counts.skipped + counts.todo;
  const failed = counts.fail + counts.cancelled;
  console.log(`${counts.pass} passed, ${failed} failed, ${skipped} skipped`);
  if (failOnSkip && skipped > 0) console.error("a test was skipped where none may be: read its reason above");
  process.exit(code !== 0 || failed > 0 || counts.pass === 0 || (failOnSkip && skipped > 0) ? 1 : 0);
});
