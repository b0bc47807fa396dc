/**
 * Hostile clients on a member's client port, while good ones are served: random bytes, broken frames, the scripts of `test/grpc/hostile-table.ts`,
 * messages that are too large, transactions within transactions, keys of ten megabytes, heads that never end on very many connections.
 *
 *   node dist/test/compat/hostile-clients.js [--server under-test] [--scale 1] [--only PART-OF-A-NAME] [--seed N]
 *
 * Laws, after each play: the member runs, its keys are what they were but for what was acknowledged; no call of the good clients failed, and half
 * of them took less than 20 ms; descriptors come back, and so does memory: what is in use after a collection, and nearly so what is resident.
 * `--scale 1` is 100,000 connections with heads that never end.
 */
import { fork, type ChildProcess } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import { setTimeout as pause } from "node:timers/promises";
import { parseArgs } from "node:util";
import { frameMessage, messagePrefix } from "../../src/grpc/framing.js";
import { PREFACE } from "../../src/http2/frames.js";
import { ascii, data, headers, joined, settings, settingsAck } from "../../src/http2/testing/peer.js";
import { attack } from "../grpc/hostile.js";
import { HOSTILE_SCRIPTS } from "../grpc/hostile-table.js";
import { PROJECT, serverNamed, type ServerBinary } from "../support/binaries.js";
import { answerOf } from "../support/child-answer.js";
import { EtcdClient, type Answer } from "../support/client.js";
import { memoryInUse, withMemoryProbe } from "../support/memory-in-use.js";
import { encode, type Message } from "../support/messages.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage, type Server } from "../support/servers.js";

const PUT = "/etcdserverpb.KV/Put";
const TXN = "/etcdserverpb.KV/Txn";

const OWN_SCRIPT = join(PROJECT, "dist/test/compat/hostile-clients.js");

/** Attackers and good clients share two processors with the member. */
const P50_MS_MAX = 20;
/** A heap grows with what is thrown at it, and its owner keeps pages for what comes next. */
const RESIDENT_SLACK_BYTES = 96 * 2 ** 20;
/** What a member has learned: compiled code, pooled buffers, the versions of a few keys. */
const IN_USE_SLACK_BYTES = 16 * 2 ** 20;
const DESCRIPTORS_SLACK = 4;
/** The longest patience with a connection that owes something is a minute. */
const COMES_BACK_WITHIN_MS = 120_000;

/** Open files of this process, and of the member's, leave room for so many connections of one attacker. */
const SLOW_PER_PROCESS = 9_000;
const SLOW_WAVE_MS = 6_000;

export interface HostileOptions {
  readonly binary: ServerBinary;
  readonly seed: number;
  /** 1 for the whole campaign. */
  readonly scale: number;
  readonly only: string;
}

/** What a play has to throw with, and whom at. */
interface Scene {
  readonly server: Server;
  readonly port: number;
  readonly random: SeededRandom;
  /** So many of what the whole campaign has, at least one. */
  readonly share: (whole: number) => number;
  /** A connection of its own. */
  readonly client: EtcdClient;
}

interface Play {
  readonly name: string;
  /** Throws what it has, and answers what that was, in words. */
  readonly run: (scene: Scene) => Promise<string>;
}

const GREETING = joined(PREFACE, settings(), settingsAck);
const REQUEST = (path: string): readonly (readonly [string, string])[] => [
  [":method", "POST"],
  [":scheme", "http"],
  [":path", path],
  [":authority", "member"],
  ["content-type", "application/grpc"],
  ["te", "trailers"],
];

const PLAYS: readonly Play[] = [
  { name: "random bytes", run: randomBytes },
  { name: "broken frames", run: brokenFrames },
  { name: "scripts of frames", run: scripts },
  { name: "messages that are too large", run: largeMessages },
  { name: "transactions within transactions", run: nestedTransactions },
  { name: "keys of ten megabytes", run: largeKeys },
  { name: "heads that never end", run: slowHeads },
];

/** Writes bytes to a connection of its own, and waits for its end or a moment. */
async function throwAt(port: number, bytes: Uint8Array, waitMs: number): Promise<void> {
  const socket = net.connect({ port, host: "127.0.0.1" });
  socket.on("error", () => undefined);
  socket.resume();
  const closed = new Promise((resolve) => socket.once("close", resolve)); // `once` of node:events would throw at a reset
  socket.write(bytes);
  await Promise.race([closed, pause(waitMs)]);
  socket.destroy();
  await closed;
}

