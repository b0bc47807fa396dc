/**
 * The verdict on a saved history:
 *
 *     node dist/sim/check/verify-file.js FILE [--search] [--steps N]
 *
 * `--search` also searches for an order, which trusts no revision. Ends with 0 when all is right, 1 when a law is broken, 2 when the
 * verdict is open, 3 when the file is no history.
 */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { describeError } from "../../src/base/errors.js";
import { checkHistory, describeVerdict, type CheckOptions } from "./check-history.js";
import { historyFromLines } from "./history.js";

const EXIT_CODES = { right: 0, violated: 1, undecided: 2 } as const;
const EXIT_UNREADABLE = 3;

export interface VerifyResult {
  readonly text: string;
  readonly exitCode: number;
}

export function verifyFile(path: string, options: CheckOptions = {}): VerifyResult {
  try {
    const verdict = checkHistory(historyFromLines(readFileSync(path, "utf8")), options);
    return { text: describeVerdict(verdict), exitCode: EXIT_CODES[verdict.kind] };
  } catch (error) {
    return { text: `${path}: ${describeError(error)}`, exitCode: EXIT_UNREADABLE };
  }
}

function main(): void {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: { search: { type: "boolean", default: false }, steps: { type: "string" } },
  });
  const [path] = positionals;
  if (path === undefined) {
    console.error("usage: verify-file FILE [--search] [--steps N]");
    process.exitCode = EXIT_UNREADABLE;
    return;
  }
  const steps = values.steps === undefined ? {} : { searchStepsMax: Number(values.steps) };
  const { text, exitCode } = verifyFile(path, { search: values.search, ...steps });
  console.log(text);
  process.exitCode = exitCode;
}

if (process.argv[1] === import.meta.filename) main();
