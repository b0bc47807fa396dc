/**
 * `npm run bench:wal`: what the log does per entry on this machine's disk, beside etcd's own Go package in the same run and a
 * probe of the disk. "alone" is a writer that has nothing else to do and says so: its saves are made on its own thread where
 * that is faster, as Go's are; "shared" gives them to the pool, as a program with other work does. Arguments: `--quick` a tenth of the work, `--dir FOLDER` where to write (default: the system's temporary
 * folder).
 */
import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { silentLog } from "../src/platform/log.js";
import { nodePlatform } from "../src/platform/node/index.js";
import type { Entry } from "../src/proto/raft.js";
import { createWal, openWal, readWal, verifyWal } from "../src/wal/index.js";

const { disk, clock } = nodePlatform();
const dependencies = { disk, clock, log: silentLog };
const METADATA = new TextEncoder().encode("bench");
const ORIGIN = { index: 0, term: 0 };

/** Microseconds per entry that Go's package took on two cores when the issue was written: the bar. */
const BARS: readonly { readonly bytes: number; readonly batch: number; readonly microseconds: number }[] = [
  { bytes: 100, batch: 1, microseconds: 107.8 },
  { bytes: 100, batch: 10, microseconds: 14.7 },
  { bytes: 100, batch: 100, microseconds: 2.06 },
  { bytes: 100, batch: 500, microseconds: 0.79 },
  { bytes: 100, batch: 1000, microseconds: 0.57 },
  { bytes: 1000, batch: 1, microseconds: 125 },
  { bytes: 1000, batch: 10, microseconds: 16.7 },
  { bytes: 1000, batch: 100, microseconds: 3.6 },
  { bytes: 1000, batch: 500, microseconds: 2.2 },
  { bytes: 1000, batch: 1000, microseconds: 2.2 },
];
const MILLION_BARS = [
  { batch: 100, seconds: 1.97 },
  { batch: 1000, seconds: 0.62 },
];
const READ_SECONDS_BAR = 1.03;
const READ_MEBIBYTES_BAR = 540;
const VERIFY_MEBIBYTES_BAR = 100;

const SAVES: ReadonlyMap<number, number> = new Map([
  [1, 1500],
  [10, 1200],
  [100, 600],
  [500, 200],
  [1000, 120],
]);

/** Saves before the clock starts, here and in the Go program. */
const UNCOUNTED_SAVES = 20;

/** Runs take turns, are repeated, and the median is told: a shared disk's moods last for seconds. */
const ROUNDS = 3;
const ROW_ROUNDS = 7;

async function save(
  how: "alone" | "shared",
  folder: string,
  bytes: number,
  batch: number,
  saves: number,
): Promise<number> {
  const alone = how === "alone";
  const wal = await createWal(dependencies, folder, METADATA);
  const data = Uint8Array.from({ length: bytes }, (_, i) => i * 7 + 1);
  let index = 0;
  const saveOne = (): Promise<void> => {
    const entries: Entry[] = [];
    for (let i = 0; i < batch; i++) entries.push({ type: 0, term: 1, index: ++index, data });
    return wal.save({ term: 1, vote: 0n, commit: index }, entries, { alone });
  };
  // Both sides begin to count when the new log has come to rest: its making wrote 64 MB.
  for (let s = 0; s < UNCOUNTED_SAVES; s++) await saveOne();
  const started = performance.now();
  for (let s = 0; s < saves; s++) await saveOne();
  const took = (performance.now() - started) / 1000;
  await wal.close();
  return took;
}

/** Child process: reads a log and prints seconds, entries and the peak of memory in KiB. */
async function read(how: string, folder: string): Promise<void> {
  const started = performance.now();
  let count: number;
  if (how === "verify") count = (await verifyWal(dependencies, folder, ORIGIN)).entries;
  else if (how === "read") count = (await readWal(dependencies, folder, ORIGIN)).entries.length;
  else {
    const { writer, contents } = await openWal(dependencies, folder, ORIGIN);
    count = contents.entries.length;
    const took = (performance.now() - started) / 1000;
    console.log(took.toFixed(6), count, process.resourceUsage().maxRSS);
    await writer.close();
    return;
  }
  console.log(((performance.now() - started) / 1000).toFixed(6), count, process.resourceUsage().maxRSS);
}

