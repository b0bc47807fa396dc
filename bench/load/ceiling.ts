/**
 * The ceilings of the load generator and of `h2load`: what each gets out of a server that does nothing (`responder.ts`), in turns.
 *
 *     node dist/bench/load/ceiling.js [--rounds 3] [--seconds 2] [--in-flight 1,100,1000]
 *
 * A server that comes near to the ceiling was not measured: the generator was. The figures tell also what part of a core the
 * generator took for each request, since it shares the machine with the server.
 */
import { fork } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { connectionsFor, describeMachine, median } from "../figures.js";
import { h2load, putBody } from "../h2load.js";
import { LoadGenerator } from "./generator.js";
import { keyOf, kvRequest } from "./requests.js";

export interface Ceiling {
  readonly inFlight: number;
  /** Medians of the rounds, requests a second. */
  readonly generatorPerSecond: number;
  readonly h2loadPerSecond: number;
  /** Processor time that a request takes of the generator, in microseconds. */
  readonly generatorMicroseconds: number;
}

export interface CeilingOptions {
  readonly rounds: number;
  readonly seconds: number;
}

/** Both ceilings under one number of puts of 256 bytes in flight. */
export async function measureCeiling(
  generator: LoadGenerator,
  body: string,
  inFlight: number,
  { rounds, seconds }: CeilingOptions,
): Promise<Ceiling> {
  const responder = await startResponder();
  try {
    const connections = connectionsFor(inFlight);
    const job = {
      address: responder.address,
      pid: responder.pid,
      connections,
      inFlight,
      requests: [
        kvRequest("Put", { key: keyOf(0), value: Buffer.alloc(256, "v") }, { kind: "random", count: 100_000 }),
      ],
      seed: 1,
    };
    const own: number[] = [];
    const microseconds: number[] = [];
    const theirs: number[] = [];
    const load = { address: responder.address, body, inFlight };
    const rehearsal = await h2load({ ...load, requests: 5_000 });
    for (let round = 0; round < rounds; round++) {
      const until = { kind: "time", warmUpSeconds: 0.5, seconds } as const;
      const { perSecond, generatorCpuSeconds, answered, problems } = await generator.run({ ...job, until });
      if (problems.length > 0) throw new Error(`the responder was misunderstood: ${problems[0]![0]}`);
      own.push(perSecond);
      microseconds.push((generatorCpuSeconds / answered) * 1e6);
      theirs.push((await h2load({ ...load, requests: Math.ceil(rehearsal.perSecond * seconds) })).perSecond);
    }
    return {
      inFlight,
      generatorPerSecond: median(own),
      h2loadPerSecond: median(theirs),
      generatorMicroseconds: median(microseconds),
    };
  } finally {
    await responder.stop();
  }
}

interface Responder {
  readonly address: string;
  readonly pid: number;
  stop(): Promise<void>;
}

async function startResponder(): Promise<Responder> {
  const child = fork(join(import.meta.dirname, "responder.js"));
  const [port] = (await once(child, "message")) as [number];
  return {
    address: `127.0.0.1:${port}`,
    pid: child.pid!,
    stop: async () => {
      const exited = once(child, "exit");
      child.disconnect();
      await exited;
    },
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      seconds: { type: "string", default: "2" },
      "in-flight": { type: "string", default: "1,100,1000" },
    },
  });
  const folder = mkdtempSync(join(tmpdir(), "walnut-ceiling-"));
  const generator = new LoadGenerator();
  try {
    const body = putBody(folder);
    console.log(`ceilings, ${describeMachine(folder)}; medians of ${values.rounds} rounds`);
    for (const inFlight of values["in-flight"].split(",").map(Number)) {
      const options = { rounds: Number(values.rounds), seconds: Number(values.seconds) };
      const ceiling = await measureCeiling(generator, body, inFlight, options);
      console.log(
        `  ${inFlight} in flight: generator ${Math.round(ceiling.generatorPerSecond)} requests/s ` +
          `(${ceiling.generatorMicroseconds.toFixed(1)} µs of a core each), h2load ${Math.round(ceiling.h2loadPerSecond)}`,
      );
    }
  } finally {
    await generator.stop();
    rmSync(folder, { recursive: true });
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) await main();
