import assert from "node:assert/strict";
import { test } from "node:test";
import { untilEnd } from "./snapshot-exchange.js";

function pinned(...pages: number[]): { snapshot: Parameters<typeof untilEnd>[0]; ended: () => number } {
  let ends = 0;
  const snapshot = {
    sizeBytes: pages.length,
    // oxlint-disable-next-line typescript/require-await -- a database of one turn
    async *pages() {
      for (const page of pages) {
        if (page < 0) throw new Error("the disk fails");
        yield Uint8Array.of(page);
      }
    },
    end: () => void ends++,
  };
  return { snapshot, ended: () => ends };
}

test("a database read to its end lets go of its pages", async () => {
  const { snapshot, ended } = pinned(1, 2);
  const read: number[] = [];
  for await (const chunk of untilEnd(snapshot)) read.push(chunk[0]!);
  assert.deepEqual(read, [1, 2]);
  assert.equal(ended(), 1);
});

test("a database dropped before its first page, or after it, lets go of its pages", async () => {
  const unread = pinned(1, 2);
  await untilEnd(unread.snapshot)[Symbol.asyncIterator]().return!();
  assert.equal(unread.ended(), 1);

  const begun = pinned(1, 2);
  for await (const chunk of untilEnd(begun.snapshot)) {
    assert.deepEqual([...chunk], [1]);
    break;
  }
  assert.equal(begun.ended(), 1);
});

test("a database whose reading fails lets go of its pages, and says why", async () => {
  const { snapshot, ended } = pinned(1, -1);
  const pages = untilEnd(snapshot)[Symbol.asyncIterator]();
  await pages.next();
  await assert.rejects(pages.next(), /the disk fails/);
  assert.equal(ended(), 1);
});
