/**
 * Which servers the compatibility tests run: Walnut as it was built, and real etcd as `scripts/install-etcd.sh` brought it.
 *
 * `WALNUT_UNDER_TEST` names the server that is judged: `walnut` (the default), or `etcd` / `etcd-3.5.30` to prove the tests
 * themselves with real etcd on both sides. `WALNUT_ETCD_DIR` names the folder of real etcd where it is not `.cache/etcd`.
 */
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** The project's folder: compiled tests lie in `dist/test/support` below it. */
export const PROJECT = join(import.meta.dirname, "..", "..", "..");

/** A server that can be started. */
export interface ServerBinary {
  /** What reports call it: `walnut`, `etcd-3.5.16`. */
  readonly name: string;
  readonly family: "etcd" | "walnut";
  /** The command and its first arguments; etcd's flags follow. */
  readonly command: readonly string[];
}

/** A release of real etcd with its tools. */
export interface EtcdRelease extends ServerBinary {
  readonly version: string;
  readonly etcdctl: string;
  readonly etcdutl: string;
}

/** The releases that tests use, by the Debian suite that carries them. `newest` is 3.5.30 or a newer 3.5. */
const SUITES = { "3.5.16": "trixie", newest: "sid" } as const;
export type EtcdName = keyof typeof SUITES;

const etcdFolder = process.env["WALNUT_ETCD_DIR"] ?? join(PROJECT, ".cache", "etcd");
const binFolder = (name: EtcdName): string => join(etcdFolder, SUITES[name], "usr", "bin");
const walnutMain = join(PROJECT, "dist", "src", "cli", "main.js");

/**
 * Why tests against real etcd cannot run here, as the `skip` option of a test; `false` where they can. Where `CI` is set
 * nothing is skipped: the test runs and fails with this reason.
 */
export function skipReason(): string | false {
  const reason = missingEtcd() ?? missingWalnut();
  if (reason === undefined || (process.env["CI"] ?? "") !== "") return false;
  return reason;
}

function missingEtcd(): string | undefined {
  for (const name of Object.keys(SUITES) as EtcdName[]) {
    if (!existsSync(join(binFolder(name), "etcd"))) {
      return `real etcd is not there: run 'scripts/install-etcd.sh' (looked for ${SUITES[name]} below ${etcdFolder})`;
    }
  }
  return undefined;
}

function missingWalnut(): string | undefined {
  if (underTestName() !== "walnut" || existsSync(walnutMain)) return undefined;
  return "Walnut is not built: run 'npm run build'";
}

const releases = new Map<EtcdName, EtcdRelease>();

/** Real etcd. @throws with the command that brings it where it is missing */
export function etcd(name: EtcdName): EtcdRelease {
  const known = releases.get(name);
  if (known !== undefined) return known;
  const reason = missingEtcd();
  if (reason !== undefined) throw new Error(reason);
  const tool = (file: string): string => join(binFolder(name), file);
  const { stdout } = spawnSync(tool("etcd"), ["--version"], { encoding: "utf8" });
  const version = /etcd Version: (\S+)/.exec(stdout)?.[1];
  if (version === undefined)
    throw new Error(`${tool("etcd")} does not say its version: it printed ${JSON.stringify(stdout)}`);
  const release: EtcdRelease = {
    name: `etcd-${version}`,
    family: "etcd",
    version,
    command: [tool("etcd")],
    etcdctl: tool("etcdctl"),
    etcdutl: tool("etcdutl"),
  };
  releases.set(name, release);
  return release;
}

/** Walnut as it was built, whatever is under test, with the flags of Node that its first line asks for, and others. */
export function walnut(nodeFlags: readonly string[] = []): ServerBinary {
  if (!existsSync(walnutMain)) throw new Error("Walnut is not built: run 'npm run build'");
  ownFlags ??= flagsOf(readFileSync(walnutMain, "utf8"));
  return { name: "walnut", family: "walnut", command: [process.execPath, ...ownFlags, ...nodeFlags, walnutMain] };
}

let ownFlags: readonly string[] | undefined;

function flagsOf(script: string): string[] {
  const [first] = script.split("\n", 1);
  const flags = /^#!\/usr\/bin\/env -S node (.+)$/.exec(first!)?.[1];
  if (flags === undefined) throw new Error(`the first line of ${walnutMain} does not say how Node runs it: ${first}`);
  return flags.split(" ");
}

function underTestName(): string {
  return process.env["WALNUT_UNDER_TEST"] ?? "walnut";
}

/** The server that is judged. */
export function underTest(): ServerBinary {
  const name = underTestName();
  switch (name) {
    case "walnut":
      return walnut();
    case "etcd":
    case "etcd-3.5.16":
      return etcd("3.5.16");
    case "etcd-3.5.30":
      return etcd("newest");
    default:
      throw new Error(`WALNUT_UNDER_TEST is 'walnut', 'etcd' or 'etcd-3.5.30', found '${name}'`);
  }
}

/** The server that is right: the release whose behaviour Walnut serves. */
export function reference(): EtcdRelease {
  return etcd("newest");
}

/** A server by its name on a command line. */
export function serverNamed(name: string): ServerBinary {
  switch (name) {
    case "under-test":
      return underTest();
    case "walnut":
      return walnut();
    case "3.5.16":
    case "etcd-3.5.16":
      return etcd("3.5.16");
    case "newest":
    case "3.5.30":
    case "etcd-3.5.30":
      return etcd("newest");
    default:
      throw new Error(`no server '${name}': choose walnut, under-test, 3.5.16 or 3.5.30`);
  }
}
