import assert from "node:assert/strict";
import { test } from "node:test";
import { RecordType } from "../wal/encoder.js";
import { WalError, type WalOptions } from "../wal/index.js";
import { entries, entry, FOLDER, METADATA, state, valueOf, World } from "../wal/testing/fixture.js";
import { LogBuilder } from "../wal/testing/log-builder.js";
import { DUMP_HEADING, dumpWal, type DumpOptions } from "./wal-dump.js";

const FIRST = "0000000000000000-0000000000000000.wal";

async function dump(world: World, options: DumpOptions = {}): Promise<string[]> {
  const lines: string[] = [];
  for await (const line of dumpWal(world, FOLDER, options)) lines.push(line);
  world.assertAtRest();
  return lines;
}

/** Segment, kind, term, index of each line. */
async function shape(world: World, options: DumpOptions = {}): Promise<string[]> {
  const lines = await dump(world, { ...options, json: true });
  return lines.map((line) => {
    const { segment, kind, index } = JSON.parse(line) as { segment: string; kind: string; index?: number };
    return `${Number(segment.slice(0, 16))} ${kind}${index === undefined ? "" : ` ${index}`}`;
  });
}

/** Entries 1 to 30 in several segments, a state with each save of five. */
async function severalSegments(options: WalOptions = { segmentBytes: 512 }): Promise<World> {
  const world = new World();
  const writer = await world.create(options);
  for (let from = 1; from <= 30; from += 5) await writer.save(state(1, from), entries(from, from + 5, 60));
  await writer.close();
  return world;
}

test("a line for each record, in columns below the heading", async () => {
  const world = new World();
  const writer = await world.create();
  await writer.save(state(2, 1, 0x1234n), [entry(1, "", 2), { type: 1, term: 2, index: 2, data: Uint8Array.of(255) }]);
  await writer.saveSnapshot({ index: 1, term: 2, confState: { ...NO_CONF, voters: [0xabcn] } });
  await writer.close();
  assert.deepEqual(await dump(world), [
    `${FIRST}         0 crc                          00000000`,
    `${FIRST}        16 metadata                     member=8e9e05c52164694d cluster=cdf818d99f0c6fc1`,
    `${FIRST}        56 snapshot       0           0`,
    `${FIRST}        80 normal         2           1 empty: a leader's term begins`,
    `${FIRST}       104 confchange     2           2 1 bytes that cannot be decoded (WIRE_TRUNCATED: a varint is cut off at byte 1)`,
    `${FIRST}       136 state          2             vote=1234 commit=1`,
    `${FIRST}       168 snapshot       2           1 voters=abc`,
  ]);
});

test("the heading stands over its columns", async () => {
  const lines = await dump(await severalSegments());
  const column = (word: string): number => DUMP_HEADING.indexOf(word);
  const line = lines.find((text) => text.includes(" normal ") && / 30 /.test(text))!;
  assert.equal(line.indexOf("normal"), column("kind"));
  assert.equal(line.indexOf(" 30 ") + 3, column("index") + "index".length);
  assert.equal(DUMP_HEADING.indexOf("offset") + "offset".length, FIRST.length + 10);
});

