/**
 * `walnut wal verify|dump|repair` and `walnut db check|stats`: a directory that no server uses, looked into. Only `repair` writes.
 *
 * Exit codes: 0 all is well; 1 damage, or the command could not be done; 2 a torn end, which the next start repairs.
 */
import { once } from "node:events";
import { resolve } from "node:path";
import { Command, CommanderError, InvalidArgumentError } from "commander";
import { SingleBar } from "cli-progress";
import { CodedError, describeError } from "../../base/errors.js";
import { boltStats, checkBolt } from "../../bolt/index.js";
import { DUMP_HEADING, dumpWal, findDb, findWal, oldestReadable } from "../../inspect/index.js";
import { memberIdText } from "../../membership/index.js";
import { nodePlatform } from "../../platform/node/index.js";
import { decodeWalMetadata } from "../../proto/wal.js";
import { repairWal, verifyWal } from "../../wal/index.js";

const EXIT_DAMAGE = 1;
const EXIT_TORN = 2;

/** Runs it and answers the exit code. Never rejects. */
export async function runOfflineCommand(args: readonly string[]): Promise<number> {
  const outcome = { exitCode: 0 };
  const program = offlineProgram((exitCode) => (outcome.exitCode = exitCode));
  try {
    await program.parseAsync([...args], { from: "user" });
    return outcome.exitCode;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode;
    if (isBrokenPipe(error)) return 0;
    const text =
      error instanceof CodedError ? describeError(error) : error instanceof Error ? error.stack : String(error);
    process.stderr.write(`walnut: ${text}\n`);
    return EXIT_DAMAGE;
  }
}

/** `dump | head` ends the reader, which is no failure of ours. */
function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "EPIPE";
}

function offlineProgram(exit: (code: number) => void): Command {
  const platform = nodePlatform({ log: { level: "warn" } });
  const program = new Command("walnut").exitOverride();
  const wal = program.command("wal").description("look into a write-ahead log").exitOverride();
  wal
    .command("verify")
    .description("read a whole log as strictly as a server does; changes nothing")
    .argument("<dir>", "a data directory, or the log's folder")
    .action(async (dir: string) => exit(await verify(platform, resolve(dir))));
  wal
    .command("dump")
    .description("print a line for each record: segment, offset, kind, term, index, request")
    .argument("<dir>", "a data directory, or the log's folder")
    .option("--from <index>", "the first entry to show", parseIndex)
    .option("--to <index>", "the last entry to show", parseIndex)
    .option("--json", "a JSON object a line, with all bytes in base64", false)
    .action(async (dir: string, options: { from?: number; to?: number; json: boolean }) => {
      await dump(platform, resolve(dir), options);
    });
  wal
    .command("repair")
    .description("cut off a torn end, as the next start would; the segment as it was stays as NAME.wal.broken")
    .argument("<dir>", "a data directory, or the log's folder")
    .action(async (dir: string) => {
      await repair(platform, resolve(dir));
    });
  const db = program.command("db").description("look into a db file").exitOverride();
  db.command("check")
    .description("prove that the whole file is consistent; changes nothing")
    .argument("<path>", "a data directory, or the file")
    .action(async (path: string) => exit(await check(platform, resolve(path))));
  db.command("stats")
    .description("what is in the file, bucket by bucket")
    .argument("<path>", "a data directory, or the file")
    .action(async (path: string) => {
      await stats(platform, resolve(path));
    });
  return program;
}

type World = ReturnType<typeof nodePlatform>;

function parseIndex(text: string): number {
  const index = Number(text);
  if (!/^\d+$/.test(text) || !Number.isSafeInteger(index))
    throw new InvalidArgumentError("It must be the index of an entry.");
  return index;
}

async function verify(platform: World, dir: string): Promise<number> {
  const folder = await findWal(platform.disk, dir);
  const at = await oldestReadable(platform, folder);
  const report = await withBar("Verifying", (show) =>
    verifyWal(platform, folder, at, ({ bytesRead, bytesTotal }) => show(bytesRead, bytesTotal)),
  );
  const { nodeId, clusterId } = decodeWalMetadata(report.metadata);
  const { term, vote, commit } = report.hardState;
  print(
    `log         ${folder}`,
    `member      ${memberIdText(nodeId)} of cluster ${memberIdText(clusterId)}`,
    `segments    ${report.segments}, ${report.bytes} bytes, ${report.records} records`,
    `entries     ${report.entries}${report.firstIndex === undefined ? "" : `, ${report.firstIndex} to ${report.lastIndex}`}`,
    `snapshots   ${report.snapshots}`,
    `hard state  term ${term}, vote ${memberIdText(vote)}, commit ${commit}`,
  );
  if (report.damagedTail === undefined) {
    print("verdict     whole");
    return 0;
  }
  print(`verdict     ${report.damagedTail.summary}`, "            the next start repairs it, or `walnut wal repair`");
  return EXIT_TORN;
}

