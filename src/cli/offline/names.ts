/** Whether a command line is one of those that look into a directory. Apart from them, so that asking loads nothing. */
export function isOfflineCommand(first: string | undefined): boolean {
  return first === "wal" || first === "db";
}
