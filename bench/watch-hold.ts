/**
 * Watches held open under load, with a reader that hangs and a member that is killed: `npm run bench:watch-hold`.
 *
 *   node dist/bench/watch-hold.js [--server SERVER] [--watchers 10000] [--keys 100] [--rate 1000] [--seconds 60] [--hang 30] [--kill]
 *
 * So many puts a second go to the keys in turns. One connection of readers stops reading for `--hang` seconds and then reads on. With
 * `--kill` the member is killed by SIGKILL in the middle and started again, and every watcher resumes behind the last revision that it
 * was told. In the end each watcher must have been told of each put of its key, in order and once: the count is compared with the key's
 * version. What the member's memory did is printed.
 */
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverNamed, underTest, type ServerBinary } from "../test/support/binaries.js";
import type { Message } from "../test/support/messages.js";
import { Stage, type Seat, type Server } from "../test/support/servers.js";
import { Histogram } from "./load/histogram.js";
import { WatchReader, type StreamPlan } from "./load/watch-reader.js";
import { memoryOf } from "./process-stats.js";

interface HoldOptions {
  readonly watchers: number;
  readonly keys: number;
  /** Puts a second. */
  readonly rate: number;
  readonly seconds: number;
  readonly hangSeconds: number;
  readonly kill: boolean;
}

const WATCHERS_PER_STREAM = 100;
const STREAMS_PER_CONNECTION = 10;
const VALUE_BYTES = 256;
const SETTLE_MS = 60_000;
/** Puts of a pulse are sent together. */
const PULSE_MS = 10;

const keyOf = (number: number): Uint8Array => Buffer.from(`held-${String(number).padStart(5, "0")}`);

/** What each watcher was told before its stream was lost. */
type Before = readonly { readonly revision: number; readonly events: number }[];

class Readers {
  readonly #options: HoldOptions;
  readonly #before: Before;
  readonly list: WatchReader[] = [];