async function dump(
  platform: World,
  dir: string,
  options: { from?: number; to?: number; json: boolean },
): Promise<void> {
  const folder = await findWal(platform.disk, dir);
  // Lines to a terminal are their own progress.
  const bar = process.stdout.isTTY ? undefined : openBar("Dumping");
  try {
    if (!options.json) await write(`${DUMP_HEADING}\n`);
    const lines = dumpWal(platform, folder, {
      ...options,
      onProgress: ({ bytesRead, bytesTotal }) => bar?.show(bytesRead, bytesTotal),
    });
    let batch = "";
    for await (const line of lines) {
      batch += `${line}\n`;
      if (batch.length < 64 * 1024) continue;
      await write(batch);
      batch = "";
    }
    await write(batch);
  } finally {
    bar?.close();
  }
}

/** Waits while the reader is slow, so that a dump of any size holds little. */
async function write(text: string): Promise<void> {
  if (!process.stdout.write(text)) await once(process.stdout, "drain");
}

async function repair(platform: World, dir: string): Promise<void> {
  const folder = await findWal(platform.disk, dir);
  const report = await repairWal(platform, folder);
  if (!report.changed) {
    print(`${report.segment} has a good end at byte ${report.offset}: nothing was changed`);
    return;
  }
  print(
    `${report.segment} was cut at byte ${report.offset}; ${report.bytesRemoved} bytes went, and are kept in ${report.brokenCopy}`,
    ...(report.damagedTail === undefined ? [] : [report.damagedTail.summary]),
  );
}

async function check(platform: World, path: string): Promise<number> {
  const file = await findDb(platform.disk, path);
  const problems = await withBar("Checking", (show) => checkBolt(platform, file, show));
  if (problems.length === 0) {
    print(`${file}: consistent`);
    return 0;
  }
  print(...problems.map(({ code, detail }) => `${code}: ${detail}`));
  print(`${file}: ${problems.length} problems. Restore it from a snapshot, or remove this member and add it again`);
  return EXIT_DAMAGE;
}

async function stats(platform: World, path: string): Promise<void> {
  const file = await findDb(platform.disk, path);
  const report = await withBar("Reading", (show) => boltStats(platform, file, show));
  print(
    `file        ${report.path}`,
    `size        ${report.fileBytes} bytes, pages of ${report.pageSize}`,
    `pages       ${report.pages}, of which ${report.freePages} free`,
    `transaction ${report.txid}`,
    `problems    ${report.problems.length}`,
    "",
    "bucket               keys  depth  leaf pages  branch pages  overflow pages    used bytes",
  );
  for (const bucket of report.buckets) {
    const columns = [
      (bucket.path.join("/") || "(root)").padEnd(16),
      String(bucket.keys).padStart(8),
      String(bucket.depth).padStart(6),
      (bucket.inline ? "inline" : String(bucket.leafPages)).padStart(11),
      String(bucket.branchPages).padStart(13),
      String(bucket.overflowPages).padStart(15),
      String(bucket.usedBytes).padStart(13),
    ];
    print(columns.join(" "));
  }
}

function print(...lines: readonly string[]): void {
  process.stdout.write(`${lines.join("\n")}\n`);
}

// ---- progress -----------------------------------------------------------------------------------------------------

interface Bar {
  show(done: number, total: number): void;
  close(): void;
}

/** A bar on a terminal; nothing where nobody looks. */
function openBar(title: string): Bar | undefined {
  if (!process.stderr.isTTY) return undefined;
  const format = `${title} {bar} {percentage}% {eta_formatted}`;
  const bar = new SingleBar({ format, stream: process.stderr, clearOnComplete: true, hideCursor: true });
  bar.start(1, 0);
  return {
    show: (done, total) => {
      bar.setTotal(total);
      bar.update(done);
    },
    close: () => bar.stop(),
  };
}

async function withBar<Value>(
  title: string,
  work: (show: (done: number, total: number) => void) => Promise<Value>,
): Promise<Value> {
  const bar = openBar(title);
  try {
    return await work((done, total) => bar?.show(done, total));
  } finally {
    bar?.close();
  }
}