interface ReadResult {
  readonly seconds: number;
  readonly entries: number;
  readonly mebibytes: number;
}

function parseRead(output: string): ReadResult {
  const [seconds, entries, kibibytes] = output.trim().split(" ").map(Number);
  return { seconds: seconds!, entries: entries!, mebibytes: kibibytes! / 1024 };
}

/** Builds the Go side, or says why there is none. */
function buildGo(root: string): string | undefined {
  const source = join(fileURLToPath(new URL(".", import.meta.url)), "..", "..", "bench", "wal-go");
  if (!existsSync("/usr/share/gocode/src/go.etcd.io/etcd/wal")) {
    console.log(
      "Go side: ABSENT (Debian's golang-etcd-server-dev is not installed); the bars of the issue stand alone\n",
    );
    return undefined;
  }
  const program = join(root, "go-bench");
  const env = { ...process.env, GOPATH: "/usr/share/gocode", GO111MODULE: "off", GOCACHE: join(root, "go-cache") };
  try {
    execFileSync("go", ["build", "-o", program, "."], { cwd: source, env, stdio: ["ignore", "inherit", "inherit"] });
    return program;
  } catch (error) {
    console.log(`Go side: ABSENT (go build failed: ${error instanceof Error ? error.message : String(error)})\n`);
    return undefined;
  }
}

async function probe(root: string): Promise<void> {
  const file = await disk.open(join(root, "probe"), "create");
  await file.write([new Uint8Array(4 * 1024 * 1024)], 0);
  await file.sync();
  const page = new Uint8Array(4096).fill(1);
  const times: number[] = [];
  for (let i = 0; i < 500; i++) {
    await file.write([page], i * 4096);
    const started = performance.now();
    await file.datasync();
    times.push((performance.now() - started) * 1000);
  }
  times.sort((a, b) => a - b);
  await file.close();
  const at = (part: number): string => times[Math.floor(times.length * part)]!.toFixed(0);
  console.log(
    `disk: fdatasync of 4 KiB in a zero-filled file: median ${at(0.5)} µs, 90 % ${at(0.9)} µs, 99 % ${at(0.99)} µs\n`,
  );
}

function median(values: readonly number[]): number {
  return [...values].sort((a, b) => a - b)[values.length >> 1]!;
}

function verdict(ours: number, bar: number, go: number | undefined): string {
  if (ours <= bar) return "ok";
  return go !== undefined && ours <= go ? "ok (at or below Go here)" : "OVER";
}