  constructor(server: Server, options: HoldOptions, before: Before) {
    this.#options = options;
    this.#before = before;
    const plans: StreamPlan[] = [];
    for (let first = 0; first < options.watchers; first += WATCHERS_PER_STREAM) plans.push(this.#plan(first));
    for (let at = 0; at < plans.length; at += STREAMS_PER_CONNECTION) {
      this.list.push(new WatchReader(server.address, plans.slice(at, at + STREAMS_PER_CONNECTION)));
    }
  }

  #plan(first: number): Message[] {
    const count = Math.min(WATCHERS_PER_STREAM, this.#options.watchers - first);
    return Array.from({ length: count }, (_, i) => {
      const { revision } = this.#before[first + i] ?? { revision: 0 };
      return { key: keyOf((first + i) % this.#options.keys), start_revision: revision === 0 ? 1 : revision + 1 };
    });
  }

  get created(): number {
    return this.list.reduce((sum, { created }) => sum + created, 0);
  }

  /** What each watcher was told in all, by its number. */
  told(): Before {
    return Array.from({ length: this.#options.watchers }, (_, watcher) => {
      const stream = Math.floor(watcher / WATCHERS_PER_STREAM);
      const reader = this.list[Math.floor(stream / STREAMS_PER_CONNECTION)]!;
      const now = reader.toldOf(stream % STREAMS_PER_CONNECTION, watcher % WATCHERS_PER_STREAM);
      const before = this.#before[watcher] ?? { revision: 0, events: 0 };
      return now === undefined ? before : { revision: now.revision, events: before.events + now.events };
    });
  }

  assertWell(): void {
    for (const { error } of this.list) if (error !== undefined) throw error;
  }

  close(): void {
    for (const reader of this.list) reader.close();
  }
}

/** Puts at a rate, over the life of one server; answers how long each took. */
async function putFor(server: () => Server, options: HoldOptions, seconds: number, first: number): Promise<Histogram> {
  const times = new Histogram();
  const value = Buffer.alloc(VALUE_BYTES, 7);
  const began = performance.now();
  const underWay = new Set<Promise<void>>();
  let sent = 0;
  while (performance.now() - began < seconds * 1000) {
    const due = Math.floor(((performance.now() - began) / 1000) * options.rate);
    for (; sent < due; sent++) {
      const at = performance.now();
      const put = server()
        .client.put(keyOf((first + sent) % options.keys), value)
        .then(() => times.record(performance.now() - at));
      const done = put.finally(() => underWay.delete(done));
      underWay.add(done);
    }
    await pause(PULSE_MS);
  }
  await Promise.all(underWay);
  return times;
}

async function hold(stage: Stage, binary: ServerBinary, options: HoldOptions): Promise<void> {
  const seat = await stage.seat();
  let server = await stage.start(binary, seat);
  let readers = new Readers(server, options, []);
  try {
    while (readers.created < options.watchers) {
      readers.assertWell();
      await pause(10);
    }
    console.log(`${options.watchers} watchers stand, ${describeMemory(server)}`);
    const half = options.kill ? options.seconds / 2 : options.seconds;
    const hung = readers.list[0]!;
    const hangs = setTimeout(() => hung.pause(), 2_000);
    const reads = setTimeout(() => hung.resume(), 2_000 + options.hangSeconds * 1000);
    const watchMemory = setInterval(() => console.log(`  ${describeMemory(server)}`), 10_000);
    const times = await putFor(() => server, options, half, 0);
    clearTimeout(hangs);
    clearTimeout(reads);
    hung.resume();
    console.log(
      `${times.count} puts, p50 ${times.percentileMs(0.5).toFixed(1)} ms, p99 ${times.percentileMs(0.99).toFixed(1)} ms`,
    );
    if (options.kill) {
      const lost = readers.told();
      ({ server, readers } = await killAndResume(stage, binary, seat, server, readers, options, lost));
      await putFor(() => server, options, half, times.count);
    }
    clearInterval(watchMemory);
    await settle(server, readers, options);
    console.log(`each watcher was told of each put of its key, in order and once; ${describeMemory(server)}`);
  } finally {
    readers.close();
    await server.stop();
  }
}

async function killAndResume(
  stage: Stage,
  binary: ServerBinary,
  seat: Seat,
  server: Server,
  readers: Readers,
  options: HoldOptions,
  lost: Before,
): Promise<{ server: Server; readers: Readers }> {
  await server.kill();
  readers.close();
  const again = await stage.start(binary, seat);
  console.log(`killed and started again; watchers resume`);
  return { server: again, readers: new Readers(again, options, lost) };
}

/** Waits until every watcher has been told what there is. */
async function settle(server: Server, readers: Readers, options: HoldOptions): Promise<void> {
  const versions: number[] = [];
  for (let key = 0; key < options.keys; key++) {
    const { kvs } = await server.client.call("Range", { key: keyOf(key) });
    versions.push(Number((kvs as readonly Message[] | undefined)?.[0]?.["version"] ?? 0));
  }
  const deadline = performance.now() + SETTLE_MS;
  for (;;) {
    readers.assertWell();
    const told = readers.told();
    const behind = told.filter(({ events }, watcher) => events < versions[watcher % options.keys]!).length;
    const above = told.filter(({ events }, watcher) => events > versions[watcher % options.keys]!).length;
    if (above > 0) throw new Error(`${above} watchers were told more than there is`);
    if (behind === 0) return;
    if (performance.now() > deadline) throw new Error(`${behind} watchers lack something after ${SETTLE_MS / 1000} s`);
    await pause(50);
  }
}

function describeMemory(server: Server): string {
  if (!server.running) return "the member does not run";
  return `the member has ${Math.round(memoryOf(server.pid).anonymousBytes / 2 ** 20)} MiB of its own`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string" },
      watchers: { type: "string", default: "10000" },
      keys: { type: "string", default: "100" },
      rate: { type: "string", default: "1000" },
      seconds: { type: "string", default: "60" },
      hang: { type: "string", default: "30" },
      kill: { type: "boolean", default: false },
    },
  });
  const binary = values.server === undefined ? underTest() : serverNamed(values.server);
  const { watchers, keys, rate, seconds, hang, kill } = values;
  const options = {
    watchers: Number(watchers),
    keys: Number(keys),
    rate: Number(rate),
    seconds: Number(seconds),
    hangSeconds: Number(hang),
    kill,
  };
  console.log(`${binary.name}: ${watchers} watchers on ${keys} keys, ${rate} puts/s for ${seconds} s`);
  await Stage.with((stage) => hold(stage, binary, options));
}

await main();
