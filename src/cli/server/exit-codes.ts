/**
 * How the process ends: removed from the cluster, refused (flags, directory), failed while it ran (the disk: sysexits' EX_IOERR), or a bug (EX_SOFTWARE).
 * A process that was told to stop ends by that signal, as etcd does.
 */
import { CodedError } from "../../base/errors.js";
import { DiskError } from "../../platform/disk.js";
import { MemberError } from "../../server/errors.js";
import { ArgumentError } from "./arguments.js";

const EXIT_REMOVED = 0;
const EXIT_REFUSED = 1;
const EXIT_DISK = 74;
export const EXIT_BUG = 70;

/** For a start that was refused, or that met a bug. */
export function exitCodeOfRefusal(error: unknown): number {
  if (error instanceof ArgumentError) return error.exitCode;
  return error instanceof CodedError ? EXIT_REFUSED : EXIT_BUG;
}

/** For a member that failed while it ran. One that the cluster removed ends as etcd's does: nobody is to start it again. */
export function exitCodeOfFailure(error: unknown): number {
  if (error instanceof MemberError && error.code === "MEMBER_REMOVED") return EXIT_REMOVED;
  for (let cause: unknown = error; cause instanceof Error; cause = cause.cause) {
    if (cause instanceof DiskError) return EXIT_DISK;
  }
  return EXIT_BUG;
}