test("JSON: an object a line, with the place, every field and all bytes", async () => {
  const world = new World();
  const writer = await world.create();
  await writer.save(state(2, 1, 0x1234n), [entry(1, Uint8Array.of(255, 0), 2)]);
  await writer.saveSnapshot({ index: 1, term: 2, confState: { ...NO_CONF, voters: [0xabcn, 1n] } });
  await writer.close();
  const objects = (await dump(world, { json: true })).map((line) => JSON.parse(line) as Record<string, unknown>);
  assert.deepEqual(
    objects.map(({ kind }) => kind),
    ["crc", "metadata", "snapshot", "entry", "state", "snapshot"],
  );
  const [crc, metadata, , put, hardState, snapshot] = objects;
  assert.deepEqual(crc, { segment: FIRST, offset: 0, size: 16, kind: "crc", crc: 0 });
  assert.equal(metadata!["memberId"], "8e9e05c52164694d");
  assert.equal(metadata!["clusterId"], "cdf818d99f0c6fc1");
  assert.equal(put!["type"], "normal");
  assert.equal(put!["term"], 2);
  assert.equal(put!["index"], 1);
  assert.equal(put!["data"], "/wA=");
  assert.equal((put!["request"] as { undecodable: string }).undecodable, "/wA=");
  assert.deepEqual(
    { term: hardState!["term"], vote: hardState!["vote"], commit: hardState!["commit"] },
    { term: 2, vote: "1234", commit: 1 },
  );
  assert.deepEqual(snapshot!["voters"], ["abc", "1"]);
  for (let i = 1; i < objects.length; i++) {
    const before = objects[i - 1]! as { offset: number; size: number };
    assert.equal(objects[i]!["offset"], before.offset + before.size, "sizes lead from record to record");
  }
});

const NO_CONF = { voters: [], learners: [], votersOutgoing: [], learnersNext: [], autoLeave: false };

test("without bounds all of every segment is shown, oldest first", async () => {
  const world = await severalSegments();
  const shown = await shape(world);
  const indexes = shown.filter((line) => line.includes("entry")).map((line) => Number(line.split(" ")[2]));
  assert.deepEqual(
    indexes,
    Array.from({ length: 30 }, (_, i) => i + 1),
  );
  const segments = (await world.names()).filter((name) => name.endsWith(".wal")).length;
  assert.ok(segments >= 3, `${segments} segments`);
  assert.equal(shown.filter((line) => line.endsWith("crc")).length, segments);
});

test("bounds hold at their edges, within a segment, across segments, and outside the log", async () => {
  const world = await severalSegments();
  const indexes = async (options: DumpOptions): Promise<number[]> =>
    (await shape(world, options)).filter((line) => line.includes("entry")).map((line) => Number(line.split(" ")[2]));
  for (let from = 0; from <= 32; from++) {
    for (const to of [0, 1, from - 1, from, from + 1, 10, 11, 30, 31]) {
      if (to < 0) continue;
      const expected = Array.from({ length: 30 }, (_, i) => i + 1).filter((index) => index >= from && index <= to);
      assert.deepEqual(await indexes({ from, to }), expected, `--from ${from} --to ${to}`);
    }
  }
  assert.deepEqual(await indexes({ from: 29 }), [29, 30]);
  assert.deepEqual(await indexes({ to: 2 }), [1, 2]);
  assert.deepEqual(await shape(world, { from: 31 }), []);
});

test("what is no entry is shown where it stands between the entries in the bounds", async () => {
  const world = await severalSegments({ segmentBytes: 1024 * 1024 });
  assert.deepEqual(await shape(world, { from: 9, to: 11 }), ["0 entry 9", "0 entry 10", "0 state", "0 entry 11"]);
  const all = await shape(world, { to: 1 });
  assert.deepEqual(all, ["0 crc", "0 metadata", "0 snapshot 0", "0 entry 1"]);
});

test("an entry that was overwritten is shown each time it was written", async () => {
  const world = new World();
  new LogBuilder()
    .begin()
    .entry(...entries(1, 4))
    .state(state(1, 1))
    .entry(...entries(2, 4, 20, 2))
    .state(state(2, 3))
    .onto(world.disk);
  assert.deepEqual(
    (await shape(world, { from: 2, to: 2 })).filter((line) => line.includes("entry")),
    ["0 entry 2", "0 entry 2"],
  );
});

