/** What a folder holds, in a form that two moments can be compared by. */
import { createHash } from "node:crypto";
import { lstatSync, readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";

/** Kind, mode, size, time of change and SHA-256 of everything below a folder, the folder itself included. */
export function fingerprint(folder: string): Readonly<Record<string, string>> {
  const found: Record<string, string> = {};
  const names = readdirSync(folder, { recursive: true }).map(String).sort();
  for (const name of ["", ...names]) {
    const path = join(folder, name);
    const { mode, size, mtimeMs } = lstatSync(path);
    const isFile = lstatSync(path).isFile();
    const hash = isFile ? createHash("sha256").update(readFileSync(path)).digest("hex") : "folder";
    found[name] = `${mode.toString(8)} ${isFile ? size : ""} ${mtimeMs} ${hash}`;
  }
  return found;
}
