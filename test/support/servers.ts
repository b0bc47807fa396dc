/**
 * Servers as processes: start one on ports and folders of its own, wait until it serves, stop it, kill it, look at what it
 * left. A process is only ever ended by the PID that was started here.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join, relative, sep } from "node:path";
import { createInterface } from "node:readline";
import type { ServerBinary } from "./binaries.js";
import { EtcdClient } from "./client.js";
import { freePort } from "./ports.js";

/** etcd's message for the moment from which clients are served; Walnut says the same. */
const READY = "ready to serve client requests";
const READY_WITHIN_MS = 60_000;
const STOP_WITHIN_MS = 60_000;
const LOG_LINES_KEPT = 5_000;

/** How a process ended. */
export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

export const describeExit = ({ code, signal }: Exit): string =>
  signal === null ? `exit code ${code}` : `killed by ${signal}`;

/** A member's place: its folder and its ports, which stay the same over restarts and over a change of server. */
export interface Seat {
  readonly name: string;
  readonly dataDir: string;
  readonly clientPort: number;
  readonly peerPort: number;
}

/** The members that a member is told of at its first start, itself included. */
export interface Founding {
  readonly seats: readonly Seat[];
  /** `existing`: the cluster is there and has been told of this member. */
  readonly state: "new" | "existing";
}

export interface StartOptions {
  readonly snapshotCount?: number;
  /** By default a member is alone in a new cluster. A member that was started before knows its cluster from its directory. */
  readonly founding?: Founding;
  /** More of etcd's flags. */
  readonly flags?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A command that runs the server, as `strace` does; it must leave the server's PID as the process's own. */
  readonly wrap?: readonly string[];
  readonly readyWithinMs?: number;
}

/** The server ended before it served. */
export class StartError extends Error {
  readonly pid: number;
  readonly exit: Exit;
  readonly log: readonly string[];

  constructor(binary: ServerBinary, pid: number, exit: Exit, log: readonly string[]) {
    super(`${binary.name} did not come up: ${describeExit(exit)}; its last lines:\n${lastWords(log)}`);
    this.pid = pid;
    this.exit = exit;
    this.log = log;
  }
}

/** Where the other members find the one on this seat. */
export const peerUrl = (seat: Seat): string => `http://127.0.0.1:${seat.peerPort}`;

/** The flags that put a server on its seat. */
export function seatFlags(seat: Seat, founding: Founding = { seats: [seat], state: "new" }): string[] {
  const client = `http://127.0.0.1:${seat.clientPort}`;
  const peer = peerUrl(seat);
  const flags = {
    "--name": seat.name,
    "--data-dir": seat.dataDir,
    "--listen-client-urls": client,
    "--advertise-client-urls": client,
    "--listen-peer-urls": peer,
    "--initial-advertise-peer-urls": peer,
    "--initial-cluster": founding.seats.map((each) => `${each.name}=${peerUrl(each)}`).join(","),
    "--initial-cluster-state": founding.state,
  };
  return Object.entries(flags).flat();
}

/** The end of a log, and before it why its process died, where a Go panic says so. */
function lastWords(log: readonly string[]): string {
  const why = log.find((line) => line.includes('"level":"panic"') || line.startsWith("panic: "));
  return [...(why === undefined ? [] : [why]), ...log.slice(-15)].join("\n");
}

/** A server that runs. */
export class Server {
  readonly binary: ServerBinary;
  readonly seat: Seat;
  /** From the start of the process to the line that says it serves, in milliseconds. */
  readonly startedInMs: number;
  readonly client: EtcdClient;
  readonly #child: ChildProcess;
  readonly #exited: Promise<Exit>;
  readonly #log: string[];
  #ended: Exit | undefined;

  private constructor(binary: ServerBinary, seat: Seat, running: Running, startedInMs: number) {
    this.binary = binary;
    this.seat = seat;
    this.startedInMs = startedInMs;
    this.client = new EtcdClient(`127.0.0.1:${seat.clientPort}`);
    this.#child = running.child;
    this.#exited = running.exited.then((exit) => (this.#ended = exit));
    this.#log = running.log;
  }

