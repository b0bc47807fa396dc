/**
 * A member without a network: puts and gets by direct calls, so that the time of the member itself can be told from the transport's.
 * `npm run bench:member [-- --what put,get,serializable --in-flight 1,100,1000 --rounds 5 --seconds 1 --keys 100000]`.
 *
 * The best round is told: others on the machine only add to a round. Calls are made in closed loops, all in this process. Bytes allocated are the sum of what the heap grew between looks at it: what a
 * collection between two looks took away is not seen, so looks come every few hundred calls.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Walnut } from "../src/embed/walnut.js";
import type { Member } from "../src/server/index.js";
import { describeMachine } from "./h2load.js";

const VALUE = new Uint8Array(256).fill(0x76);
const LOOK_EVERY = 200;

type Operation = (member: Member, key: Uint8Array) => Promise<unknown>;

const OPERATIONS: Readonly<Record<string, Operation>> = {
  put: (member, key) =>
    member.put({ key, value: VALUE, lease: 0n, prevKv: false, ignoreValue: false, ignoreLease: false }),
  get: (member, key) => member.range(rangeOf(key, false)),
  serializable: (member, key) => member.range(rangeOf(key, true)),
};

function rangeOf(key: Uint8Array, serializable: boolean): Parameters<Member["range"]>[0] {
  return {
    key,
    rangeEnd: new Uint8Array(),
    limit: 0,
    revision: 0,
    sortOrder: 0,
    sortTarget: 0,
    serializable,
    keysOnly: false,
    countOnly: false,
    minModRevision: 0,
    maxModRevision: 0,
    minCreateRevision: 0,
    maxCreateRevision: 0,
  };
}

function keyOf(number: number): Uint8Array {
  return new TextEncoder().encode(`key-${String(number).padStart(12, "0")}`);
}

/** Time that the thread of the loop ran, in microseconds: without the collector's helpers and the disk's. */
function loopMicroseconds(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ")[0]) / 1000;
}

interface Measured {
  readonly perSecond: number;
  readonly loopMicroseconds: number;
  readonly cpuMicroseconds: number;
  readonly bytes: number;
}

async function measure(
  member: Member,
  operation: Operation,
  keys: readonly Uint8Array[],
  inFlight: number,
  seconds: number,
): Promise<Measured> {
  let done = 0;
  let heap = process.memoryUsage().heapUsed;
  let bytes = 0;
  const until = performance.now() + seconds * 1000;
  const cpu = process.cpuUsage();
  const loopTime = loopMicroseconds();
  const began = performance.now();
  const callAndAgain = async (first: number): Promise<void> => {
    for (let at = first; performance.now() < until; at += inFlight) {
      await operation(member, keys[(at * 7919) % keys.length]!);
      if (++done % LOOK_EVERY === 0) {
        const now = process.memoryUsage().heapUsed;
        if (now > heap) bytes += now - heap;
        heap = now;
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, (_, first) => callAndAgain(first)));
  const took = (performance.now() - began) / 1000;
  const { user, system } = process.cpuUsage(cpu);
  const loop = (loopMicroseconds() - loopTime) / done;
  return {
    perSecond: done / took,
    loopMicroseconds: loop,
    cpuMicroseconds: (user + system) / done,
    bytes: bytes / done,
  };
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      what: { type: "string", default: "put,get,serializable" },
      "in-flight": { type: "string", default: "1,100,1000" },
      seconds: { type: "string", default: "1" },
      rounds: { type: "string", default: "5" },
      keys: { type: "string", default: "100000" },
      dir: { type: "string", default: tmpdir() },
    },
  });
  const folder = mkdtempSync(join(values.dir, "walnut-bench-member-"));
  const keys = Array.from({ length: Number(values.keys) }, (_, number) => keyOf(number));
  const walnut = await Walnut.start({ dataDir: join(folder, "data") });
  try {
    console.log(`a member alone, values of ${VALUE.length} bytes, ${keys.length} keys, ${describeMachine(folder)}`);
    console.log("what          in flight   calls/s   loop µs   processor µs   bytes a call");
    for (const what of values.what.split(",")) {
      const operation = OPERATIONS[what];
      if (operation === undefined) throw new Error(`--what ${what}: known are ${Object.keys(OPERATIONS).join(", ")}`);
      await measure(walnut.member, operation, keys, 100, 1);
      for (const inFlight of values["in-flight"].split(",").map(Number)) {
        const rounds: Measured[] = [];
        for (let round = 0; round < Number(values.rounds); round++) {
          rounds.push(await measure(walnut.member, operation, keys, inFlight, Number(values.seconds)));
        }
        const perSecond = Math.max(...rounds.map((round) => round.perSecond));
        const loop = Math.min(...rounds.map((round) => round.loopMicroseconds));
        const cpuMicroseconds = Math.min(...rounds.map((round) => round.cpuMicroseconds));
        const bytes = Math.min(...rounds.map((round) => round.bytes));
        console.log(
          `${what.padEnd(14)}${String(inFlight).padStart(9)}${perSecond.toFixed(0).padStart(10)}` +
            `${loop.toFixed(1).padStart(10)}${cpuMicroseconds.toFixed(1).padStart(15)}${bytes.toFixed(0).padStart(15)}`,
        );
      }
    }
  } finally {
    await walnut.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

await main();
