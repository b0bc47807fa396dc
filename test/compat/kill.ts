/**
 * SIGKILL under load: every acknowledged put is there, at the revision that was acknowledged; revisions have no gap; no put
 * happened twice.
 *
 *   node dist/test/compat/kill.js [--kills 50] [--puts 1500] [--in-flight 100] [--server under-test] [--snapshot-count 2000]
 *
 * Every put has a key of its own, so the store's history is in its keys: sorted by mod revision they must be 2, 3, 4, ... up
 * to the store's revision. A put that was not acknowledged when the server died may be there or not.
 */
import { parseArgs } from "node:util";
import { serverNamed, type ServerBinary } from "../support/binaries.js";
import { asBytes, keyValue, type KeyValue } from "../support/client.js";
import type { Message } from "../support/messages.js";
import { chooseSeed, SeededRandom } from "../support/random.js";
import { Stage, type Server } from "../support/servers.js";

export interface KillOptions {
  readonly binary: ServerBinary;
  readonly kills: number;
  /** The server dies after a random number of acknowledged puts in `[1, puts)`. */
  readonly puts: number;
  readonly inFlight: number;
  readonly snapshotCount: number;
  readonly seed: number;
}

export interface KillReport {
  readonly kills: number;
  readonly attempted: number;
  readonly acknowledged: number;
  /** Puts that were there without having been acknowledged. */
  readonly unacknowledgedKept: number;
  readonly revision: number;
  readonly restartMsMax: number;
}

/** The first revision that a put can have. */
const FIRST_REVISION = 2;

/** Kills a server again and again and checks the store after each start. @throws with the first law that is broken */
export async function killUnderLoad(options: KillOptions, tell: (text: string) => void): Promise<KillReport> {
  return Stage.with(async (stage) => {
    const random = new SeededRandom(options.seed);
    const seat = await stage.seat();
    const history = new History();
    let server = await stage.start(options.binary, seat, options);
    let restartMsMax = 0;
    for (let kill = 1; kill <= options.kills; kill++) {
      await writeUntilKilled(server, history, { ...options, die: random.between(1, options.puts) }, kill);
      server = await stage.start(options.binary, seat, options);
      restartMsMax = Math.max(restartMsMax, Math.round(server.startedInMs));
      await history.check(server, `after kill ${kill} of seed ${options.seed}`);
      tell(
        `kill ${kill}: ${history.acknowledged} acknowledged puts are there, revision ${history.revision}, up in ${Math.round(server.startedInMs)} ms`,
      );
    }
    await history.checkAll(server);
    const { attempted, acknowledged, revision } = history;
    const unacknowledgedKept = revision - (FIRST_REVISION - 1) - acknowledged;
    return { kills: options.kills, attempted, acknowledged, unacknowledgedKept, revision, restartMsMax };
  });
}

async function writeUntilKilled(
  server: Server,
  history: History,
  options: { readonly inFlight: number; readonly die: number },
  round: number,
): Promise<void> {
  let number = 0;
  let acknowledged = 0;
  let killed: Promise<unknown> | undefined;
  const lane = async (): Promise<void> => {
    while (killed === undefined) {
      const key = `kill/${round}/${number++}`;
      history.attempt(key);
      const revision = await server.client.put(key, valueOf(key)).catch(() => undefined);
      if (revision === undefined) return;
      history.acknowledge(key, revision);
      if (++acknowledged >= options.die) killed ??= server.kill();
    }
  };
  await Promise.all(Array.from({ length: options.inFlight }, lane));
  await killed;
  if (acknowledged < options.die)
    throw new Error(`the server failed by itself after ${acknowledged} puts of round ${round}`);
}

/** A value that belongs to its key alone, of 256 bytes. */
const valueOf = (key: string): string => `${key} `.repeat(Math.ceil(256 / (key.length + 1))).slice(0, 256);

