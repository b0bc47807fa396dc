/**
 * Runs scripts: `npm run raft:scripts -- [--rewrite] [PATH ...]`, PATH a folder or a file.
 *
 * Prints a diff for each script that differs, and a line with the counts. Exits with 1 when one differs or could not be run, or
 * when there was none. `--rewrite` puts the outputs found into the files; read the result as a diff before keeping it.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { CONFORMANCE_FOLDER, findScripts } from "./find-scripts.js";
import { runScript } from "./run-script.js";

function main(args: readonly string[]): number {
  const rewrite = args.includes("--rewrite");
  const unknown = args.find((arg) => arg.startsWith("-") && arg !== "--rewrite");
  if (unknown !== undefined) {
    console.error(`unknown option ${unknown}; known is --rewrite`);
    return 1;
  }
  const given = args.filter((arg) => !arg.startsWith("-"));
  const counts = { same: 0, differs: 0, broken: 0, rewritten: 0 };
  for (const path of given.length > 0 ? given : [CONFORMANCE_FOLDER]) {
    const files = findScripts(path);
    if (files === undefined) {
      console.error(`${path} does not exist: name a folder of scripts, or bring the conformance folder there`);
      counts.broken++;
      continue;
    }
    for (const file of files) {
      const result = runScript(file, readFileSync(file, "utf8"));
      if (result.kind !== "same") console.log(result.report);
      if (result.kind === "differs" && rewrite) {
        writeFileSync(file, result.text);
        counts.rewritten++;
      } else {
        counts[result.kind]++;
      }
    }
  }
  const rewritten = counts.rewritten > 0 ? `, ${counts.rewritten} rewritten` : "";
  console.log(
    `${counts.same} scripts passed, ${counts.differs} differed, ${counts.broken} could not be run${rewritten}`,
  );
  return counts.differs + counts.broken > 0 || counts.same + counts.rewritten === 0 ? 1 : 0;
}

process.exitCode = main(process.argv.slice(2));