  /** Starts a server and waits until it serves. @throws StartError when it ends before */
  static async start(binary: ServerBinary, seat: Seat, options: StartOptions = {}): Promise<Server> {
    const begin = performance.now();
    const running = launch(binary, seat, options);
    const within = options.readyWithinMs ?? READY_WITHIN_MS;
    const outcome = await Promise.race([running.ready, running.exited, deadline(within)]);
    if (outcome === "ready") return new Server(binary, seat, running, performance.now() - begin);
    if (outcome !== "late") throw new StartError(binary, running.child.pid!, outcome, running.log);
    running.child.kill("SIGKILL");
    await running.exited;
    throw new Error(`${binary.name} did not serve within ${within} ms; its last lines:\n${lastWords(running.log)}`);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get address(): string {
    return `127.0.0.1:${this.seat.clientPort}`;
  }

  /** The lines that the server wrote so far, JSON lines of its log. */
  get log(): readonly string[] {
    return this.#log;
  }

  get running(): boolean {
    return this.#ended === undefined;
  }

  /** When and how the process ends. */
  async exited(): Promise<Exit> {
    return this.#exited;
  }

  /** Asks the server to stop and waits for it. @throws when it does not stop in time or ended with an error */
  async stop(): Promise<Exit> {
    this.client.close();
    this.#child.kill("SIGTERM");
    const exit = await Promise.race([this.#exited, deadline(STOP_WITHIN_MS)]);
    if (exit === "late") {
      await this.kill();
      throw new Error(`${this.binary.name} did not stop within ${STOP_WITHIN_MS} ms of SIGTERM`);
    }
    // etcd raises the signal once more after its own clean-up, so a clean end is either of the two.
    if (exit.code !== 0 && exit.signal !== "SIGTERM") {
      throw new Error(`${this.binary.name} ended with ${describeExit(exit)}:\n${lastWords(this.#log)}`);
    }
    return exit;
  }

  /** Ends the server at once, as a power failure of the process would. */
  async kill(): Promise<Exit> {
    this.#child.kill("SIGKILL");
    const exit = await this.#exited;
    this.client.close();
    return exit;
  }
}

interface Running {
  readonly child: ChildProcess;
  readonly ready: Promise<"ready">;
  readonly exited: Promise<Exit>;
  readonly log: string[];
}

function launch(binary: ServerBinary, seat: Seat, options: StartOptions): Running {
  const snapshotCount = options.snapshotCount === undefined ? [] : ["--snapshot-count", String(options.snapshotCount)];
  const [command, ...first] = [...(options.wrap ?? []), ...binary.command];
  const child = spawn(
    command!,
    [...first, ...seatFlags(seat, options.founding), ...snapshotCount, ...(options.flags ?? [])],
    {
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, ...options.env },
    },
  );
  const log: string[] = [];
  let becameReady: (value: "ready") => void;
  const ready = new Promise<"ready">((resolve) => (becameReady = resolve));
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => {
      log.push(line);
      if (log.length > LOG_LINES_KEPT) log.splice(0, LOG_LINES_KEPT / 2);
      if (line.includes(READY)) becameReady("ready");
    });
  }
  const exited = (async (): Promise<Exit> => {
    const [code, signal] = (await once(child, "close")) as [number | null, NodeJS.Signals | null];
    return { code, signal };
  })();
  exited.catch(() => {}); // whoever waits for the end hears of it; a process that cannot be spawned is told there
  return { child, ready, exited, log };
}

/** Runs a server that is expected to end by itself and gives how it ended, with what it wrote; one that serves is killed. */
export async function runToEnd(
  binary: ServerBinary,
  seat: Seat,
  options: StartOptions = {},
): Promise<{ exit: Exit | "still running"; log: readonly string[] }> {
  const running = launch(binary, seat, options);
  const late = deadline(options.readyWithinMs ?? READY_WITHIN_MS);
  const outcome = await Promise.race([running.exited, running.ready, late]);
  if (outcome !== "late" && outcome !== "ready") return { exit: outcome, log: running.log };
  running.child.kill("SIGKILL");
  await running.exited;
  return { exit: "still running", log: running.log };
}

