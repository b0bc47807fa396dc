/**
 * Nodes of a Patroni cluster: each a `patroni` process with a PostgreSQL of its own, in folders and on ports of the test's own, as another user
 * than root, for PostgreSQL refuses to run as root.
 */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chownSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "./ports.js";

const DEBIAN_POSTGRES = "/usr/lib/postgresql";
/** Whom Debian's package makes for it. */
const USER = "postgres";

/** Where PostgreSQL's programs are; undefined where there are none. */
export function postgresPrograms(): string | undefined {
  if (!existsSync(DEBIAN_POSTGRES)) return undefined;
  const versions = readdirSync(DEBIAN_POSTGRES).sort((a, b) => Number(b) - Number(a));
  return versions
    .map((version) => join(DEBIAN_POSTGRES, version, "bin"))
    .find((bin) => existsSync(join(bin, "postgres")));
}

export function hasPatroni(): boolean {
  return spawnSync("sh", ["-c", "command -v patroni"]).status === 0 && postgresPrograms() !== undefined;
}

/** The times that Patroni works by, in seconds: as short as its rules allow (loop_wait + 2 * retry_timeout <= ttl). */
export const TIMES = { ttl: 8, loop_wait: 1, retry_timeout: 3 };

export interface Login {
  readonly username: string;
  readonly password: string;
}

/** What Patroni says of a node. */
export interface NodeState {
  readonly role: string;
  readonly state: string;
  readonly timeline: number;
}

export class PatroniCluster {
  readonly folder = mkdtempSync(join(tmpdir(), "walnut-patroni-"));
  readonly #nodes: PatroniNode[] = [];
  readonly #etcd: string;
  readonly #login: Login | undefined;

  /** @param etcd host and port, where etcd's JSON gateway is */
  constructor(etcd: string, login?: Login) {
    this.#etcd = etcd;
    this.#login = login;
    giveAway(this.folder);
  }

