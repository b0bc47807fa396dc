/** The same random operations on Walnut's side and on bbolt's, in turns on one file; each reads what the other wrote. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { NodeClock, NodeDisk } from "../../platform/node/index.js";
import { silentLog } from "../../platform/log.js";
import { checkBolt, openBolt, type Bucket, type WriteTransaction } from "../index.js";
import { dumpLinesOf } from "./dump-lines.js";
import type { GoTool } from "./go-bolt.js";
import { Chance } from "./random-work.js";

const doors = { disk: new NodeDisk(), clock: new NodeClock(), log: silentLog };
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
const unhex = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, "hex"));

export interface DifferentialCounts {
  rounds: number;
  operations: number;
  keysCompared: number;
}

/**
 * One file, some rounds; in each round chance decides whose turn it is, and both must then read the same.
 *
 * bbolt 1.3 loses pages when it deletes a bucket that the transaction has changed: its own check then calls them "unreachable
 * unfreed". Both checks must name the same pages, and Walnut must lose none itself.
 */
export async function runDifferential(tool: GoTool, seed: number, rounds: number): Promise<DifferentialCounts> {
  const folder = mkdtempSync(join(tmpdir(), "walnut-bolt-"));
  const file = join(folder, "db");
  const chance = new Chance(seed);
  const counts: DifferentialCounts = { rounds: 0, operations: 0, keysCompared: 0 };
  const known = new Set<string>();
  const pageSize = chance.pick([1024, 4096]);
  const keys = chance.pick([40, 2000, 50_000]);
  let lost: number[] = [];
  try {
    for (let round = 0; round < rounds; round++) {
      const lines = randomLines(chance, known, keys, chance.pick([5, 200, 3000]));
      counts.operations += lines.length;
      const theirTurn = chance.below(2) === 0;
      if (theirTurn) {
        const environment: Record<string, string> = { PAGESIZE: String(pageSize) };
        if (chance.below(5) === 0) environment["NOFREELIST"] = "1";
        if (chance.below(3) === 0) environment["FREEMAP"] = "1";
        tool.apply(file, lines, environment);
      } else await applyLines(file, lines, pageSize);
      const theirs = tool.dump(file);
      const ours = await dumpLines(file);
      assert.deepEqual(ours, theirs, `seed ${seed} round ${round}`);
      const before = new Set(lost);
      lost = await lostPages(file);
      const named = lost.map((page) => `page ${page}: unreachable unfreed`);
      assert.deepEqual(tool.check(file), named, `seed ${seed} round ${round}: bbolt's check`);
      if (!theirTurn)
        assert.ok(
          lost.every((page) => before.has(page)),
          `seed ${seed} round ${round}: pages lost by us`,
        );
      counts.rounds++;
      counts.keysCompared += ours.length;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  return counts;
}

/** Operations as text: `put PATH KEY VALUE [FILL]`, `del PATH KEY`, `rmb PATH NAME`, `seq PATH NUMBER`, `commit`; bytes in hex. */
function randomLines(chance: Chance, known: Set<string>, keys: number, count: number): string[] {
  const lines: string[] = [];
  const names = ["6b6579", "6d657461", "6c65617365"];
  for (let i = 0; i < count; i++) {
    const path = [chance.pick(names)];
    while (path.length < 3 && chance.below(6) === 0) path.push(`7e${chance.pick(names)}`);
    const where = path.join("/");
    const key = hex(Buffer.from(`k${String(chance.below(keys)).padStart(chance.below(9) === 0 ? 60 : 8, "0")}`));
    const kind = chance.below(40);
    if (kind < 12) lines.push(`del ${where} ${key}`);
    else if (kind === 12) lines.push(`seq ${where} ${chance.below(2 ** 31)}`);
    else if (kind === 13 && chance.below(10) === 0 && known.has(where)) {
      const parent = path.slice(0, -1).join("/");
      lines.push(`rmb ${parent === "" ? "." : parent} ${path.at(-1)}`);
      for (const other of known) if (other === where || other.startsWith(`${where}/`)) known.delete(other);
      continue;
    } else {
      const value = hex(chance.bytes(chance.below(50) === 0 ? chance.below(20_000) : chance.below(200)));
      lines.push(`put ${where} ${key} ${value} ${chance.pick([0.5, 0.9])}`);
    }
    for (let depth = 1; depth <= path.length; depth++) known.add(path.slice(0, depth).join("/"));
    if (chance.below(300) === 0) lines.push("commit");
  }
  lines.push("commit");
  return lines;
}

async function applyLines(file: string, lines: readonly string[], pageSize: number): Promise<void> {
  const db = await openBolt(doors, file, { pageSize });
  try {
    let transaction = db.beginWrite();
    for (const line of lines) {
      const [verb, where, key, value, fill] = line.split(" ");
      if (verb === "commit") {
        await transaction.commit();
        transaction = db.beginWrite();
      } else if (verb === "rmb") {
        const parent = where === "." ? transaction : bucketAt(transaction, where!);
        parent.deleteBucket(unhex(key!));
      } else {
        const bucket = bucketAt(transaction, where!);
        if (verb === "del") bucket.delete(unhex(key!));
        else if (verb === "seq") bucket.setSequence(Number(key));
        else {
          bucket.fillPercent = Number(fill);
          bucket.put(unhex(key!), unhex(value!));
        }
      }
    }
  } finally {
    await db.close();
  }
}

/** Pages that are neither in use nor free; anything else that the check finds fails the test. */
async function lostPages(file: string): Promise<number[]> {
  const problems = await checkBolt(doors, file);
  for (const problem of problems) assert.equal(problem.code, "BOLT_PAGE_LOST", problem.detail);
  return problems.map((problem) => problem.page!);
}

function bucketAt(transaction: WriteTransaction, where: string): Bucket {
  let bucket: Bucket | undefined;
  for (const name of where.split("/")) bucket = (bucket ?? transaction).createBucketIfNotExists(unhex(name));
  return bucket!;
}

/** All that a file holds, in the form in which the Go program prints it. */
async function dumpLines(file: string): Promise<string[]> {
  const db = await openBolt(doors, file, { readOnly: true });
  try {
    return dumpLinesOf(db.beginRead());
  } finally {
    await db.close();
  }
}
