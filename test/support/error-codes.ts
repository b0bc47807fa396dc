/**
 * The error codes that the source can throw, and those that docs/errors.md describes.
 *
 *   node dist/test/support/error-codes.js      prints the codes that the page lacks, with the file that has them
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { PROJECT } from "./binaries.js";

/** A code is a literal of capitals with at least one underscore, as in `"WAL_GAP"`. */
const LITERAL = /"([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)"/g;

/** Literals of that shape which are names of something else. */
const NO_CODES = [
  /^ETCD(CTL)?_/, // names of environment variables
  /^WALNUT_/,
  /^UV_/,
  /^ERR_/,
  /^CLUSTER_(STATE|TOKEN)$/,
];

/** Files whose capitals are the vocabulary of gRPC, TLS and etcd and not codes of ours. */
const VOCABULARY = ["src/proto/generated/", "src/grpc/status.ts", "src/tls/cipher-suites.ts"];

/** Every code in the source, with the first file that has it. */
export function collectCodes(project: string): Map<string, string> {
  const codes = new Map<string, string>();
  const files = readdirSync(join(project, "src"), { recursive: true, encoding: "utf8" })
    .map((name) => `src/${name}`)
    .filter((path) => path.endsWith(".ts") && !path.endsWith(".test.ts") && !path.includes("/testing/"))
    .filter((path) => !VOCABULARY.some((start) => path.startsWith(start)))
    .sort();
  for (const file of files) {
    for (const line of readFileSync(join(project, file), "utf8").split("\n")) {
      if (/^\s*(\/?\*|\/\/)/.test(line)) continue;
      for (const [, code] of line.matchAll(LITERAL)) {
        if (NO_CODES.some((pattern) => pattern.test(code!)) || codes.has(code!)) continue;
        codes.set(code!, file);
      }
    }
  }
  return codes;
}

/** A row of the catalogue. */
export interface Row {
  readonly meaning: string;
  readonly advice: string;
}

/** The rows of docs/errors.md: `| `CODE` | meaning | what to do |`. */
export function catalogued(project: string): Map<string, Row> {
  const rows = new Map<string, Row>();
  for (const line of readFileSync(join(project, "docs", "errors.md"), "utf8").split("\n")) {
    const match = /^\| `([A-Z0-9_]+)` +\| (.+?) +\| (.+?) +\|$/.exec(line);
    if (match !== null) rows.set(match[1]!, { meaning: match[2]!, advice: match[3]! });
  }
  return rows;
}

if (process.argv[1] === import.meta.filename) {
  const page = catalogued(PROJECT);
  for (const [code, file] of collectCodes(PROJECT)) if (!page.has(code)) console.log(`${code}  ${file}`);
}
