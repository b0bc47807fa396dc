/**
 * How much memory a large log takes: `wal verify` and `wal dump` of it, and a member that opens on it.
 *
 *     node dist/test/campaigns/memory.js [--entries 1000000] [--keys 50000] [--only verify,dump,open]
 *
 * Laws, which end the command with exit code 1 when they are broken: whatever the log's size, verify stays under 100 MB and dump
 * under 250 MB (most of it is what the collector lets lie of short lines); a member on 1,000,000 entries of 300 bytes stays under
 * 1 GB and shows on a terminal how far it is.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { Walnut } from "../../src/embed/index.js";
import { nodePlatform } from "../../src/platform/node/index.js";
import { silentLog } from "../../src/platform/log.js";
import { InternalRaftRequest } from "../../src/proto/generated/etcdserverpb/raft_internal.js";
import type { Entry } from "../../src/proto/raft.js";
import { openWal } from "../../src/wal/index.js";
import { walnut } from "../support/binaries.js";
import { freePort } from "../support/ports.js";

const ENTRY_BYTES = 300;
const BATCH = 1_000;
const MB = 1_000_000;
const LIMITS = { verify: 100 * MB, dump: 250 * MB, open: 1_000 * MB } as const;
type Step = keyof typeof LIMITS;

const { values } = parseArgs({
  options: {
    entries: { type: "string", default: "1000000" },
    keys: { type: "string", default: "50000" },
    only: { type: "string", default: "verify,dump,open" },
  },
});
const entryCount = Number(values.entries);
const keyCount = Number(values.keys);

interface Measured {
  readonly rssBytes: number;
  readonly seconds: number;
  readonly note: string;
}

/** A member's directory as a member makes it, and then entries put behind its own: none of them is in `db` yet. */
async function writeLog(dataDir: string): Promise<void> {
  const begin = performance.now();
  await (await Walnut.start({ dataDir })).stop();
  const { writer, contents } = await openWal({ ...nodePlatform(), log: silentLog }, join(dataDir, "member", "wal"), {
    index: 0,
    term: 0,
  });
  const { term, vote } = contents.hardState;
  let index = contents.entries.at(-1)!.index;
  for (let done = 0; done < entryCount; done += BATCH) {
    const entries: Entry[] = [];
    for (let i = done; i < Math.min(entryCount, done + BATCH); i++) {
      entries.push({ type: 0, term, index: ++index, data: putOf(i) });
    }
    await writer.save({ term, vote, commit: index }, entries);
  }
  await writer.close();
  console.log(
    `wrote ${entryCount} entries of ${putOf(0).length} bytes behind ${index - entryCount} of the member's own in ${seconds(begin)} s`,
  );
}

function putOf(i: number): Uint8Array {
  const key = Buffer.from(`key-${String(i % keyCount).padStart(10, "0")}`);
  const value = Buffer.alloc(ENTRY_BYTES - 40, `value ${i} `);
  return InternalRaftRequest.encode(
    InternalRaftRequest.fromPartial({ header: { ID: BigInt(i) + (1n << 60n) }, put: { key, value } }),
  ).finish();
}

const seconds = (begin: number): string => ((performance.now() - begin) / 1000).toFixed(2);

/** Tells on descriptor 3, at the end, the most memory that the process had. */
const TELL_RSS = `data:text/javascript,import{writeSync}from'node:fs';process.on('exit',()=>writeSync(3,String(process.resourceUsage().maxRSS)))`;

/** Runs a command to its end; its output is counted, not kept. */
async function measureCommand(args: readonly string[]): Promise<Measured> {
  const begin = performance.now();
  const [node, ...rest] = walnut(["--import", TELL_RSS]).command;
  const child = spawn(node!, [...rest, ...args], { stdio: ["ignore", "pipe", "inherit", "pipe"] });
  let bytes = 0;
  let lines = 0;
  let rss = "";
  child.stdout!.on("data", (chunk: Buffer) => {
    bytes += chunk.length;
    for (let at = chunk.indexOf(10); at >= 0; at = chunk.indexOf(10, at + 1)) lines++;
  });
  child.stdio[3]!.on("data", (chunk: Buffer) => (rss += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  if (code !== 0) throw new Error(`walnut ${args.join(" ")} ended with exit code ${code}`);
  return {
    rssBytes: Number(rss) * 1024,
    seconds: (performance.now() - begin) / 1000,
    note: `${lines} lines, ${bytes} bytes of output`,
  };
}

/** Starts a member on a terminal of its own (`script`), until it serves. */
async function measureMember(dataDir: string): Promise<Measured> {
  const begin = performance.now();
  const url = `http://127.0.0.1:${await freePort()}`;
  const flags = ["--data-dir", dataDir, "--listen-client-urls", url, "--advertise-client-urls", url];
  const pidFile = join(dataDir, "..", "pid");
  const command = `echo $$ > '${pidFile}'; exec ${[...walnut().command, ...flags].map((word) => `'${word}'`).join(" ")}`;
  const child = spawn("script", ["-qefc", command, "/dev/null"], { stdio: ["ignore", "pipe", "inherit"] });
  const closed = once(child, "close");
  let shown = "";
  await new Promise<void>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      shown += chunk.toString();
      if (shown.includes("ready to serve client requests")) resolve();
    });
    child.once("error", reject);
    child.once("close", () => reject(new Error(`the member ended before it served:\n${shown.slice(-2_000)}`)));
  });
  const elapsed = (performance.now() - begin) / 1000;
  const pid = Number(readFileSync(pidFile, "utf8"));
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  process.kill(pid, "SIGTERM");
  await closed;
  const percentages = new Set(shown.match(/\d+%/g));
  if (!shown.includes("Reading the log") || percentages.size < 2) {
    throw new Error(`a member that opens shows no progress on a terminal:\n${shown.slice(0, 2_000)}`);
  }
  return {
    rssBytes: Number(/VmHWM:\s+(\d+) kB/.exec(status)![1]) * 1024,
    seconds: elapsed,
    note: `progress on the terminal: ${[...percentages].slice(0, 4).join(" ")} …`,
  };
}

const folder = mkdtempSync(join(tmpdir(), "walnut-memory-"));
try {
  const dataDir = join(folder, "data");
  await writeLog(dataDir);
  const steps: Record<Step, () => Promise<Measured>> = {
    verify: () => measureCommand(["wal", "verify", dataDir]),
    dump: () => measureCommand(["wal", "dump", dataDir]),
    open: () => measureMember(dataDir),
  };
  for (const step of ["verify", "dump", "open"] as const) {
    if (!values.only.split(",").includes(step)) continue;
    const { rssBytes, seconds: elapsed, note } = await steps[step]();
    const fits = rssBytes < LIMITS[step];
    if (!fits) process.exitCode = 1;
    const verdict = fits ? "under" : "OVER";
    console.log(
      `${step.padEnd(7)} ${(rssBytes / MB).toFixed(0).padStart(5)} MB, ${verdict} ${LIMITS[step] / MB} MB; ${elapsed.toFixed(2)} s; ${note}`,
    );
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
