import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { bytesFromLatin1 } from "../base/text.js";
import { storeFixture } from "./testing/fixture.js";

const DOCUMENT = join(import.meta.dirname, "../../../docs/formats/db.md");

/** The rows of the document's example: bucket, key, value, in hexadecimal. */
function documentedRows(): string[] {
  const block = /```db\n([^`]*)```/.exec(readFileSync(DOCUMENT, "utf8"))![1]!;
  return block
    .trim()
    .split("\n")
    .map((line) => {
      const [bucket, key, ...rest] = line.split(/ +/);
      const value = rest.slice(
        0,
        Math.max(
          1,
          rest.findIndex((word) => !/^[0-9a-f]{6,}$/.test(word)),
        ),
      );
      return `${bucket} ${key} ${value.join("")}`;
    });
}

test("the document's example is what the store writes, byte for byte", async (t) => {
  const leases = { has: () => true, holdsKeys: false, attach: () => true, detach: () => undefined };
  const s = await storeFixture(t, { store: { leases } });
  s.put("a", "1");
  const txn = s.store.write();
  txn.put(bytesFromLatin1("a"), bytesFromLatin1("2"), 0n);
  txn.put(bytesFromLatin1("b"), bytesFromLatin1("3"), 0n);
  txn.end();
  s.delete("a");
  await s.compact(3);
  s.put("c", "", 0x1234n);
  const rows: string[] = [];
  const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
  for (const bucket of ["key", "meta"]) {
    s.backend.forEach(bucket, undefined, undefined, (key, value) => {
      rows.push(`${bucket} ${hex(key)} ${hex(value)}`);
    });
  }
  assert.deepEqual(rows, documentedRows());
});
