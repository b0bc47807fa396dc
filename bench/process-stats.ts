/**
 * What Linux tells of a process in `/proc`: its processor time and its memory.
 */
import { readFileSync } from "node:fs";

/** Linux counts processor time for programs in hundredths of a second, whatever its own clock does. */
const TICKS_PER_SECOND = 100;
/** Fields of `stat`, counted after the name, which is in parentheses and may hold anything. */
const USER_TICKS = 11;
const SYSTEM_TICKS = 12;

/** Processor seconds of all threads of a process since its start, in the kernel and outside of it. */
export function cpuSeconds(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "latin1");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[USER_TICKS]) + Number(fields[SYSTEM_TICKS])) / TICKS_PER_SECOND;
}

export interface ProcessMemory {
  /** Resident, pages of mapped files included. */
  readonly residentBytes: number;
  /** Resident and the process's own. */
  readonly anonymousBytes: number;
}

export function memoryOf(pid: number): ProcessMemory {
  const text = readFileSync(`/proc/${pid}/status`, "latin1");
  const bytes = (field: string): number => {
    const kibibytes = new RegExp(`^${field}:\\s+(\\d+) kB$`, "m").exec(text)?.[1];
    if (kibibytes === undefined) throw new Error(`/proc/${pid}/status has no ${field}`);
    return Number(kibibytes) * 1024;
  };
  return { residentBytes: bytes("VmRSS"), anonymousBytes: bytes("RssAnon") };
}