  async start(name: string): Promise<PatroniNode> {
    const node = new PatroniNode(this.folder, name, await freePort(), await freePort(), this.#etcd, this.#login);
    this.#nodes.push(node);
    node.start();
    return node;
  }

  /** Ends what still runs, and takes the folders away. */
  async clear(): Promise<void> {
    for (const node of this.#nodes) await node.stop();
    if (process.env["WALNUT_KEEP"] === "1") console.error(`kept: ${this.folder}`);
    else rmSync(this.folder, { recursive: true, force: true });
  }
}

export class PatroniNode {
  readonly name: string;
  readonly #folder: string;
  readonly #apiPort: number;
  readonly #port: number;
  readonly #configFile: string;
  #child: ChildProcess | undefined;
  readonly log: string[] = [];

  constructor(folder: string, name: string, apiPort: number, port: number, etcd: string, login: Login | undefined) {
    this.name = name;
    this.#folder = join(folder, name);
    this.#apiPort = apiPort;
    this.#port = port;
    mkdirSync(this.#folder, { mode: 0o700 });
    this.#configFile = join(this.#folder, "patroni.json");
    // YAML's syntax includes JSON's.
    writeFileSync(this.#configFile, JSON.stringify(this.#configuration(etcd, login), undefined, 2));
    giveAway(this.#folder);
    giveAway(this.#configFile);
  }

  #configuration(etcd: string, login: Login | undefined): unknown {
    const parameters = {
      max_connections: 20,
      shared_buffers: "16MB",
      fsync: "off",
      unix_socket_directories: this.#folder,
    };
    return {
      scope: "walnut",
      name: this.name,
      restapi: { listen: `127.0.0.1:${this.#apiPort}`, connect_address: `127.0.0.1:${this.#apiPort}` },
      // Debian 12's Patroni asks for the members without its token, which 3.5.30 refuses: with a user it is not to ask.
      etcd3: { hosts: etcd, ...login, ...(login === undefined ? {} : { use_proxies: true }) },
      bootstrap: {
        dcs: { ...TIMES, maximum_lag_on_failover: 1_048_576, postgresql: { use_pg_rewind: true, parameters } },
        initdb: [{ encoding: "UTF8" }, { locale: "C" }, "data-checksums"],
        pg_hba: ["local all all trust", "host all all 127.0.0.1/32 trust", "host replication all 127.0.0.1/32 trust"],
      },
      postgresql: {
        listen: `127.0.0.1:${this.#port}`,
        connect_address: `127.0.0.1:${this.#port}`,
        data_dir: this.#dataDir,
        bin_dir: postgresPrograms(),
        pgpass: join(this.#folder, "pgpass"),
        authentication: {
          superuser: { username: "postgres", password: "p" },
          replication: { username: "replicator", password: "r" },
          rewind: { username: "rewinder", password: "w" },
        },
        parameters,
        remove_data_directory_on_rewind_failure: true,
        remove_data_directory_on_diverged_timelines: true,
      },
    };
  }

  get #dataDir(): string {
    return join(this.#folder, "data");
  }

  start(): void {
    const child = spawn(...asUser("patroni", [this.#configFile]), {
      cwd: this.#folder,
      stdio: ["ignore", "pipe", "pipe"],
      env: { ...process.env, HOME: this.#folder },
    });
    this.#child = child;
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding("utf8").on("data", (text: string) => void this.log.push(...text.trimEnd().split("\n")));
    }
  }

  /** What Patroni's own interface says; undefined while it does not answer. */
  async state(): Promise<NodeState | undefined> {
    try {
      const response = await fetch(`http://127.0.0.1:${this.#apiPort}/patroni`, { headers: { connection: "close" } });
      const { role, state, timeline } = (await response.json()) as Partial<NodeState>;
      return { role: role ?? "", state: state ?? "", timeline: timeline ?? 0 };
    } catch {
      return undefined;
    }
  }

  /** What PostgreSQL answers to a statement, without decoration. @throws with what it complains of */
  sql(statement: string): string {
    const psql = join(postgresPrograms()!, "psql");
    const args = ["-X", "-A", "-t", "-h", "127.0.0.1", "-p", String(this.#port), "-U", "postgres", "-c", statement];
    const { status, stdout, stderr } = spawnSync(psql, args, { encoding: "utf8", timeout: 20_000 });
    if (status !== 0) throw new Error(`${this.name}: ${statement}: ${stderr}`);
    return stdout.trim();
  }

  /** Ends Patroni and PostgreSQL as a machine's loss of power would. */
  async kill(): Promise<void> {
    const exited = this.#exited();
    this.#child?.kill("SIGKILL");
    await exited;
    this.#killPostgres();
  }

  /** Asks Patroni to end, which ends PostgreSQL; what does not end in time is killed. */
  async stop(): Promise<void> {
    const exited = this.#exited();
    this.#child?.kill("SIGTERM");
    const late = new Promise<void>((resolve) => void setTimeout(resolve, 20_000).unref());
    await Promise.race([exited, late]);
    await this.kill();
  }

  async #exited(): Promise<void> {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    await once(child, "exit");
  }

  /** By the process that PostgreSQL says it is, in the data directory that is this node's alone; its children end with it. */
  #killPostgres(): void {
    const file = join(this.#dataDir, "postmaster.pid");
    if (!existsSync(file)) return;
    const [pid, folder] = readFileSync(file, "utf8").split("\n");
    if (folder !== this.#dataDir) return;
    try {
      if (!readFileSync(`/proc/${pid}/cmdline`, "utf8").includes(this.#dataDir)) return;
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has gone already.
    }
  }
}

/** A command line that runs as PostgreSQL's user where this process is root's. */
function asUser(command: string, args: readonly string[]): [string, string[]] {
  if (process.getuid?.() !== 0) return [command, [...args]];
  return ["setpriv", [`--reuid=${USER}`, `--regid=${USER}`, "--clear-groups", command, ...args]];
}

function giveAway(path: string): void {
  if (process.getuid?.() !== 0) return;
  const id = (flag: string): number => Number(spawnSync("id", [flag, USER], { encoding: "utf8" }).stdout);
  chownSync(path, id("-u"), id("-g"));
}