async function deadline(afterMs: number): Promise<"late"> {
  return new Promise((resolve) => setTimeout(() => resolve("late"), afterMs).unref());
}

/** What a test body needs of `node:test`'s context. */
interface Teardown {
  after(fn: () => unknown): void;
}

/**
 * Servers and folders of one test or one command. At the end every server is stopped, its ports are closed, and the folders
 * are gone; `WALNUT_KEEP=1` keeps the folders and prints where they are.
 */
export class Stage {
  readonly folder = mkdtempSync(join(tmpdir(), "walnut-test-"));
  readonly #servers: Server[] = [];
  #seats = 0;

  /** A stage that is cleared when the test ends. */
  static for(test: Teardown): Stage {
    const stage = new Stage();
    test.after(async () => stage.clear());
    return stage;
  }

  /** Runs a command's body on a stage of its own. */
  static async with<T>(body: (stage: Stage) => Promise<T>): Promise<T> {
    const stage = new Stage();
    let found: T;
    try {
      found = await body(stage);
    } catch (error) {
      await stage.clear().catch((left: unknown) => {
        throw new Error(`${String(error)}\nand what was left: ${String(left)}`, { cause: error });
      });
      throw error;
    }
    await stage.clear();
    return found;
  }

  /** A new member's place. */
  async seat(name = "m1"): Promise<Seat> {
    const dataDir = join(this.folder, `${++this.#seats}.etcd`);
    return { name, dataDir, clientPort: await freePort(), peerPort: await freePort() };
  }

  async start(binary: ServerBinary, seat: Seat, options: StartOptions = {}): Promise<Server> {
    const server = await Server.start(binary, seat, options);
    this.#servers.push(server);
    return server;
  }

  /** Ends what still runs, checks what was left and removes the folders. */
  async clear(): Promise<void> {
    const complaints: string[] = [];
    for (const server of this.#servers.filter(({ running }) => running)) {
      await server.stop().catch((error: unknown) => complaints.push(String(error)));
      if (server.binary.family !== "walnut") continue;
      for (const file of strayFiles(server.seat.dataDir)) complaints.push(`Walnut left a stray file: ${file}`);
    }
    for (const server of this.#servers) server.client.close();
    const ports = new Set(this.#servers.flatMap(({ seat }) => [seat.clientPort, seat.peerPort]));
    for (const port of ports) {
      if (await listens(port)) complaints.push(`every server has ended and port ${port} still answers`);
    }
    if (process.env["WALNUT_KEEP"] === "1") console.error(`kept: ${this.folder}`);
    else rmSync(this.folder, { recursive: true, force: true });
    if (complaints.length > 0) throw new Error(complaints.join("\n"));
  }
}

/** Names that belong into a data directory after a clean stop; the pipeline's next segment may lie prepared. */
const AT_HOME = [
  /^member\/wal\/[0-9a-f]{16}-[0-9a-f]{16}\.wal(\.broken)?$/,
  /^member\/wal\/[01]\.tmp$/,
  /^member\/snap\/[0-9a-f]{16}-[0-9a-f]{16}\.snap(\.broken)?$/,
  /^member\/snap\/[0-9a-f]{16}\.snap\.db$/,
  /^member\/snap\/db$/,
  /^fixtures\/(client|peer)\/(cert|key)\.pem$/,
];

/** Files of a data directory that have no business there. */
export function strayFiles(dataDir: string): string[] {
  return filesBelow(dataDir).filter((file) => !AT_HOME.some((pattern) => pattern.test(file)));
}

/** Every file below a folder, by its path from there with `/`, sorted. */
export function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).split(sep).join("/"))
    .sort();
}

async function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ port, host: "127.0.0.1" });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