test("damage is a line of its own, and what can be read behind it is shown", async () => {
  const world = new World();
  const builder = new LogBuilder().begin().entry(...entries(1, 3));
  const damaged = builder.offset;
  builder
    .entry(entry(3, valueOf(3, 20)))
    .entry(...entries(4, 6))
    .state(state(1, 5))
    .onto(world.disk);
  const bytes = world.disk.readAll(`${FOLDER}/${FIRST}`);
  bytes[damaged + 20] = bytes[damaged + 20]! ^ 1;
  world.disk.writeAll(`${FOLDER}/${FIRST}`, bytes);
  const lines = await dump(world);
  const damage = lines.filter((line) => line.includes(" DAMAGE "));
  assert.equal(damage.length, 1);
  assert.match(damage[0]!, new RegExp(`^${FIRST} +${damaged} DAMAGE +corrupt, \\d+ bytes: the checksum is `));
  assert.deepEqual(
    (await shape(world)).filter((line) => /entry|damage/.test(line)),
    ["0 entry 1", "0 entry 2", "0 damage", "0 entry 4", "0 entry 5"],
  );
  const elsewhere = await shape(world, { from: 5, to: 5 });
  assert.ok(elsewhere.includes("0 damage"), "damage is told whatever the bounds");
});

test("a torn end is told apart from damage", async () => {
  const world = new World();
  new LogBuilder()
    .begin()
    .entry(...entries(1, 3))
    .raw(Uint8Array.of(64, 0, 0, 0, 0, 0, 0, 0x84, 8, 2, 16))
    .onto(world.disk, 0);
  const last = JSON.parse((await dump(world, { json: true })).at(-1)!) as Record<string, unknown>;
  assert.equal(last["kind"], "damage");
  assert.equal(last["verdict"], "torn");
});

test("a length field that was damaged in the middle is no torn end, for records follow it", async () => {
  for (const [byte, bit] of [
    [2, 0x80],
    [3, 1],
    [6, 1],
  ] as const) {
    const world = new World();
    const builder = new LogBuilder().begin().entry(...entries(1, 3));
    const damaged = builder.offset;
    builder
      .entry(...entries(3, 7))
      .state(state(1, 6))
      .onto(world.disk);
    const bytes = world.disk.readAll(`${FOLDER}/${FIRST}`);
    bytes[damaged + byte] = bytes[damaged + byte]! ^ bit;
    world.disk.writeAll(`${FOLDER}/${FIRST}`, bytes);
    const damage = (await dump(world)).filter((line) => line.includes(" DAMAGE "));
    assert.equal(damage.length, 1);
    assert.match(damage[0]!, / DAMAGE +corrupt, /, `byte ${byte} of the length field`);
  }
});

test("metadata that is none does not end the dump", async () => {
  const world = new World();
  new LogBuilder()
    .bareSegment()
    .record(RecordType.crc)
    .record(RecordType.metadata, Uint8Array.of(255))
    .snapshot(0, 0)
    .entry(entry(1))
    .onto(world.disk);
  const lines = await dump(world);
  assert.match(lines[1]!, /metadata +1 bytes that cannot be decoded \(WIRE_/);
  assert.match(lines.at(-1)!, / normal /);
  const json = JSON.parse((await dump(world, { json: true }))[1]!) as Record<string, unknown>;
  assert.equal(json["undecodable"], "/w==");
});

test("progress is told up to all bytes; where no log is, that is said", async () => {
  const world = await severalSegments();
  const seen: { bytesRead: number; bytesTotal: number }[] = [];
  await dump(world, { onProgress: (progress) => void seen.push(progress) });
  assert.ok(seen.length > 3);
  assert.deepEqual(seen.at(-1)!.bytesRead, seen.at(-1)!.bytesTotal);
  assert.ok(seen.every(({ bytesRead }, i) => i === 0 || bytesRead >= seen[i - 1]!.bytesRead));
  const empty = new World();
  await assert.rejects(dump(empty), (error) => error instanceof WalError && error.code === "WAL_NOT_FOUND");
});

test("a reader that stops early leaves no file open", async () => {
  const world = await severalSegments();
  for await (const line of dumpWal(world, FOLDER)) {
    if (line.includes(" normal ")) break;
  }
  world.assertAtRest();
  assert.ok(METADATA.length > 0);
});
