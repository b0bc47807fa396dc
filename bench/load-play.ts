/**
 * Scenarios under load, played on servers in turns.
 *
 * Laws: a run in which one call went wrong is no figure and throws; the store's revision must have grown by exactly as many writes as
 * were answered.
 */
import { rmSync } from "node:fs";
import type { ServerBinary } from "../test/support/binaries.js";
import type { Seat, Server, Stage } from "../test/support/servers.js";
import { inTurns, SeatedContestant, type Play } from "./comparison.js";
import { connectionsFor, spread, type Spread } from "./figures.js";
import type { LoadGenerator } from "./load/generator.js";
import type { LoadJob, LoadResult } from "./load/run.js";
import { batch, BATCH_PUTS, type LoadScenario, type ScenarioCall } from "./scenarios.js";

/** What all servers are started with: etcd's 2 GiB would end a long bench. */
export const BENCH_FLAGS: readonly string[] = ["--quota-backend-bytes", String(8 * 2 ** 30)];

/** So many calls at a time warm a server up, however few are then measured. */
const WARM_UP_IN_FLIGHT = 100;
/** From the first call of a run to the time measured, unless told otherwise: connections are new, and all calls begin at once. */
export const SETTLE_SECONDS = 0.2;

/** What the rounds of one server gave. */
export interface LoadFigures {
  readonly perSecond: Spread;
  /** Medians of the rounds; `max` is the largest of all. */
  readonly latencyMs: { readonly p50: Spread; readonly p99: Spread; readonly max: number };
  /** For 100,000 calls: of the server, and of the generator beside it. */
  readonly serverCpuSeconds: Spread;
  readonly generatorCpuSeconds: Spread;
}

export interface LoadOptions {
  readonly rounds: number;
  readonly warmUpSeconds: number;
  /** The first seconds of a round, which are played and not counted. */
  readonly settleSeconds: number;
  readonly seconds: number;
}

/** Runs calls on a server and checks that it did what it answered. @throws when it did not */
export async function runCalls(
  generator: LoadGenerator,
  server: Server,
  calls: readonly ScenarioCall[],
  how: Pick<LoadJob, "inFlight" | "seed" | "until" | "secure">,
): Promise<LoadResult> {
  const before = await server.client.revision();
  const result = await generator.run({
    ...how,
    address: server.address,
    pid: server.pid,
    connections: connectionsFor(how.inFlight),
    requests: calls.map(({ request }) => request),
  });
  const { name } = server.binary;
  if (result.problems.length > 0) {
    const told = result.problems.slice(0, 3).map(([problem, times]) => `${times} x ${problem}`);
    throw new Error(`${name}: calls went wrong: ${told.join("; ")}`);
  }
  const revisions = calls.reduce((sum, call, i) => sum + call.revisions * result.answeredOf[i]!, 0);
  const grown = (await server.client.revision()) - before;
  if (grown !== revisions) throw new Error(`${name} answered ${revisions} writes and its revision grew by ${grown}`);
  return result;
}

/** Puts so many keys in batches. @throws where they are no multiple of `BATCH_PUTS` */
export async function loadKeys(generator: LoadGenerator, server: Server, keys: number): Promise<LoadResult> {
  if (keys % BATCH_PUTS !== 0) throw new Error(`${keys} keys cannot be put in batches of ${BATCH_PUTS}`);
  const until = { kind: "count", requests: keys / BATCH_PUTS } as const;
  return runCalls(generator, server, [batch()], { inFlight: 8, seed: 1, until });
}

/** Plays load scenarios. Those that begin with the same keys follow each other on the same stores. */
export class LoadTable {
  readonly #stage: Stage;
  readonly #generator: LoadGenerator;
  readonly #binaries: readonly ServerBinary[];
  readonly #options: LoadOptions;
  /** Seats whose stores hold keys already, by server and number. */
  readonly #loaded = new Map<string, Seat>();