/** What was asked of the server and what it promised. */
class History {
  readonly #attempted = new Set<string>();
  readonly #acknowledged = new Map<string, number>();
  readonly #unchecked = new Map<string, number>();
  /** All revisions in `[2, checked)` are known to be right. */
  #checked = FIRST_REVISION;

  attempt(key: string): void {
    this.#attempted.add(key);
  }

  acknowledge(key: string, revision: number): void {
    this.#acknowledged.set(key, revision);
    this.#unchecked.set(key, revision);
  }

  get attempted(): number {
    return this.#attempted.size;
  }

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  get revision(): number {
    return this.#checked - 1;
  }

  /** Checks what is new since the last check. */
  async check(server: Server, where: string): Promise<void> {
    const response = await server.client.call("Range", {
      key: asBytes("kill/"),
      range_end: asBytes("kill0"),
      min_mod_revision: this.#checked,
      sort_order: 1,
      sort_target: 3,
    });
    const found = ((response["kvs"] ?? []) as readonly Message[]).map(keyValue);
    const revision = await server.client.revision();
    this.#checkRun(found, revision, where);
    for (const [key, promised] of this.#unchecked) {
      throw new Error(
        `${where}: lost ${key}, which was acknowledged at revision ${promised}; the store is at ${revision}`,
      );
    }
  }

  /** Checks the whole store once more: nothing that was right has changed since. */
  async checkAll(server: Server): Promise<void> {
    this.#checked = FIRST_REVISION;
    for (const [key, revision] of this.#acknowledged) this.#unchecked.set(key, revision);
    await this.check(server, "at the end");
  }

  #checkRun(found: readonly KeyValue[], revision: number, where: string): void {
    for (const { key, value, modRevision, createRevision, version } of found) {
      const name = Buffer.from(key).toString();
      if (modRevision !== this.#checked) {
        throw new Error(`${where}: gap in the revisions: ${name} is at ${modRevision}, expected ${this.#checked}`);
      }
      this.#checked++;
      if (createRevision !== modRevision)
        throw new Error(`${where}: ${name} was put twice: ${createRevision}, ${modRevision}`);
      if (version !== 1) throw new Error(`${where}: ${name} has version ${version}, expected 1`);
      if (!this.#attempted.has(name)) throw new Error(`${where}: nobody put ${name}`);
      if (Buffer.from(value).toString() !== valueOf(name)) throw new Error(`${where}: ${name} holds another value`);
      const promised = this.#unchecked.get(name);
      if (promised !== undefined && promised !== modRevision) {
        throw new Error(`${where}: ${name} was acknowledged at revision ${promised} and is at ${modRevision}`);
      }
      this.#unchecked.delete(name);
    }
    if (revision !== this.#checked - 1) {
      throw new Error(`${where}: the store is at revision ${revision}, its keys end at ${this.#checked - 1}`);
    }
  }
}

export function describeReport(report: KillReport): string {
  return (
    `${report.kills} kills: ${report.acknowledged} of ${report.acknowledged} acknowledged puts are there, revisions 2 to ${report.revision} without a gap, ` +
    `${report.unacknowledgedKept} unacknowledged ones kept, ${report.attempted} attempted, slowest restart ${report.restartMsMax} ms`
  );
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      kills: { type: "string", default: "50" },
      puts: { type: "string", default: "1500" },
      "in-flight": { type: "string", default: "100" },
      "snapshot-count": { type: "string", default: "2000" },
      server: { type: "string", default: "under-test" },
      seed: { type: "string" },
    },
  });
  const binary = serverNamed(values.server);
  const seed = chooseSeed(values.seed);
  console.log(`${values.kills} kills of ${binary.name}, seed ${seed}`);
  const report = await killUnderLoad(
    {
      binary,
      kills: Number(values.kills),
      puts: Number(values.puts),
      inFlight: Number(values["in-flight"]),
      snapshotCount: Number(values["snapshot-count"]),
      seed,
    },
    (text) => console.log(text),
  );
  console.log(describeReport(report));
}

if (process.argv[1] === import.meta.filename) await main();
