/** The simulated disk and the real one answer alike: the same calls, the same results, the same codes of failure. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import fc from "fast-check";
import { DiskError, type Disk, type DiskFile, type LockKind, type OpenMode } from "../src/platform/index.js";
import { NodeDisk } from "../src/platform/node/index.js";
import { SimDisk } from "./index.js";

const path = fc.constantFrom("/a", "/b", "/f", "/f/a", "/f/b", "/g", "/g/h", "/f/a/x");
const mode = fc.constantFrom<OpenMode>("read", "write", "create", "replace");
const lock = fc.constantFrom<LockKind>("segment", "database", "database-shared");
const handle = fc.nat(5);
const offset = fc.oneof(fc.nat(20), fc.nat(10_000));

type Call =
  | { readonly call: "open"; readonly path: string; readonly mode: OpenMode }
  | {
      readonly call: "list" | "stat" | "makeFolder" | "removeFile" | "removeTree" | "syncFolder";
      readonly path: string;
    }
  | { readonly call: "rename"; readonly path: string; readonly to: string }
  | {
      readonly call: "write" | "writeDurably" | "writeDurablyNow";
      readonly handle: number;
      readonly offset: number;
      readonly sizes: number[];
    }
  | { readonly call: "read" | "readNow"; readonly handle: number; readonly offset: number; readonly size: number }
  | { readonly call: "truncate"; readonly handle: number; readonly size: number }
  | { readonly call: "tryLock"; readonly handle: number; readonly kind: LockKind }
  | { readonly call: "size" | "sync" | "datasync" | "unlock" | "close"; readonly handle: number };

const onPath = fc.constantFrom("list", "stat", "makeFolder", "removeFile", "removeTree", "syncFolder");
const onHandle = fc.constantFrom("size", "sync", "datasync", "unlock", "close");
const call: fc.Arbitrary<Call> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ call: fc.constant("open" as const), path, mode }) },
  { weight: 4, arbitrary: fc.record({ call: onPath, path }) as fc.Arbitrary<Call> },
  { weight: 2, arbitrary: fc.record({ call: fc.constant("rename" as const), path, to: path }) },
  {
    weight: 4,
    arbitrary: fc.record({
      call: fc.constantFrom("write" as const, "writeDurably" as const, "writeDurablyNow" as const),
      handle,
      offset,
      sizes: fc.array(fc.nat(5000), { maxLength: 3 }).map((sizes) => [...sizes, 1]),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      call: fc.constantFrom("read" as const, "readNow" as const),
      handle,
      offset,
      size: fc.nat(9000),
    }),
  },
  { weight: 1, arbitrary: fc.record({ call: fc.constant("truncate" as const), handle, size: offset }) },
  { weight: 2, arbitrary: fc.record({ call: fc.constant("tryLock" as const), handle, kind: lock }) },
  { weight: 3, arbitrary: fc.record({ call: onHandle, handle }) as fc.Arbitrary<Call> },
);

/** Plays calls below a root; answers what each gave, as text. */
async function play(disk: Disk, root: string, calls: readonly Call[]): Promise<string[]> {
  const handles: DiskFile[] = [];
  let written = 0;
  const one = async (it: Call): Promise<unknown> => {
    if ("handle" in it) {
      const file = handles[it.handle % Math.max(1, handles.length)];
      if (file === undefined) return "no handle";
      switch (it.call) {
        case "write":
        case "writeDurably":
        case "writeDurablyNow": {
          const chunks = it.sizes.map((size) => new Uint8Array(size).fill(++written));
          if (it.call !== "writeDurablyNow") return file[it.call](chunks, it.offset);
          // Whether it is possible now may differ; what comes of it must not.
          return file.writeDurablyNow(chunks, it.offset) ? undefined : file.writeDurably(chunks, it.offset);
        }
        case "read":
        case "readNow": {
          const into = new Uint8Array(it.size).fill(255);
          const count = await file[it.call](into, it.offset);
          return `${count} ${Buffer.from(into).toString("base64")}`;
        }
        case "truncate":
          return file.truncate(it.size);
        case "tryLock":
          return file.tryLock(it.kind);
        case "unlock":
          return file.unlock();
        default:
          return file[it.call]();
      }
    }
    const full = `${root}${it.path}`;
    switch (it.call) {
      case "open":
        handles.push(await disk.open(full, it.mode));
        return "opened";
      case "rename":
        return disk.rename(full, `${root}${it.to}`);
      default:
        return disk[it.call](full);
    }
  };
  const answers: string[] = [];
  for (const it of calls) {
    try {
      answers.push(`${it.call}: ${JSON.stringify(await one(it))}`);
    } catch (error) {
      if (!(error instanceof DiskError)) throw error;
      answers.push(`${it.call}: ${error.code} ${error.path.replace(root, "")}`);
    }
  }
  for (const file of handles) await file.close();
  return answers;
}

test("the same calls give the same answers on the simulated disk and on the real one", async (t) => {
  const real = mkdtempSync(join(tmpdir(), "walnut-parity-"));
  t.after(() => rmSync(real, { recursive: true }));
  let run = 0;
  await fc.assert(
    fc.asyncProperty(fc.array(call, { minLength: 5, maxLength: 40 }), async (calls) => {
      const root = `${real}/${++run}`;
      const disk = new NodeDisk();
      await disk.makeFolder(root);
      const [expected, found] = [await play(disk, root, calls), await play(new SimDisk(), "/data", calls)];
      await disk.removeTree(root);
      assert.deepEqual(found, expected);
    }),
    { numRuns: Number(process.env["WALNUT_PARITY_RUNS"] ?? 150) },
  );
});
