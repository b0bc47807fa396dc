/**
 * How the process ends: refused (flags, directory), failed while it ran (the disk: sysexits' EX_IOERR), or a bug (EX_SOFTWARE).
 * A process that was told to stop ends by that signal, as etcd does; one whose member the cluster has removed has done its work.
 */
import { CodedError } from "../../base/errors.js";
import { DiskError } from "../../platform/disk.js";
import { MemberError } from "../../server/errors.js";
import { ArgumentError } from "./arguments.js";

const EXIT_DONE = 0;
const EXIT_REFUSED = 1;
const EXIT_DISK = 74;
export const EXIT_BUG = 70;

/** For a start that was refused, or that met a bug. */
export function exitCodeOfRefusal(error: unknown): number {
  if (error instanceof ArgumentError) return error.exitCode;
  return error instanceof CodedError ? EXIT_REFUSED : EXIT_BUG;
}

/** Whether a member ended because its cluster has removed it: nothing has failed then. */
export function wasRemoved(error: unknown): boolean {
  return error instanceof MemberError && error.code === "MEMBER_REMOVED";
}

/** For a member that ended by itself. */
export function exitCodeOfFailure(error: unknown): number {
  if (wasRemoved(error)) return EXIT_DONE; // etcd's, so that no supervisor starts it again
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof DiskError) return EXIT_DISK;
  }
  return EXIT_BUG;
}
