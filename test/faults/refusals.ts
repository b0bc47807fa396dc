/**
 * Directories that a member must not touch: each is refused in one sentence that names the file, the exit code is not 0, and
 * nothing on the disk has changed.
 *
 *   node dist/test/faults/refusals.js [--server under-test]      prints what the server says to each
 */
import { createHash } from "node:crypto";
import { chmodSync, copyFileSync, cpSync, readFileSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openBolt } from "../../src/bolt/index.js";
import { silentLog } from "../../src/platform/log.js";
import { NodeClock, NodeDisk } from "../../src/platform/node/index.js";
import { etcd, serverNamed, type ServerBinary } from "../support/binaries.js";
import { filesBelow, runToEnd, type Exit, type Seat, type Stage, type StartOptions } from "../support/servers.js";
import { Stage as Stages } from "../support/servers.js";
import { sentence } from "./strace.js";

/** What real etcd 3.5 does with the same directory; the tests prove their own scene with it. */
type EtcdDoes = "refuses" | "serves";

/** A directory that must be refused. */
export interface Scene {
  readonly title: string;
  readonly etcdDoes: EtcdDoes;
  /** Makes the directory and gives how to start a server on it; `leave` undoes what the scene holds or hides. */
  readonly prepare: (stage: Stage, seat: Seat) => Promise<{ options?: StartOptions; leave?: () => unknown }>;
}

const SNAPSHOT_COUNT = 10;

/** A member of real etcd with some keys, stopped. */
async function filled(stage: Stage, seat: Seat, puts = 30): Promise<void> {
  const server = await stage.start(etcd("3.5.16"), seat, { snapshotCount: SNAPSHOT_COUNT });
  for (let i = 0; i < puts; i++) await server.client.put(`k${i}`, `v${i}`);
  await server.stop();
}

const below = (seat: Seat, ...path: string[]): string => join(seat.dataDir, "member", ...path);

export const SCENES: readonly Scene[] = [
  {
    title: "a full disk",
    etcdDoes: "refuses",
    prepare: async (stage, seat) => {
      await filled(stage, seat);
      const paths = [
        "",
        ...filesBelow(seat.dataDir).map((file) => `/${file}`),
        "/member/wal/0.tmp",
        "/member/wal/1.tmp",
      ];
      const calls = "?write,?pwrite64,?writev,?pwritev,?pwritev2,?fallocate";
      const where = paths.flatMap((path) => ["-P", seat.dataDir + path]);
      const inject = ["-e", `trace=${calls}`, "-e", `inject=${calls}:error=ENOSPC:when=1+`];
      return { options: { wrap: ["strace", "-D", "-f", "-q", "-o", `${seat.dataDir}.strace`, ...where, ...inject] } };
    },
  },
  {
    title: "a read-only directory",
    etcdDoes: "refuses",
    prepare: async (stage, seat) => {
      await filled(stage, seat);
      const folders = [seat.dataDir, below(seat), below(seat, "wal"), below(seat, "snap")];
      const files = filesBelow(seat.dataDir).map((file) => join(seat.dataDir, file));
      const modes = [...folders, ...files].map((path) => [path, statSync(path).mode & 0o777] as const);
      for (const [path, mode] of modes) chmodSync(path, mode & ~0o222);
      const leave = (): void => {
        for (const [path, mode] of modes) chmodSync(path, mode);
      };
      // Root may write everywhere unless it gives that up.
      const wrap =
        process.getuid?.() === 0 ? { wrap: ["setpriv", "--bounding-set=-dac_override,-dac_read_search"] } : {};
      return { options: wrap, leave };
    },
  },
  {
    title: "a directory that a running etcd holds",
    etcdDoes: "refuses",
    prepare: async (stage, seat) => {
      const other = { ...(await stage.seat()), dataDir: seat.dataDir };
      const holder = await stage.start(etcd("3.5.16"), other);
      await holder.client.put("held", "by etcd");
      // Stopped in its tracks it keeps its locks and writes nothing that would look like a change of ours.
      process.kill(holder.pid, "SIGSTOP");
      const leave = async (): Promise<void> => {
        process.kill(holder.pid, "SIGCONT");
        await holder.stop();
      };
      return { leave };
    },
  },
  {
    title: "the log of one cluster beside the store of another",
    etcdDoes: "serves",
    prepare: async (stage, seat) => {
      const other = await stage.seat("m2");
      await filled(stage, seat, 5);
      await filled(stage, other, 5);
      rmSync(below(seat, "snap"), { recursive: true });
      cpSync(below(other, "snap"), below(seat, "snap"), { recursive: true });
      return {};
    },
  },
  {
    title: "a directory of etcd 3.6",
    etcdDoes: "serves",
    prepare: async (stage, seat) => {
      await filled(stage, seat);
      await writeStorageVersion(below(seat, "snap", "db"), "3.6.0");
      return {};
    },
  },
  {
    title: "a db that is older than the newest snapshot",
    etcdDoes: "refuses",
    prepare: async (stage, seat) => {
      await filled(stage, seat, 4);
      const old = join(stage.folder, "old.db");
      copyFileSync(below(seat, "snap", "db"), old);
      await filled(stage, seat, 60);
      renameSync(old, below(seat, "snap", "db"));
      return {};
    },
  },
];

