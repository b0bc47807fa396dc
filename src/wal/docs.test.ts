import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { encodeWalMetadata } from "../proto/wal.js";
import { RecordEncoder } from "./encoder.js";
import { scanWal, segmentName, type ScannedRecord } from "./index.js";
import { entry, FOLDER, ORIGIN, state, texts, World } from "./testing/fixture.js";

function exampleBytes(): Uint8Array {
  const page = readFileSync(new URL("../../../docs/formats/wal.md", import.meta.url), "utf8");
  const block = /```hex\n([^`]+)```/.exec(page)?.[1];
  assert.ok(block !== undefined, "docs/formats/wal.md has a hex block");
  const digits = block.replaceAll(/#.*/g, "").replaceAll(/\s/g, "");
  return Uint8Array.from(digits.match(/../g)!, (pair) => Number.parseInt(pair, 16));
}

test("the example in docs/formats/wal.md reads as it says", async () => {
  const world = new World();
  const bytes = new Uint8Array(4096);
  bytes.set(exampleBytes());
  world.disk.writeAll(`${FOLDER}/${segmentName(0, 0)}`, bytes);
  const contents = await world.read(ORIGIN);
  assert.equal(contents.damagedTail, undefined);
  assert.deepEqual(texts(contents), ["1/2 put"]);
  assert.deepEqual(contents.hardState, { term: 2, vote: 0x1234n, commit: 1 });
  assert.deepEqual(contents.metadata, encodeWalMetadata({ nodeId: 0x1234n, clusterId: 0xabcdn }));
  const kinds: ScannedRecord["kind"][] = [];
  for await (const { kind } of scanWal(world, FOLDER)) kinds.push(kind);
  assert.deepEqual(kinds, ["crc", "metadata", "snapshot", "entry", "state"]);
});

test("and is what the encoder writes", () => {
  const encoder = new RecordEncoder(0);
  encoder.crcRecord();
  encoder.metadata(encodeWalMetadata({ nodeId: 0x1234n, clusterId: 0xabcdn }));
  encoder.snapshot({ index: 0, term: 0, confState: undefined });
  encoder.entry(entry(1, "put", 2));
  encoder.state(state(2, 1, 0x1234n));
  assert.deepEqual(Buffer.from(encoder.view()), Buffer.from(exampleBytes()));
});
