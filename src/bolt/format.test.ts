import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Bucket } from "./bucket.js";
import { decodeMeta, encodeMeta, readSeal, sealPage, sequenceFromNumber, sequenceToNumber } from "./format.js";
import { encodeFreeList, FreeList, PageSet, parseFreeList } from "./free-list.js";
import { grownBytes, mapBytes } from "./growth.js";
import { parsePage } from "./page.js";
import { bytesOf } from "./testing/twin.js";

const PAGE_BYTES = 1024;
const DOCUMENT = join(import.meta.dirname, "../../../docs/formats/bolt.md");

/** The bytes of an example in the format's page, behind "```hex NAME". */
function example(name: string): Uint8Array {
  const found = new RegExp(`\`\`\`hex ${name}\n([0-9a-f \n]+)\`\`\``).exec(readFileSync(DOCUMENT, "utf8"));
  assert.ok(found !== null, `no example ${name}`);
  return Uint8Array.from(Buffer.from(found[1]!.replaceAll(/\s/g, ""), "hex"));
}

function pageOf(name: string, sealed: boolean): Uint8Array {
  const page = new Uint8Array(PAGE_BYTES);
  page.set(example(name));
  if (sealed) page.set(example("seal"), PAGE_BYTES - 8);
  return page;
}

const origin = (id: number): { path: string; pageSize: number; id: number; offset: number } => ({
  path: "db",
  pageSize: PAGE_BYTES,
  id,
  offset: id * PAGE_BYTES,
});

test("the meta page of the format's page decodes as it says, and encodes back", () => {
  const decoded = decodeMeta(example("meta"));
  const meta = { pageSize: 1024, root: 4, sequence: { low: 0, high: 0 }, freeList: 5, highWater: 6, txid: 2 };
  assert.deepEqual(decoded, { kind: "meta", meta });
  const page = new Uint8Array(PAGE_BYTES);
  encodeMeta(page, 0, meta);
  assert.deepEqual(page.subarray(0, 80), example("meta"));
});

test("the leaf of the format's page decodes as it says, and its seal is whole", () => {
  const bytes = pageOf("leaf", true);
  assert.equal(readSeal(bytes, 4), "whole");
  const leaf = parsePage(origin(4), bytes, 6);
  assert.deepEqual(leaf.keyAt(0), bytesOf("meta"));
  assert.ok(leaf.isBucketAt(0));
  const pages = { path: "db", pageSize: PAGE_BYTES, highWater: 6, get: () => leaf, checkDepth: () => undefined };
  const owner = {
    pages: pages as unknown as Bucket["pages"],
    writable: false,
    assertOpen: () => undefined,
    take: (size: number) => new Uint8Array(size),
    keep: (given: Uint8Array) => given,
    release: () => undefined,
  };
  const bucket = new Bucket(owner, 4, { low: 0, high: 0 }).bucket(bytesOf("meta"))!;
  assert.deepEqual(bucket.get(bytesOf("term")), Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 2));
});

test("the free list of the format's page decodes as it says, and encodes back", () => {
  const bytes = pageOf("free list", false);
  const set = parseFreeList(origin(5), bytes, 2, 6);
  assert.deepEqual([...set], [2, 3]);
  const page = new Uint8Array(PAGE_BYTES);
  encodeFreeList(page, 5, 1, set);
  assert.deepEqual(page, bytes);
});

test("every bit of a meta page's meaning is under its checksum", () => {
  const meta = example("meta");
  for (let bit = 16 * 8; bit < 80 * 8; bit++) {
    const flipped = meta.slice();
    flipped[bit >>> 3]! ^= 1 << (bit & 7);
    assert.equal(decodeMeta(flipped).kind, "damaged", `bit ${bit}`);
  }
});

test("every bit of a sealed page is refused when it flips, or does not matter", () => {
  const page = pageOf("leaf", true);
  for (let bit = 0; bit < PAGE_BYTES * 8; bit++) {
    const flipped = page.slice();
    flipped[bit >>> 3]! ^= 1 << (bit & 7);
    const inMark = bit >= (PAGE_BYTES - 8) * 8 && bit < (PAGE_BYTES - 4) * 8;
    if (inMark) assert.equal(parsePage(origin(4), flipped, 6).count, 1);
    else assert.throws(() => parsePage(origin(4), flipped, 6), /BOLT_/, `bit ${bit}`);
  }
});

test("a seal belongs to one page id", () => {
  const page = new Uint8Array(PAGE_BYTES);
  sealPage(page, 7);
  assert.equal(readSeal(page, 7), "whole");
  assert.equal(readSeal(page, 8), "none");
  page[9] = 1;
  assert.equal(readSeal(page, 7), "broken");
});

test("a sequence of 64 bits keeps its halves", () => {
  assert.equal(sequenceToNumber(sequenceFromNumber(2 ** 53 - 1)), 2 ** 53 - 1);
  assert.deepEqual(sequenceFromNumber(2 ** 40 + 5), { low: 5, high: 256 });
});

test("a map doubles from 32 KiB to 1 GiB, then grows by whole GiB", () => {
  assert.equal(mapBytes(1), 32_768);
  assert.equal(mapBytes(32_769), 65_536);
  assert.equal(mapBytes(2 ** 30), 2 ** 30);
  assert.equal(mapBytes(2 ** 30 + 1), 2 ** 31);
  assert.equal(mapBytes(2 ** 31 + 1), 3 * 2 ** 30);
});

test("a file takes its map's size up to 16 MiB, then 16 MiB more than it needs", () => {
  assert.equal(grownBytes(32_768, 20_000, 32_768), 32_768);
  assert.equal(grownBytes(32_768, 40_000, 65_536), 65_536);
  assert.equal(grownBytes(2 ** 24, 2 ** 24 + 4096, 2 ** 25), 2 ** 25 + 4096);
});

test("pages are taken lowest first, and runs whole", () => {
  const free = new PageSet();
  for (const id of [3, 4, 6, 7, 8, 70]) free.add(id);
  const list = new FreeList(free);
  assert.equal(list.take(3, 1), 6);
  assert.equal(list.take(2, 1), 3);
  assert.equal(list.take(2, 1), 0);
  assert.equal(list.take(1, 1), 70);
  assert.equal(list.take(1, 1), 0);
});

test("a freed page is free when no state that can be read has it", () => {
  const list = new FreeList(new PageSet());
  const released: number[] = [];
  const release = (durable: number, readers: number[]): number[] => {
    released.length = 0;
    list.release(durable, readers, (id) => released.push(id));
    return [...released];
  };
  list.note(12, 7); // page 12 was taken by transaction 7
  list.add(10, 2, 5); // freed by transaction 5: states up to 4 have it
  list.add(12, 1, 9);
  assert.deepEqual(release(4, []), []);
  assert.deepEqual(release(9, [4]), [12]); // the reader of 4 came before 12 was taken
  assert.deepEqual(release(9, [5]), [10, 11]);
  assert.equal(list.pendingPages, 0);
  assert.throws(() => list.add(10, 1, 10), /freed twice/);
});
