/**
 * Fan-out of watches, Walnut and real etcd in the same run: `npm run bench:watch`.
 *
 *   node dist/bench/watch.js [--rounds 3] [--against 3.5.30,3.5.16] [--judged SERVER] [--plays one-key,hundred-keys]
 *        [--profile FOLDER]
 *
 * Each round starts a server on a folder of its own, opens the watchers, puts as fast as answers come (100 in flight), and waits until every
 * watcher has been told of every put of its key, in order and once. Told are events a second, over all watchers, from the first put to
 * the last event; and how long an event took, from the moment its put was sent, as a few of the streams see it.
 */
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { serverNamed, underTest, walnut, type ServerBinary } from "../test/support/binaries.js";
import type { Message } from "../test/support/messages.js";
import { Stage } from "../test/support/servers.js";
import { describeMachine } from "./figures.js";
import { LoadConnection, type Load } from "./load/connection.js";
import { Histogram } from "./load/histogram.js";
import { keyOf, kvRequest, RequestMaker } from "./load/requests.js";
import { Cursor, WatchReader, type StreamPlan } from "./load/watch-reader.js";
import { cpuSeconds } from "./process-stats.js";

interface WatchPlay {
  readonly name: string;
  readonly title: string;
  readonly keys: number;
  readonly watchers: number;
  /** Watchers of one stream. */
  readonly perStream: number;
  readonly puts: number;
}

const PLAYS: readonly WatchPlay[] = [
  {
    name: "one-key",
    title: "1,000 watchers of one key, a stream each",
    keys: 1,
    watchers: 1_000,
    perStream: 1,
    puts: 2_000,
  },
  {
    name: "one-stream",
    title: "1,000 watchers of one key on one stream",
    keys: 1,
    watchers: 1_000,
    perStream: 1_000,
    puts: 8_000,
  },
  {
    name: "hundred-keys",
    title: "10,000 watchers of 100 keys, 100 of a stream",
    keys: 100,
    watchers: 10_000,
    perStream: 100,
    puts: 20_000,
  },
];

const STREAMS_PER_CONNECTION = 100;
const IN_FLIGHT = 100;
const VALUE_BYTES = 256;
const WITHIN_MS = 120_000;
/** Every so many streams one is asked how long its events took, and every so many events of those: the clock costs as much as an event. */
const PROBED_EVERY = 50;
const PROBED_EVENTS_EVERY = 16;

interface Outcome {
  readonly eventsPerSecond: number;
  readonly putsPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Of the server's processors, for a thousand events. */
  readonly cpuMs: number;
}

/** The number of a stored pair's field. */
const PAIR_MOD_REVISION = 3;
/** The store's first one is 1, and nothing but these puts writes. */
const FIRST_REVISION = 2;

/** All puts of a play on one connection, which keeps their order: the revision tells which one an event is of. */
class Puts implements Load {
  /** When each was sent. */
  readonly sentAt: number[] = [];
  readonly #connection: LoadConnection;
  readonly #count: number;
  #ended = 0;
  #error: Error | undefined;
  #over: () => void = () => undefined;

  constructor(address: string, { puts, keys }: WatchPlay) {
    this.#count = puts;
    const message = { key: keyOf(0), value: Buffer.alloc(VALUE_BYTES, 7) };
    const maker = new RequestMaker(kvRequest("Put", message, { kind: "cycle", count: keys }), 1);
    this.#connection = new LoadConnection(address, IN_FLIGHT, [maker], this);
  }

