/**
 * A member without a network: puts, gets, ranges and transactions by direct calls, so that the time of the member itself can be told from
 * the transport's.
 * `npm run bench:member [-- --what put,get,serializable,range,txn --in-flight 1,100,1000 --value 256 --rounds 5 --seconds 1 --keys 100000]`.
 *
 * The best round is told: others on the machine only add to a round. Calls are made in closed loops, all in this process. Bytes allocated are the sum of what the heap grew between looks at it: what a
 * collection between two looks took away is not seen, so looks come every few hundred calls.
 */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Walnut } from "../src/embed/walnut.js";
import { latin1FromBytes } from "../src/base/text.js";
import type { GetRequest } from "../src/proto/fast/get.js";
import { decodeTxn } from "../src/proto/fast/txn.js";
import type { Member } from "../src/server/index.js";
import type { Receiver } from "../src/server/contract.js";
import {
  Compare_CompareResult,
  Compare_CompareTarget,
  type PutRequest,
  TxnRequest,
} from "../src/proto/generated/etcdserverpb/kv.js";
import { describeMachine } from "./figures.js";

let VALUE = new Uint8Array(256).fill(0x76);
const LOOK_EVERY = 200;
const PAGE_KEYS = 1_000;

type Operation = (member: Member, key: Uint8Array, receiver: Receiver<unknown>) => void;

const putOf = (key: Uint8Array): PutRequest => ({
  key,
  value: VALUE,
  lease: 0n,
  prevKv: false,
  ignoreValue: false,
  ignoreLease: false,
});

const getOf = (key: Uint8Array, serializable: boolean): GetRequest => ({
  bytes: key,
  keyStart: 0,
  keyEnd: key.length,
  serializable,
});

const OPERATIONS: Readonly<Record<string, Operation>> = {
  put: (member, key, receiver) => member.putFor(putOf(key), receiver),
  /** "If the key is there, put it; if not, read it." */
  txn: (member, key, receiver) => {
    const encoded = conditionalPut(key);
    member.txnFor(decodeTxn(encoded)!, encoded, receiver);
  },
  /** What of the 1,000 keys from this one on is there. */
  range: (member, key, receiver) => {
    const low = latin1FromBytes(key);
    const end = latin1FromBytes(keyOf(Number(low.slice(4)) + PAGE_KEYS));
    member.spanFor({ key: low, rangeEnd: end, limit: 0, serializable: false }, receiver);
  },
  get: (member, key, receiver) => member.getFor(getOf(key, false), receiver),
  serializable: (member, key, receiver) => member.getFor(getOf(key, true), receiver),
};

let pattern: { readonly encoded: Uint8Array; readonly places: readonly number[] } | undefined;

/** The bytes that a client would send. All keys are of one size, so they are put into the places of the first. */
function conditionalPut(key: Uint8Array): Uint8Array {
  pattern ??= patternOf(key);
  const encoded = pattern.encoded.slice();
  for (const place of pattern.places) encoded.set(key, place);
  return encoded;
}

function patternOf(key: Uint8Array): { readonly encoded: Uint8Array; readonly places: readonly number[] } {
  const request = TxnRequest.fromPartial({
    compare: [
      {
        target: Compare_CompareTarget.CREATE,
        result: Compare_CompareResult.GREATER,
        key,
        targetUnion: { $case: "createRevision", value: 0 },
      },
    ],
    success: [{ request: { $case: "requestPut", value: putOf(key) } }],
    failure: [{ request: { $case: "requestRange", value: { key } } }],
  });
  const encoded = TxnRequest.encode(request).finish().slice();
  const text = latin1FromBytes(encoded);
  const places: number[] = [];
  for (let at = text.indexOf(latin1FromBytes(key)); at >= 0; at = text.indexOf(latin1FromBytes(key), at + 1))
    places.push(at);
  return { encoded, places };
}

function keyOf(number: number): Uint8Array {
  return new TextEncoder().encode(`key-${String(number).padStart(12, "0")}`);
}

/** Time that the thread of the loop ran, in microseconds: without the collector's helpers and the disk's. */
function loopMicroseconds(): number {
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, "latin1").split(" ")[0]) / 1000;
}

let waiting: (() => void)[] = [];

/** Runs in the next turn, together with all others of this one. */
function next(call: () => void): void {
  if (waiting.push(call) > 1) return;
  setImmediate(() => {
    const calls = waiting;
    waiting = [];
    for (const go of calls) go();
  });
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
  const isOver = (): boolean => ++done % LOOK_EVERY === 0 && look() >= until;
  const look = (): number => {
    const now = process.memoryUsage().heapUsed;
    if (now > heap) bytes += now - heap;
    heap = now;
    return performance.now();
  };
  let over = false;
  await Promise.all(
    Array.from(
      { length: inFlight },
      (_, first) =>
        new Promise<void>((resolve, reject) => {
          let at = first;
          // Calls of one turn go out in the next one together, as those do that come from sockets.
          const call = (): void => operation(member, keys[(at * 7919) % keys.length]!, { resolve: again, reject });
          const again = (): void => {
            over ||= isOver();
            at += inFlight;
            if (over) resolve();
            else next(call);
          };
          call();
        }),
    ),
  );
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
      value: { type: "string", default: "256" },
      dir: { type: "string", default: tmpdir() },
    },
  });
  const folder = mkdtempSync(join(values.dir, "walnut-bench-member-"));
  VALUE = new Uint8Array(Number(values.value)).fill(0x76);
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
