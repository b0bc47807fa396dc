import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import fc from "fast-check";
import { equalBytes } from "../base/bytes.js";
import { crc32c } from "../base/crc32c.js";
import { decodeEntry, decodeHardState, encodeEntry, encodeHardState, type Entry } from "../proto/raft.js";
import { decodeWalMetadata, decodeWalSnapshot } from "../proto/wal.js";
import { RecordEncoder, RecordType, writeLengthField } from "./encoder.js";
import { endWithoutZeros, firstNonZero, FrameParser, hasZeroSector } from "./frames.js";
import { EntryFields } from "./rules.js";
import { state, valueOf } from "./testing/fixture.js";
import { naiveFrame } from "./testing/log-builder.js";

const anyEntry = fc.record<Entry>({
  type: fc.constantFrom(0, 1, 2),
  term: fc.oneof(fc.integer({ min: 0, max: 300 }), fc.maxSafeNat()),
  index: fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.maxSafeNat()),
  data: fc.oneof(fc.uint8Array({ maxLength: 80 }), fc.uint8Array({ minLength: 250, maxLength: 700 })),
});

test("the encoder writes what its naive twin writes, whatever the entries", () => {
  fc.assert(
    fc.property(fc.array(anyEntry, { minLength: 1, maxLength: 20 }), fc.nat(0xffff_ffff), (entries, seed) => {
      const encoder = new RecordEncoder(seed, 16);
      const frames: Uint8Array[] = [];
      let crc = seed;
      for (const entry of entries) {
        encoder.entry(entry);
        const data = encodeEntry(entry);
        crc = crc32c(crc, data);
        frames.push(naiveFrame(RecordType.entry, crc, data));
      }
      assert.deepEqual(Buffer.from(encoder.view()), Buffer.concat(frames));
      assert.equal(encoder.crc, crc);
    }),
  );
});

test("frames stay as they are when the encoder's buffer grows under them, once and again", () => {
  const encoder = new RecordEncoder(0, 16);
  const frames: Uint8Array[] = [];
  let crc = 0;
  for (let index = 1; index <= 6; index++) {
    const entry: Entry = { type: 0, term: 1, index, data: valueOf(index, 40_000) };
    encoder.entry(entry);
    const data = encodeEntry(entry);
    crc = crc32c(crc, data);
    frames.push(naiveFrame(RecordType.entry, crc, data));
  }
  assert.ok(equalBytes(encoder.view(), Buffer.concat(frames)));
});

test("what was encoded parses, and decodes to the same entry", () => {
  const parser = new FrameParser();
  const fields = new EntryFields();
  fc.assert(
    fc.property(anyEntry, (entry) => {
      const encoder = new RecordEncoder(7);
      encoder.entry(entry);
      const bytes = encoder.view();
      assert.equal(parser.parse(bytes, 0, bytes.length, bytes.length), "record");
      assert.equal(parser.total, bytes.length);
      assert.equal(parser.type, RecordType.entry);
      assert.equal(parser.crc, encoder.crc);
      assert.equal(fields.decode(bytes, parser.dataStart, parser.dataEnd), undefined);
      assert.deepEqual([fields.type, fields.term, fields.index], [entry.type, entry.term, entry.index]);
      assert.deepEqual(bytes.slice(fields.dataStart, fields.dataEnd), entry.data);
    }),
  );
});

test("a flipped bit outside the data is seen, or shows as another type, checksum or amount of data", () => {
  const parser = new FrameParser();
  fc.assert(
    fc.property(anyEntry, (entry) => {
      const encoder = new RecordEncoder(7);
      encoder.entry(entry);
      const bytes = encoder.view().slice();
      parser.parse(bytes, 0, bytes.length, bytes.length);
      const { dataStart, dataEnd, type } = parser;
      const crc = parser.crc;
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        if (bit >> 3 >= dataStart && bit >> 3 < dataEnd) continue;
        bytes[bit >> 3]! ^= 1 << (bit & 7);
        const parsed = parser.parse(bytes, 0, bytes.length, bytes.length);
        const sameData = parser.dataEnd - parser.dataStart === dataEnd - dataStart;
        if (parsed === "record") assert.ok(parser.type !== type || parser.crc !== crc || !sameData, `bit ${bit}`);
        bytes[bit >> 3]! ^= 1 << (bit & 7);
      }
    }),
    { numRuns: 40 },
  );
});