async function inTurns<T>(items: Iterable<T>, atOnce: number, run: (item: T) => Promise<void>): Promise<void> {
  const iterator = items[Symbol.iterator]();
  const worker = async (): Promise<void> => {
    for (let next = iterator.next(); next.done !== true; next = iterator.next()) await run(next.value);
  };
  await Promise.all(Array.from({ length: atOnce }, worker));
}

function bytesOf(random: SeededRandom, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  for (let i = 0; i < count; i++) bytes[i] = random.between(0, 256);
  return bytes;
}

async function randomBytes({ port, random, share }: Scene): Promise<string> {
  const beginnings = [
    new Uint8Array(),
    PREFACE,
    GREETING,
    ascii("POST /v3/kv/put HTTP/1.1\r\n"),
    ascii("POST /v3/kv/range HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"),
    ascii("GET /health HTTP/1.1\r\n"),
    Uint8Array.of(0x16, 0x03, 0x01), // TLS's first bytes
  ];
  const count = share(5_000);
  const shots = Array.from({ length: count }, () =>
    joined(random.pick(beginnings), bytesOf(random, random.between(1, 4_000))),
  );
  await inTurns(shots, 50, async (shot) => throwAt(port, shot, 100));
  return `${count} connections`;
}

/** Good requests, of which some bits are not what they were. */
async function brokenFrames({ port, random, share }: Scene): Promise<string> {
  const put = frameMessage(encode("PutRequest", { key: Buffer.from("broken/frames"), value: Buffer.alloc(100) }));
  const calls = Array.from({ length: 20 }, (_, i) =>
    joined(headers(i * 2 + 1, REQUEST(i % 2 === 0 ? PUT : "/etcdserverpb.KV/None")), data(i * 2 + 1, put)),
  );
  const whole = joined(GREETING, ...calls);
  const count = share(5_000);
  const shots = Array.from({ length: count }, () => {
    const broken = whole.slice(0, random.oneIn(3) ? random.between(30, whole.length) : whole.length);
    // The preface is left as it is: what follows is to be read.
    for (let flips = random.between(1, 9); flips > 0; flips--) {
      broken[random.between(PREFACE.length, broken.length)]! ^= 1 << random.between(0, 8);
    }
    return broken;
  });
  await inTurns(shots, 50, async (shot) => throwAt(port, shot, 100));
  return `${count} connections`;
}

async function scripts({ port, share }: Scene): Promise<string> {
  let frames = 0;
  for (const script of HOSTILE_SCRIPTS) frames += (await attack(port, script, share(20_000), 100)).frames;
  return `${frames} frames of ${HOSTILE_SCRIPTS.length} scripts`;
}

function expectRefusal(answer: Answer, code: number, text: RegExp, what: string): void {
  if (answer.kind === "error" && answer.code === code && text.test(answer.text)) return;
  const came = answer.kind === "error" ? `code ${answer.code}: ${answer.text.slice(0, 200)}` : "an answer";
  throw new Error(`${what}: ${came}, where code ${code}, ${text.source} is due`);
}

const RESOURCE_EXHAUSTED = 8;
const INVALID_ARGUMENT = 3;

async function largeMessages({ client, port, share }: Scene): Promise<string> {
  const put = (bytes: number): Uint8Array =>
    encode("PutRequest", { key: Buffer.from("large"), value: Buffer.alloc(bytes) });
  const count = share(100);
  await inTurns(Array.from({ length: count }), 4, async () => {
    const taken = await client.send(PUT, put(1_600_000));
    expectRefusal(taken, INVALID_ARGUMENT, /request is too large/, "a put of 1.6 MB");
    const refused = await client.send(PUT, put(10_000_000));
    expectRefusal(refused, RESOURCE_EXHAUSTED, /larger than max/, "a put of 10 MB");
  });
  // Those who announce much and send little.
  const announced = joined(
    GREETING,
    ...Array.from({ length: 500 }, (_, i) =>
      joined(
        headers(i * 2 + 1, REQUEST(PUT)),
        data(i * 2 + 1, joined(messagePrefix(2_000_000), new Uint8Array(8_000)), 0),
      ),
    ),
  );
  await inTurns(Array.from({ length: count }), 10, async () => throwAt(port, announced, 200));
  return `${count * 2} puts, ${count * 500} messages that were only announced`;
}

