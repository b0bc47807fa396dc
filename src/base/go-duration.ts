/** Durations as Go writes them, in flags, options and log lines. */

const MILLISECONDS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a duration: `1h2m`, `.5s`, `-10ms`, `0`; undefined for what Go refuses. */
export function parseDuration(text: string): number | undefined {
  const match = /^([+-]?)((?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+|0)$/.exec(text);
  if (match === null) return undefined;
  let total = 0;
  for (const [, amount, unit] of match[2]!.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    total += Number(amount) * MILLISECONDS[unit!]!;
  }
  return match[1] === "-" && total !== 0 ? -total : total;
}

const NANOSECONDS_PER_MS = 1_000_000;

/** The text of a duration as Go prints it and etcd's log lines have it: `1h0m0s`, `1.5s`, `20.125ms`, `0s`. */
export function formatDuration(milliseconds: number): string {
  const nanoseconds = Math.round(Math.abs(milliseconds) * NANOSECONDS_PER_MS);
  const sign = milliseconds < 0 && nanoseconds > 0 ? "-" : "";
  return sign + textOfNanoseconds(nanoseconds);
}

/** Below a second in the largest unit that gives a whole part, above it in hours, minutes and seconds. */
function textOfNanoseconds(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  if (nanoseconds < 1_000) return `${nanoseconds}ns`;
  if (nanoseconds < 1_000_000) return `${decimal(nanoseconds, 3)}µs`;
  if (nanoseconds < 1_000_000_000) return `${decimal(nanoseconds, 6)}ms`;
  const minutes = Math.floor(nanoseconds / 60_000_000_000);
  const seconds = `${decimal(nanoseconds - minutes * 60_000_000_000, 9)}s`;
  if (minutes === 0) return seconds;
  return minutes < 60 ? `${minutes}m${seconds}` : `${Math.floor(minutes / 60)}h${minutes % 60}m${seconds}`;
}

/** `value` divided by a power of ten, with no zeros at the end. */
function decimal(value: number, digits: number): string {
  const power = 10 ** digits;
  const fraction = String(value % power)
    .padStart(digits, "0")
    .replace(/0+$/, "");
  return `${Math.floor(value / power)}${fraction === "" ? "" : `.${fraction}`}`;
}
