/** Finds scripts on disk. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";

/** Where the scripts that real etcd raft passes lie, seen from the project's folder. */
export const CONFORMANCE_FOLDER = "../shared/conformance/raft";

/** Paths of all `.txt` files below a folder, or the path itself when it is a file; undefined when there is no such path. */
export function findScripts(path: string): string[] | undefined {
  const found = statSync(path, { throwIfNoEntry: false });
  if (found === undefined) return undefined;
  if (!found.isDirectory()) return [path];
  return readdirSync(path, { recursive: true, encoding: "utf8" })
    .filter((name) => name.endsWith(".txt"))
    .sort()
    .map((name) => join(path, name));
}
