/** Where things lie in a data directory: etcd's layout. */
import { joinPath } from "../platform/disk.js";

export interface Layout {
  readonly dataDir: string;
  readonly memberDir: string;
  readonly walDir: string;
  readonly snapDir: string;
  readonly dbPath: string;
}

/** @param walDir a folder of its own for the log (`--wal-dir`), else inside the data directory */
export function layoutOf(dataDir: string, walDir?: string): Layout {
  const memberDir = joinPath(dataDir, "member");
  const snapDir = joinPath(memberDir, "snap");
  return { dataDir, memberDir, walDir: walDir ?? joinPath(memberDir, "wal"), snapDir, dbPath: joinPath(snapDir, "db") };
}