test("the parser never reads past the bytes at hand and asks for as many as it needs", () => {
  const parser = new FrameParser();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 64 }), fc.nat(64), (bytes, extra) => {
      const parsed = parser.parse(bytes, 0, bytes.length, bytes.length + extra);
      if (parsed === "more") assert.ok(parser.total > bytes.length || bytes.length < 8);
      if (parsed === "record") assert.ok(parser.total <= bytes.length);
      assert.ok(parser.total <= bytes.length + extra || parsed === "oversize");
    }),
  );
});

test("a length field holds size, padding and the flag in their bits, sizes over 4 GiB too", () => {
  const bytes = new Uint8Array(8);
  const read = (): bigint => new DataView(bytes.buffer).getBigUint64(0, true);
  writeLengthField(bytes, 0, 16);
  assert.equal(read(), 16n);
  writeLengthField(bytes, 0, 13);
  assert.equal(read(), 13n | (0x83n << 56n));
  writeLengthField(bytes, 0, 2 ** 40 + 5);
  assert.equal(read(), (1n << 40n) | 5n | (0x83n << 56n));
});

test("a zero sector is found where a frame touches it, even if the frame has only its first byte there", () => {
  const bytes = new Uint8Array(2048).fill(1);
  assert.equal(hasZeroSector(bytes, 8, 2048, 8), false);
  bytes.fill(0, 512, 1024);
  assert.equal(hasZeroSector(bytes, 8, 2048, 8), true);
  assert.equal(hasZeroSector(bytes, 8, 513, 8), true);
  assert.equal(hasZeroSector(bytes, 8, 512, 8), false);
  assert.equal(hasZeroSector(bytes, 8, 2048, 8 + 256), false, "the file's sectors count, not the buffer's");
});

test("zeros are told from the rest at every alignment", () => {
  fc.assert(
    fc.property(fc.nat(20), fc.nat(40), fc.nat(60), (start, length, dirty) => {
      const bytes = new Uint8Array(64);
      if (dirty < 64) bytes[dirty] = 9;
      const end = Math.min(64, start + length);
      const inside = dirty >= start && dirty < end;
      assert.equal(firstNonZero(bytes, start, end), inside ? dirty : end);
      assert.equal(endWithoutZeros(bytes, start, end), inside ? dirty + 1 : start);
    }),
  );
});

test("a segment of real etcd 3.5.30 decodes, and our encoder writes the same bytes for its records", () => {
  const bytes = new Uint8Array(
    readFileSync(new URL("../../../src/wal/testing/golden/etcd-3.5.30.wal", import.meta.url)),
  );
  const parser = new FrameParser();
  const encoder = new RecordEncoder(0);
  const kinds = new Set<number>();
  for (let at = 0; at < bytes.length; at += parser.total) {
    assert.equal(parser.parse(bytes, at, bytes.length, bytes.length - at), "record");
    kinds.add(parser.type);
    const data = bytes.slice(parser.dataStart, parser.dataEnd);
    if (parser.type === RecordType.crc) encoder.crcRecord();
    else if (parser.type === RecordType.metadata) encoder.metadata(data);
    else if (parser.type === RecordType.entry) encoder.entry(decodeEntry(data));
    else if (parser.type === RecordType.state) encoder.state(decodeHardState(data));
    else encoder.snapshot(decodeWalSnapshot(data));
    if (parser.type === RecordType.metadata) assert.ok(decodeWalMetadata(data).nodeId > 0n);
  }
  assert.equal(kinds.size, 5);
  assert.deepEqual(Buffer.from(encoder.view()), Buffer.from(bytes));
});

test("states are written with all three fields, as Go does", () => {
  assert.deepEqual(encodeHardState(state(1, 0, 0n)), Uint8Array.of(0x08, 1, 0x10, 0, 0x18, 0));
});
