/** Finds log and db from whatever folder a person names: the data directory, its `member`, or the folder itself. */
import { CodedError } from "../base/errors.js";
import { joinPath, type Disk } from "../platform/disk.js";
import { listSegments, validSnapshotEntries, type ReadDependencies, type SnapshotPoint } from "../wal/index.js";

export class InspectError extends CodedError<"INSPECT_NOT_FOUND"> {
  override readonly name = "InspectError";
}

/** @throws InspectError with the places that were looked at */
export async function findWal(disk: Disk, folder: string): Promise<string> {
  const candidates = [joinPath(folder, "member", "wal"), joinPath(folder, "wal"), folder];
  for (const candidate of candidates) {
    if ((await listSegments(disk, candidate)).length > 0) return candidate;
  }
  throw new InspectError(
    "INSPECT_NOT_FOUND",
    `no .wal file in ${candidates.join(", ")}: name a data directory or a log's folder`,
  );
}

/** @throws InspectError with the places that were looked at */
export async function findDb(disk: Disk, path: string): Promise<string> {
  const candidates = [joinPath(path, "member", "snap", "db"), joinPath(path, "snap", "db"), joinPath(path, "db"), path];
  for (const candidate of candidates) {
    if ((await disk.stat(candidate))?.kind === "file") return candidate;
  }
  throw new InspectError("INSPECT_NOT_FOUND", `no db at ${candidates.join(", ")}: name a data directory or the file`);
}

/** Where a whole log can be read from: its beginning, or the oldest snapshot that its oldest segment reaches back to. */
export async function oldestReadable(dependencies: ReadDependencies, folder: string): Promise<SnapshotPoint> {
  const [oldest] = await listSegments(dependencies.disk, folder);
  if (oldest === undefined || oldest.index === 0) return { index: 0, term: 0 };
  const snapshots = await validSnapshotEntries(dependencies, folder);
  const reachable = snapshots.filter(({ index }) => index >= oldest.index).sort((a, b) => a.index - b.index);
  const [first] = reachable;
  return first === undefined ? { index: 0, term: 0 } : { index: first.index, term: first.term };
}