  constructor(stage: Stage, generator: LoadGenerator, binaries: readonly ServerBinary[], options: LoadOptions) {
    this.#stage = stage;
    this.#generator = generator;
    this.#binaries = binaries;
    this.#options = options;
  }

  /** All rounds of one scenario, by server. */
  async play(scenario: LoadScenario): Promise<Record<string, LoadFigures>> {
    const contestants: SeatedContestant[] = [];
    for (const binary of this.#binaries) {
      const seat = this.#loaded.get(storeName(binary.name, scenario)) ?? (await this.#stage.seat());
      const flags = [...BENCH_FLAGS, ...(scenario.secure === true ? secureToo(seat) : [])];
      contestants.push(new SeatedContestant(this.#stage, binary, seat, { flags }));
    }
    const results = await inTurns(contestants, this.#options.rounds, this.#playOf(scenario));
    for (const { name, seat } of contestants) {
      if (scenario.keysBefore === 0) rmSync(seat.dataDir, { recursive: true });
      else this.#loaded.set(storeName(name, scenario), seat);
    }
    return Object.fromEntries(contestants.map(({ name }, i) => [name, figuresOf(results[i]!)]));
  }

  #playOf({ name, inFlight, calls, keysBefore, secure = false }: LoadScenario): Play<LoadResult> {
    const { warmUpSeconds, settleSeconds, seconds } = this.#options;
    const run = async (server: Server, seed: number, how: Pick<LoadJob, "inFlight" | "until">): Promise<LoadResult> =>
      runCalls(this.#generator, server, calls, { ...how, seed, secure });
    /** Each start meets cold caches and, on node, code that is not compiled until it was called some thousand times. */
    const warmUp = async (server: Server): Promise<LoadResult> =>
      run(server, 1, {
        inFlight: Math.max(WARM_UP_IN_FLIGHT, inFlight),
        until: { kind: "time", warmUpSeconds: 0, seconds: warmUpSeconds },
      });
    const rounds = new Map<string, number>();
    const play: Play<LoadResult> = {
      measure: async (contestant, server) => {
        // Every server gets the same keys in the same round.
        const round = (rounds.get(contestant.name) ?? 0) + 1;
        rounds.set(contestant.name, round);
        await warmUp(server);
        const until = { kind: "time", warmUpSeconds: settleSeconds, seconds } as const;
        const result = await run(server, round + 1, { inFlight, until });
        if (result.answered === 0) throw new Error(`${contestant.name}: nothing was answered in time in ${name}`);
        return result;
      },
    };
    const loaded = this.#binaries.every((binary) => this.#loaded.has(storeName(binary.name, { keysBefore })));
    if (keysBefore === 0 || loaded) return play;
    return { ...play, rehearse: async (_, server) => void (await loadKeys(this.#generator, server, keysBefore)) };
  }
}

/** TLS beside plain calls, on the same port: the bench asks for the revision without. The certificate is the server's own, of P-521. */
function secureToo({ clientPort }: Seat): string[] {
  const urls = ["http", "https"].map((scheme) => `${scheme}://127.0.0.1:${clientPort}`);
  return [`--listen-client-urls=${urls.join(",")}`, "--auto-tls"];
}

const storeName = (server: string, { keysBefore }: Pick<LoadScenario, "keysBefore">): string =>
  `${server}/${keysBefore}`;

function figuresOf(rounds: readonly LoadResult[]): LoadFigures {
  const over = (of: (round: LoadResult) => number): Spread => spread(rounds.map(of));
  return {
    perSecond: over(({ perSecond }) => perSecond),
    latencyMs: {
      p50: over(({ latencyMs }) => latencyMs.p50),
      p99: over(({ latencyMs }) => latencyMs.p99),
      max: over(({ latencyMs }) => latencyMs.max).high,
    },
    serverCpuSeconds: over(({ serverCpuSeconds, answered }) => (serverCpuSeconds / answered) * 100_000),
    generatorCpuSeconds: over(({ generatorCpuSeconds, answered }) => (generatorCpuSeconds / answered) * 100_000),
  };
}