  /** @throws when one went wrong */
  async make(): Promise<void> {
    await this.#connection.ready();
    const over = new Promise<void>((resolve) => (this.#over = resolve));
    this.#connection.start();
    await over;
    if (this.#error !== undefined) throw this.#error;
  }

  close(): void {
    this.#connection.close();
  }

  next(): number | undefined {
    if (this.sentAt.length >= this.#count) return undefined;
    this.sentAt.push(performance.now());
    return 0;
  }

  ended(_request: number, _startedAt: number, _now: number, problem: string | undefined): void {
    if (problem !== undefined) this.broke(new Error(`a put went wrong: ${problem}`));
    if (++this.#ended === this.#count) this.#over();
  }

  turned(): void {
    // nothing is measured by the turn
  }

  broke(error: Error): void {
    this.#error ??= error;
    this.#over();
  }
}

/** The streams of all watchers: watcher `i` watches key `i` modulo their number. */
function plansOf({ watchers, perStream, keys }: WatchPlay): StreamPlan[] {
  const plans: Message[][] = [];
  for (let i = 0; i < watchers; i++) {
    if (i % perStream === 0) plans.push([]);
    plans.at(-1)!.push({ key: keyOf(i % keys) });
  }
  return plans;
}

async function play(stage: Stage, binary: ServerBinary, scenario: WatchPlay): Promise<Outcome> {
  const server = await stage.start(binary, await stage.seat());
  const delays = new Histogram();
  const cursor = new Cursor();
  const puts = new Puts(server.address, scenario);
  let seen = 0;
  const probe = (stream: number, bytes: Uint8Array, start: number, end: number): void => {
    if (stream % PROBED_EVERY !== 0 || seen++ % PROBED_EVENTS_EVERY !== 0) return;
    cursor.find(bytes, start, end, PAIR_MOD_REVISION);
    delays.record(performance.now() - puts.sentAt[cursor.value - FIRST_REVISION]!);
  };
  const plans = plansOf(scenario);
  const readers: WatchReader[] = [];
  for (let at = 0; at < plans.length; at += STREAMS_PER_CONNECTION) {
    readers.push(new WatchReader(server.address, plans.slice(at, at + STREAMS_PER_CONNECTION), probe));
  }
  try {
    const sum = (of: (reader: WatchReader) => number): number =>
      readers.reduce((total, reader) => total + of(reader), 0);
    await until(() => sum(({ created }) => created) === scenario.watchers, readers);
    const cpuBefore = cpuSeconds(server.pid);
    const began = performance.now();
    await puts.make();
    const putMs = performance.now() - began;
    const expected = (scenario.puts * scenario.watchers) / scenario.keys;
    await until(() => sum(({ events }) => events) >= expected, readers);
    const tookMs = performance.now() - began;
    const events = sum((reader) => reader.events);
    if (events !== expected) throw new Error(`${events} events came, ${expected} were due`);
    return {
      eventsPerSecond: (events / tookMs) * 1000,
      putsPerSecond: (scenario.puts / putMs) * 1000,
      p50Ms: delays.percentileMs(0.5),
      p99Ms: delays.percentileMs(0.99),
      cpuMs: ((cpuSeconds(server.pid) - cpuBefore) * 1e6) / events,
    };
  } finally {
    for (const reader of readers) reader.close();
    puts.close();
    await server.stop();
  }
}

async function until(holds: () => boolean, readers: readonly WatchReader[]): Promise<void> {
  const deadline = performance.now() + WITHIN_MS;
  while (!holds()) {
    for (const { error } of readers) if (error !== undefined) throw error;
    if (performance.now() > deadline) {
      const told = readers.reduce((sum, { events }) => sum + events, 0);
      throw new Error(`${told} events came within ${WITHIN_MS / 1000} s`);
    }
    await pause(2);
  }
}

const median = (values: readonly number[]): number => [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)]!;
const rounded = (value: number): string => Math.round(value).toLocaleString("en-US");

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      rounds: { type: "string", default: "3" },
      against: { type: "string", default: "3.5.30,3.5.16" },
      judged: { type: "string" },
      profile: { type: "string" },
      plays: { type: "string", default: PLAYS.map(({ name }) => name).join(",") },
    },
  });
  const judged =
    values.profile !== undefined
      ? walnut(["--cpu-prof", `--cpu-prof-dir=${values.profile}`])
      : values.judged === undefined
        ? underTest()
        : serverNamed(values.judged);
  const binaries = [
    judged,
    ...values.against
      .split(",")
      .filter((name) => name !== "")
      .map(serverNamed),
  ];
  await Stage.with(async (stage) => {
    console.log(`puts of ${VALUE_BYTES} bytes, ${describeMachine(stage.folder)}; medians of ${values.rounds} rounds`);
    for (const scenario of PLAYS.filter(({ name }) => values.plays.split(",").includes(name))) {
      console.log(`\n${scenario.title}, ${rounded(scenario.puts)} puts`);
      const outcomes = new Map<string, Outcome[]>(binaries.map(({ name }) => [name, []]));
      for (let round = 0; round < Number(values.rounds); round++) {
        for (const binary of binaries) outcomes.get(binary.name)!.push(await play(stage, binary, scenario));
      }
      for (const [name, list] of outcomes) {
        const of = (pick: (outcome: Outcome) => number): number => median(list.map(pick));
        console.log(
          `  ${name.padEnd(12)} ${rounded(of(({ eventsPerSecond }) => eventsPerSecond)).padStart(9)} events/s` +
            ` ${rounded(of(({ putsPerSecond }) => putsPerSecond)).padStart(7)} puts/s` +
            `   delay p50 ${of(({ p50Ms }) => p50Ms).toFixed(1)} ms, p99 ${of(({ p99Ms }) => p99Ms).toFixed(1)} ms` +
            `   ${of(({ cpuMs }) => cpuMs).toFixed(1)} ms of processor for 1,000 events`,
        );
      }
    }
  });
}

await main();
