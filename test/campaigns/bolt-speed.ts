/**
 * How fast `src/bolt` is here: `node dist/test/campaigns/bolt-speed.js [FOLDER] [COMMITS]`; a file below the system's folder for
 * temporary files and 50 commits of 10,000 keys unless told. Times are wall clock: run it on a machine that does nothing else.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { cpus, tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { silentLog } from "../../src/platform/log.js";
import { installFastChecksum, NodeClock, NodeDisk } from "../../src/platform/node/index.js";
import { openBolt, type BoltDatabase, type Bucket } from "../../src/bolt/index.js";

const KEYS_PER_COMMIT = 10_000;
const VALUE = new Uint8Array(256).fill(7);
const NAME = Uint8Array.from(Buffer.from("key"));

installFastChecksum();
const folder = mkdtempSync(join(process.argv[2] ?? tmpdir(), "walnut-bolt-speed-"));
const commits = Number(process.argv[3] ?? 50);
console.log(
  `${cpus().length} x ${cpus()[0]?.model ?? "unknown"}, Node ${process.version}, ${new Date().toISOString()}`,
);
try {
  const doors = { disk: new NodeDisk(), clock: new NodeClock(), log: silentLog };
  const db = await openBolt(doors, join(folder, "db"), { initialMapBytes: 10 * 2 ** 30 });
  await run(db);
  await db.close();
} finally {
  rmSync(folder, { recursive: true });
}

async function run(db: BoltDatabase): Promise<void> {
  const sequential: Timing[] = [];
  for (let i = 0; i < commits; i++) {
    sequential.push(await commit(db, (index) => revisionKey(i * KEYS_PER_COMMIT + index)));
  }
  report("ascending keys", sequential);
  const count = commits * KEYS_PER_COMMIT;
  const random = (): Uint8Array => revisionKey(Math.floor(Math.random() * count));
  const read = db.beginRead();
  const bucket = read.bucket(NAME)!;
  lookUp(bucket, 100_000, random);
  console.log(`gets of random keys among ${count}: ${perSecond(200_000, lookUp(bucket, 200_000, random))}`);
  const began = performance.now();
  let seen = 0;
  bucket.forEach(undefined, undefined, () => void seen++);
  console.log(`scan of ${seen} keys: ${perSecond(seen, performance.now() - began)}`);
  read.end();
  const scattered: Timing[] = [];
  for (let i = 0; i < 10; i++) scattered.push(await commit(db, random));
  report(`random keys among ${count}`, scattered);
  const checkBegan = performance.now();
  const problems = await db.check();
  console.log(
    `check of ${db.sizeBytes} bytes: ${Math.round(performance.now() - checkBegan)} ms, ${problems.length} problems`,
  );
}

interface Timing {
  readonly puts: number;
  readonly plan: number;
  readonly total: number;
}

async function commit(db: BoltDatabase, keyAt: (index: number) => Uint8Array): Promise<Timing> {
  const keys = Array.from({ length: KEYS_PER_COMMIT }, (_, index) => keyAt(index));
  const write = db.beginWrite();
  const bucket = write.createBucketIfNotExists(NAME);
  bucket.fillPercent = 0.9;
  const began = performance.now();
  for (const key of keys) bucket.put(key, VALUE);
  const put = performance.now();
  const durable = write.commit();
  const planned = performance.now();
  await durable;
  return { puts: put - began, plan: planned - put, total: performance.now() - put };
}

function report(title: string, timings: readonly Timing[]): void {
  const middle = (pick: (timing: Timing) => number): number =>
    timings.map(pick).sort((a, b) => a - b)[timings.length >>> 1]!;
  const most = Math.max(...timings.map((timing) => timing.plan));
  console.log(
    `${title}: ${perSecond(
      KEYS_PER_COMMIT,
      middle(({ puts }) => puts),
    )} put; commit of ${KEYS_PER_COMMIT}: ` +
      `${middle(({ plan }) => plan).toFixed(1)} ms at once (most ${most.toFixed(1)}), ` +
      `${middle(({ total }) => total).toFixed(1)} ms until durable (medians of ${timings.length})`,
  );
}

function lookUp(bucket: Bucket, count: number, key: () => Uint8Array): number {
  const keys = Array.from({ length: count }, key);
  const began = performance.now();
  for (const each of keys) if (bucket.get(each) === undefined) throw new Error("a key is missing");
  return performance.now() - began;
}

/** A revision as etcd's key bucket has it: main (8 bytes), `_`, sub (8 bytes). */
function revisionKey(main: number): Uint8Array {
  const key = new Uint8Array(17);
  new DataView(key.buffer).setUint32(4, main);
  key[8] = 0x5f;
  return key;
}

function perSecond(count: number, ms: number): string {
  return `${Math.round((count / ms) * 1000).toLocaleString("en")} a second`;
}