async function main(): Promise<void> {
  const quick = process.argv.includes("--quick");
  const where = process.argv.includes("--dir") ? process.argv[process.argv.indexOf("--dir") + 1]! : tmpdir();
  const root = mkdtempSync(join(where, "walnut-bench-wal-"));
  const scale = quick ? 0.1 : 1;
  let over = 0;
  try {
    console.log(
      `${new Date().toISOString()}  node ${process.version}  ${cpus().length} cores of ${cpus()[0]?.model ?? "?"}`,
    );
    await probe(root);
    const go = buildGo(root);
    const folder = join(root, "wal");
    const runOurs = async (how: "alone" | "shared", bytes: number, batch: number, saves: number): Promise<number> => {
      rmSync(folder, { recursive: true, force: true });
      return save(how, folder, bytes, batch, saves);
    };
    const runGo = (bytes: number, batch: number, saves: number): number | undefined => {
      if (go === undefined) return undefined;
      rmSync(folder, { recursive: true, force: true });
      return Number(
        execFileSync(go, ["save", folder, String(bytes), String(batch), String(saves)], { encoding: "utf8" }),
      );
    };
    // The compiler's warm-up, as a server has it, of both ways and of small and large saves.
    for (const how of ["shared", "alone"] as const) {
      for (const batch of [1, 100]) await runOurs(how, 100, batch, 500);
    }
    console.log(
      "alone: the writer's own thread writes; shared: the pool does. Microseconds per entry; the verdict is on alone.",
    );
    console.log("bytes  batch   walnut alone   walnut shared   go       bar      verdict");
    for (const { bytes, batch, microseconds } of BARS) {
      const saves = Math.max(20, Math.round(SAVES.get(batch)! * scale));
      const ours: number[] = [];
      const shared: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < ROW_ROUNDS; round++) {
        ours.push(((await runOurs("alone", bytes, batch, saves)) / saves / batch) * 1e6);
        shared.push(((await runOurs("shared", bytes, batch, saves)) / saves / batch) * 1e6);
        const other = runGo(bytes, batch, saves);
        if (other !== undefined) theirs.push((other / saves / batch) * 1e6);
      }
      const [mine, other] = [median(ours), theirs.length > 0 ? median(theirs) : undefined];
      const result = verdict(mine, microseconds, other);
      if (result === "OVER") over++;
      const figures = [mine, median(shared), other].map((value) => value?.toFixed(2) ?? "-");
      const columns = [bytes, batch, ...figures, microseconds, result];
      console.log(columns.map((column, i) => String(column).padEnd([7, 8, 15, 16, 9, 9, 0][i]!)).join(""));
    }
    const total = Math.round(1_000_000 * scale);
    console.log(`\n${total} entries of 300 bytes`);
    for (const { batch, seconds } of MILLION_BARS) {
      const ours: number[] = [];
      const shared: number[] = [];
      const theirs: number[] = [];
      for (let round = 0; round < ROUNDS; round++) {
        const other = runGo(300, batch, total / batch);
        if (other !== undefined) theirs.push(other);
        shared.push(await runOurs("shared", 300, batch, total / batch));
        ours.push(await runOurs("alone", 300, batch, total / batch));
      }
      const [mine, other] = [median(ours), theirs.length > 0 ? median(theirs) : undefined];
      const result = verdict(mine, seconds * scale, other);
      if (result === "OVER") over++;
      console.log(
        `written in batches of ${batch}: walnut alone ${mine.toFixed(2)} s, shared ${median(shared).toFixed(2)} s, go ${other?.toFixed(2) ?? "-"} s, bar ${seconds * scale} s: ${result}`,
      );
    }
    over += reads(go, folder, scale);
    console.log(over === 0 ? "\nall at or below" : `\n${over} OVER`);
  } finally {
    rmSync(root, { recursive: true, force: true });
  }
}

function reads(go: string | undefined, folder: string, scale: number): number {
  const self = fileURLToPath(import.meta.url);
  const run = (how: string): ReadResult => {
    const results = Array.from({ length: ROUNDS }, () =>
      parseRead(execFileSync(process.execPath, [self, "--child", how, folder], { encoding: "utf8" })),
    );
    const seconds = median(results.map((result) => result.seconds));
    return { seconds, entries: results[0]!.entries, mebibytes: Math.max(...results.map((result) => result.mebibytes)) };
  };
  const say = (name: string, { seconds, entries, mebibytes }: ReadResult): void =>
    console.log(`${name.padEnd(34)} ${seconds.toFixed(2)} s, ${entries} entries, ${mebibytes.toFixed(0)} MiB at most`);
  let over = 0;
  let theirs: ReadResult | undefined;
  if (go !== undefined) {
    theirs = parseRead(execFileSync(go, ["read", folder], { encoding: "utf8" }));
    say("go: Open and ReadAll", theirs);
  }
  const read = run("read");
  say("walnut: read strictly", read);
  say("walnut: open for writing", run("open"));
  const verified = run("verify");
  say("walnut: verify", verified);
  const result = verdict(read.seconds, READ_SECONDS_BAR * scale, theirs?.seconds);
  if (result === "OVER") over++;
  console.log(`read: bar ${READ_SECONDS_BAR * scale} s: ${result}`);
  const bar = Math.max(READ_MEBIBYTES_BAR, theirs?.mebibytes ?? 0);
  const fits = read.mebibytes <= bar && verified.mebibytes <= VERIFY_MEBIBYTES_BAR;
  if (!fits) over++;
  console.log(
    `memory: bars ${bar.toFixed(0)} MiB for reading, ${VERIFY_MEBIBYTES_BAR} for verifying: ${fits ? "ok" : "OVER"}`,
  );
  return over;
}

const child = process.argv.indexOf("--child");
if (child === -1) await main();
else await read(process.argv[child + 1]!, process.argv[child + 2]!);