/** Makes a db of etcd 3.5 one of 3.6, which says its version in the bucket `meta`. */
async function writeStorageVersion(file: string, version: string): Promise<void> {
  const db = await openBolt({ disk: new NodeDisk(), clock: new NodeClock(), log: silentLog }, file, { create: false });
  const transaction = db.beginWrite();
  transaction.bucket(Buffer.from("meta"))!.put(Buffer.from("storageVersion"), Buffer.from(version));
  await transaction.commit();
  await db.close();
}

/** Names, modes and bytes of all files below a folder. */
export function treeHash(folder: string): string {
  const hash = createHash("sha256");
  for (const file of filesBelow(folder)) {
    const path = join(folder, file);
    hash.update(`${file} ${statSync(path).mode} ${statSync(path).size}\n`).update(readFileSync(path));
  }
  return hash.digest("hex");
}

export interface Refusal {
  readonly exit: Exit | "still running";
  readonly sentence: string;
  readonly log: readonly string[];
  /** Files that are there now and were not, or are not the same any more. */
  readonly changed: boolean;
  readonly served: boolean;
  readonly dataDir: string;
}

const WITHIN_MS = 30_000;

/** Starts a server in a scene and tells how it took it. */
export async function play(stage: Stage, scene: Scene, binary: ServerBinary): Promise<Refusal> {
  const seat = await stage.seat();
  const { options, leave } = await scene.prepare(stage, seat);
  try {
    const before = treeHash(seat.dataDir);
    const { exit, log } = await runToEnd(binary, seat, { ...options, readyWithinMs: WITHIN_MS });
    return {
      exit,
      log,
      sentence: sentence(log) ?? "",
      changed: treeHash(seat.dataDir) !== before,
      served: log.some((line) => line.includes("ready to serve client requests")),
      dataDir: seat.dataDir,
    };
  } finally {
    await leave?.();
  }
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { server: { type: "string", default: "under-test" } } });
  const binary = serverNamed(values.server);
  await Stages.with(async (stage) => {
    for (const scene of SCENES) {
      const { exit, sentence: said, changed, served } = await play(stage, scene, binary);
      const ending = exit === "still running" ? exit : `exit code ${exit.code ?? exit.signal}`;
      console.log(
        `${scene.title}: ${ending}, ${served ? "served" : "did not serve"}, ${changed ? "changed files" : "changed nothing"}`,
      );
      console.log(`    ${said.slice(0, 400)}`);
    }
  });
}

if (process.argv[1] === import.meta.filename) await main();
