/**
 * Where the time went, of the CPU profile that `node --cpu-prof` writes: by function and by file.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

interface CpuProfile {
  /** Microseconds of the clock that `process.hrtime` has. */
  readonly startTime: number;
  readonly nodes: readonly {
    readonly id: number;
    readonly children?: readonly number[];
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

/** Functions of a way that are told, and ways. */
const WAY_MAX = 9;
const WAYS_TOLD = 4;

/** Prints the one profile in a folder. @throws where there is none: the process did not end by itself */
export function printProfile(folder: string): void {
  const file = readdirSync(folder).find((name) => name.endsWith(".cpuprofile"));
  if (file === undefined) throw new Error("node wrote no CPU profile: the process did not end by itself");
  printTable(JSON.parse(readFileSync(join(folder, file), "utf8")) as CpuProfile);
}

/** Prints what ran between two times: the ways down to what took longest. @param text of a CPU profile */
export function printBusiest(text: string, { from, to }: { readonly from: number; readonly to: number }): void {
  const { nodes, samples, timeDeltas, startTime } = JSON.parse(text) as CpuProfile;
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const parents = new Map(nodes.flatMap(({ id, children = [] }) => children.map((child) => [child, id] as const)));
  const ways = new Map<string, number>();
  let at = startTime;
  for (const [i, id] of samples.entries()) {
    at += timeDeltas[i]!;
    if (at < from || at > to) continue;
    const names: string[] = [];
    for (let node: number | undefined = id; node !== undefined && names.length < WAY_MAX; node = parents.get(node)) {
      names.push(frames.get(node)!.functionName || "(anonymous)");
    }
    const way = names.join(" < ");
    ways.set(way, (ways.get(way) ?? 0) + timeDeltas[i]!);
  }
  for (const [way, time] of [...ways].sort(([, a], [, b]) => b - a).slice(0, WAYS_TOLD)) {
    console.log(`    ${(time / 1000).toFixed(1).padStart(6)} ms  ${way}`);
  }
}

function printTable({ nodes, samples, timeDeltas }: CpuProfile): void {
  const frames = new Map(nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byFile = new Map<string, number>();
  let total = 0;
  const add = (table: Map<string, number>, name: string, time: number): void => {
    table.set(name, (table.get(name) ?? 0) + time);
  };
  for (const [i, id] of samples.entries()) {
    const { functionName, url, lineNumber } = frames.get(id)!;
    const time = timeDeltas[i]!;
    if (functionName === "(idle)") continue;
    total += time;
    const place = url.replace(/^.*\/(dist\/src|node_modules)\//, "");
    add(byFunction, `${functionName || "(anonymous)"}${place === "" ? "" : ` ${place}:${lineNumber + 1}`}`, time);
    add(byFile, place === "" ? functionName || "(native)" : place, time);
  }
  for (const [title, table] of [["by function", byFunction] as const, ["by file", byFile] as const]) {
    console.log(`  own time ${title}, of ${(total / 1e6).toFixed(1)} s not idle:`);
    const top = [...table].sort(([, a], [, b]) => b - a).slice(0, 25);
    for (const [name, time] of top) console.log(`    ${((time / total) * 100).toFixed(1).padStart(5)} %  ${name}`);
  }
}
