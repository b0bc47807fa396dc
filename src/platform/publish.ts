/**
 * The one way to create a named file (design decision 11): write under a temporary name, sync, rename, sync the folder.
 * After a crash the file is there whole, or not at all.
 */
import { parentPath, type Disk, type DiskFile } from "./disk.js";

/**
 * Publishes a file. `write` fills the temporary one; it is synced here. When anything fails the temporary file is removed
 * (as far as the disk still allows) and the first failure is thrown.
 *
 * @param temporary a name in the same folder that the room's cleaner knows
 */
export async function publishFile(
  disk: Disk,
  temporary: string,
  final: string,
  write: (file: DiskFile) => Promise<void>,
): Promise<void> {
  const file = await disk.open(temporary, "replace");
  try {
    try {
      await write(file);
      await file.sync();
    } finally {
      await file.close();
    }
    await disk.rename(temporary, final);
  } catch (error) {
    await disk.removeFile(temporary).catch(() => undefined); // the first failure is the one to tell
    throw error;
  }
  await disk.syncFolder(parentPath(final));
}
