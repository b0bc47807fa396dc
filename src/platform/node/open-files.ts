/** How many files a process may have open: each connection is one, and so are the log's segments and `db`. */
import { readFileSync } from "node:fs";

/** Undefined where the system does not tell, or sets no limit. Node raises its own limit to the hard one when it starts. */
export function openFilesMax(): number | undefined {
  if (process.platform !== "linux") return undefined;
  let limits: string;
  try {
    limits = readFileSync("/proc/self/limits", "latin1");
  } catch {
    return undefined; // a sandbox without /proc
  }
  const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
  return soft === undefined ? undefined : Number(soft);
}