/** A transaction in a transaction and so on, written from the inside: an encoder would need as deep a stack. */
function nested(depth: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let size = 0;
  const wrap = (tag: number): void => {
    const head = [tag];
    let length = size;
    for (; length >= 128; length = Math.floor(length / 128)) head.push((length % 128) | 128);
    head.push(length);
    pieces.push(Uint8Array.from(head));
    size += head.length;
  };
  const TXN_SUCCESS = 0x12;
  const OPERATION_TXN = 0x22;
  for (let i = 0; i < depth; i++) {
    wrap(OPERATION_TXN);
    wrap(TXN_SUCCESS);
  }
  return Buffer.concat(pieces.reverse());
}

async function nestedTransactions({ client, share }: Scene): Promise<string> {
  const depths = [1, 2, 10, 100, 1_000, 10_000, 100_000, 150_000];
  const told: string[] = [];
  for (const depth of depths) {
    const request = nested(depth);
    const answers = await Promise.all(Array.from({ length: share(20) }, async () => client.send(TXN, request)));
    const [answer] = answers;
    told.push(`${depth}: ${answer!.kind === "error" ? `${answer!.code} ${answer!.text.slice(0, 60)}` : "answered"}`);
  }
  return told.join("; ");
}

const LARGE_KEY_BYTES = 10_000_000;

/** They are refused where the limit is etcd's, and kept where it was raised. */
async function largeKeys({ client, server, share }: Scene): Promise<string> {
  const keyOf = (number: number): Uint8Array => Buffer.alloc(LARGE_KEY_BYTES, `key ${number} `);
  const put = (number: number): Uint8Array => encode("PutRequest", { key: keyOf(number), value: Buffer.from("x") });
  const count = share(20);
  for (let number = 0; number < count; number++) {
    expectRefusal(await client.send(PUT, put(number)), RESOURCE_EXHAUSTED, /larger than max/, "a key of 10 MB");
  }
  await Stage.with(async (stage) => {
    const seat = await stage.seat();
    const flags = ["--max-request-bytes", "33554432"];
    let generous = await stage.start(server.binary, seat, { flags });
    for (let number = 0; number < count; number++) {
      const answer = await generous.client.send(PUT, put(number));
      if (answer.kind === "error") throw new Error(`a key of 10 MB: code ${answer.code}: ${answer.text}`);
    }
    await generous.stop();
    generous = await stage.start(server.binary, seat, { flags });
    for (let number = 0; number < count; number++) {
      const answer = (await generous.client.call("Range", { key: keyOf(number) })) as { kvs?: readonly Message[] };
      if (answer.kvs?.length !== 1) throw new Error(`a key of 10 MB is not there after a restart`);
    }
    await generous.stop();
  });
  return `${count} refused, ${count} kept over a restart where the limit allows them`;
}

/** What an attacker's process is told: how many connections to open, and when to leave. */
interface SlowOrder {
  readonly port: number;
  readonly from: string;
  readonly count: number;
  readonly holdMs: number;
}

/** Beginnings of heads; a byte of the rest comes now and then. */
const SLOW_BEGINNINGS = [
  "G",
  "POST /v3/kv/range HTTP/1.1\r\nHost: member\r\nX-Slow: ",
  "PRI * HTTP/2.0\r\n",
  Buffer.from(joined(GREETING, headers(1, REQUEST(PUT)).subarray(0, 30))).toString("latin1"),
  Buffer.from(joined(GREETING, headers(1, REQUEST(PUT)))).toString("latin1"),
];

async function beSlow({ port, from, count, holdMs }: SlowOrder): Promise<number> {
  const sockets: net.Socket[] = [];
  let opened = 0;
  for (let i = 0; i < count; i++) {
    const socket = net.connect({ port, host: "127.0.0.1", localAddress: from });
    socket.on("error", () => undefined);
    socket.on("connect", () => {
      opened++;
      socket.write(SLOW_BEGINNINGS[i % SLOW_BEGINNINGS.length]!, "latin1");
    });
    socket.resume();
    sockets.push(socket);
    if (i % 100 === 99) await pause(2);
  }
  const until = performance.now() + holdMs;
  while (performance.now() < until) {
    await pause(1_000);
    for (const socket of sockets) if (socket.writable) socket.write("x");
  }
  for (const socket of sockets) socket.destroy();
  return opened;
}

