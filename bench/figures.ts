/**
 * Medians, spreads and numbers as people read them, and the machine that figures belong to.
 */
import { closeSync, fdatasyncSync, openSync, rmSync, writeSync } from "node:fs";
import { cpus, loadavg, release, totalmem } from "node:os";
import { join } from "node:path";

/** Connections for a number of requests in flight: as many clients as etcd's own benchmark would use. */
export const connectionsFor = (inFlight: number): number => Math.min(10, inFlight);

/** What several rounds gave. */
export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** @param values at least one */
export function spread(values: readonly number[]): Spread {
  return { median: median(values), low: Math.min(...values), high: Math.max(...values) };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

/** `12,345`; below 100 with as many decimals as make three digits. */
export function readable(value: number): string {
  const decimals = value >= 100 || value === 0 ? 0 : Math.min(3, Math.max(0, 2 - Math.floor(Math.log10(value))));
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

/** `12,345 (11,000 to 13,000)`, or the one figure there is. */
export function describeSpread({ median, low, high }: Spread): string {
  if (low === high) return readable(median);
  return `${readable(median)} (${readable(low)} to ${readable(high)})`;
}

/** The machine that a figure belongs to, in words; with its load before the run, since it may have other work. */
export function describeMachine(folder: string): string {
  const [{ model } = { model: "unknown" }] = cpus();
  const [load] = loadavg();
  const busy = load! > cpus().length / 4 ? ", so it had other work" : "";
  return (
    `${new Date().toISOString().slice(0, 10)}, node ${process.version}, Linux ${release()}, ${cpus().length} x ${model}, ` +
    `${Math.round(totalmem() / 2 ** 30)} GiB; fdatasync here: ${Math.round(syncMicroseconds(folder))} µs; ` +
    `load average before: ${load!.toFixed(1)}${busy}`
  );
}

/** What one fdatasync of a small append costs on this disk: machines differ, so it stands beside the figures. */
function syncMicroseconds(folder: string): number {
  const file = join(folder, "probe");
  const descriptor = openSync(file, "w");
  const block = Buffer.alloc(512, 1);
  writeSync(descriptor, Buffer.alloc(2 ** 20));
  fdatasyncSync(descriptor);
  const samples = Array.from({ length: 300 }, (_, i) => {
    const begin = performance.now();
    writeSync(descriptor, block, 0, block.length, i * block.length);
    fdatasyncSync(descriptor);
    return (performance.now() - begin) * 1000;
  });
  closeSync(descriptor);
  rmSync(file);
  return median(samples);
}