/** Waves of connections, each from other addresses; the last goes over what the member may have open. */
async function slowHeads({ port, share }: Scene): Promise<string> {
  const total = share(100_000);
  let opened = 0;
  let address = 2;
  const order = async (wanted: number): Promise<void> => {
    const child = fork(OWN_SCRIPT, ["--slow"], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    child.send({ port, from: `127.0.0.${address++}`, count: wanted, holdMs: SLOW_WAVE_MS } satisfies SlowOrder);
    const count = await answerOf<number>(child, "slow connections"); // several are waited for at once
    opened += count;
  };
  const perWave = Math.min(total, SLOW_PER_PROCESS);
  for (let left = total - perWave; left > 0; left -= perWave) await order(Math.min(left, perWave));
  await Promise.all([order(perWave), order(perWave), order(perWave)]);
  return `${opened} connections, up to ${perWave * 3} at the same time`;
}

// ---- the member meanwhile, and afterwards -----------------------------------------------------------------------------

/** Puts and gets in a process of its own, so that they wait for nobody but the member. */
class GoodClients {
  readonly #child: ChildProcess;

  constructor(address: string) {
    this.#child = fork(OWN_SCRIPT, ["--good", address], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  }

  async stop(): Promise<Fared> {
    if (this.#child.connected) this.#child.send("stop");
    return answerOf<Fared>(this.#child, "good clients");
  }
}

interface Fared {
  readonly calls: number;
  readonly puts: number;
  readonly failures: readonly string[];
  readonly p50Ms: number;
  readonly p99Ms: number;
}

async function beGood(address: string): Promise<Fared> {
  const client = new EtcdClient(address);
  const times: number[] = [];
  const failures: string[] = [];
  let puts = 0;
  let stopped = false;
  process.once("message", () => (stopped = true));
  const isStopped = (): boolean => stopped;
  for (let number = 0; !isStopped(); number++) {
    const began = performance.now();
    const key = Buffer.from(`good/${number % 50}`);
    const isPut = number % 2 === 0;
    const answer = isPut
      ? await client.send(PUT, encode("PutRequest", { key, value: Buffer.alloc(100) }), 10_000)
      : await client.send("/etcdserverpb.KV/Range", encode("RangeRequest", { key }), 10_000);
    times.push(performance.now() - began);
    if (answer.kind === "error") failures.push(`code ${answer.code}: ${answer.text}`);
    else if (isPut) puts++;
    await pause(5);
  }
  client.close();
  times.sort((a, b) => a - b);
  const at = (part: number): number => times[Math.min(times.length - 1, Math.floor(times.length * part))] ?? 0;
  return { calls: times.length, puts, failures: failures.slice(0, 5), p50Ms: at(0.5), p99Ms: at(0.99) };
}

interface Footprint {
  readonly descriptors: number;
  readonly bytes: number;
}

function footprint(pid: number): Footprint {
  const resident = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1] ?? "0";
  return { descriptors: readdirSync(`/proc/${pid}/fd`).length, bytes: Number(resident) * 1024 };
}

const inMib = (bytes: number): string => (bytes / 2 ** 20).toFixed(1);

const told = ({ descriptors, bytes }: Footprint): string =>
  `${descriptors} descriptors, ${Math.round(bytes / 2 ** 20)} MiB`;

async function comesBack(server: Server, was: Footprint): Promise<Footprint> {
  const deadline = performance.now() + COMES_BACK_WITHIN_MS;
  for (;;) {
    const is = footprint(server.pid);
    if (is.descriptors <= was.descriptors + DESCRIPTORS_SLACK && is.bytes <= was.bytes + RESIDENT_SLACK_BYTES)
      return is;
    if (performance.now() > deadline) throw new Error(`the member had ${told(was)}, and has ${told(is)}`);
    await pause(200);
  }
}

const KEPT = 100;

/**
 * The log's last entries are held in memory on purpose, those of hostile puts as well: with frequent snapshots they are no more than etcd's
 * 5,000 for members that lag and those since the last snapshot, and so many are there before the first look. The history is compacted.
 */
const SNAPSHOT_COUNT = 1_000;
const LOG_ENTRIES_HELD = 6_500;

/** The keys that nobody touches. */
async function checkKept(server: Server): Promise<void> {
  for (let i = 0; i < KEPT; i++) {
    const { kvs } = (await server.client.call("Range", { key: Buffer.from(`kept/${i}`) })) as { kvs?: Message[] };
    const value = kvs?.[0]?.["value"] as Uint8Array | undefined;
    if (String(Buffer.from(value ?? [])) !== `value ${i}`) throw new Error(`kept/${i} is not what it was`);
  }
}

/** Plays all plays against one member. @throws with the first law that is broken */
export async function playHostileClients(options: HostileOptions, tell: (text: string) => void): Promise<void> {
  await Stage.with(async (stage) => {
    const probe = join(stage.folder, "memory.sock");
    const binary = withMemoryProbe(options.binary);
    const server = await stage.start(binary, await stage.seat(), {
      snapshotCount: SNAPSHOT_COUNT,
      env: { WALNUT_MEMORY_PROBE: probe },
    });
    const inUse = async (): Promise<number | undefined> => {
      if (binary === options.binary) return undefined;
      await server.client.call("Compact", { revision: await server.client.put("kept/0", "value 0"), physical: true });
      return memoryInUse(probe);
    };
    await inTurns(
      Array.from({ length: LOG_ENTRIES_HELD }, (_, i) => i),
      50,
      async (i) => {
        await server.client.put(`kept/${i % KEPT}`, `value ${i % KEPT}`);
      },
    );
    const share = (whole: number): number => Math.max(1, Math.round(whole * options.scale));
    const random = new SeededRandom(options.seed);
    const usedBefore = await inUse();
    for (const play of PLAYS.filter(({ name }) => name.includes(options.only))) {
      const good = new GoodClients(server.address);
      await pause(500);
      const before = footprint(server.pid);
      let peak = before;
      const watch = setInterval(() => {
        const is = footprint(server.pid);
        peak = { descriptors: Math.max(peak.descriptors, is.descriptors), bytes: Math.max(peak.bytes, is.bytes) };
      }, 100);
      const client = new EtcdClient(server.address);
      let done: string;
      let fared: Fared;
      try {
        done = await play.run({ server, port: server.seat.clientPort, random, share, client });
      } finally {
        clearInterval(watch);
        client.close();
        fared = await good.stop();
      }
      if (!server.running) throw new Error(`${play.name}: the member ended:\n${server.log.slice(-15).join("\n")}`);
      const after = await comesBack(server, before);
      await checkKept(server);
      tell(
        `${play.name}: ${done}\n    good clients: ${fared.calls} calls, p50 ${fared.p50Ms.toFixed(2)} ms, p99 ${fared.p99Ms.toFixed(1)} ms; ` +
          `the member: ${told(before)} before, ${told(peak)} at most, ${told(after)} after`,
      );
      if (fared.failures.length > 0)
        throw new Error(`${play.name}: calls of good clients failed: ${fared.failures.join("; ")}`);
      if (options.scale >= 1 && fared.p50Ms > P50_MS_MAX) {
        throw new Error(`${play.name}: half of the good clients' calls took more than ${fared.p50Ms.toFixed(1)} ms`);
      }
      const used = await inUse();
      if (used === undefined || usedBefore === undefined) continue;
      tell(`    in use after a collection: ${inMib(usedBefore)} MiB before all plays, ${inMib(used)} now`);
      if (used > usedBefore + IN_USE_SLACK_BYTES) throw new Error(`${play.name}: memory does not come back`);
    }
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      server: { type: "string", default: "under-test" },
      scale: { type: "string", default: "1" },
      only: { type: "string", default: "" },
      seed: { type: "string" },
      good: { type: "string" },
      slow: { type: "boolean", default: false },
    },
  });
  if (values.good !== undefined) {
    process.send!(await beGood(values.good), () => process.exit(0));
    return;
  }
  if (values.slow) {
    process.once("message", (order: SlowOrder) => {
      void beSlow(order).then((opened) => process.send!(opened, () => process.exit(0)));
    });
    return;
  }
  const options = {
    binary: serverNamed(values.server),
    seed: chooseSeed(values.seed),
    scale: Number(values.scale),
    only: values.only,
  };
  console.log(`seed ${options.seed}`);
  await playHostileClients(options, (text) => console.log(text));
}

if (process.argv[1] === import.meta.filename) await main();
