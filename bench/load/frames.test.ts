/** Frames are the same however the bytes are cut into chunks. */
import assert from "node:assert/strict";
import test from "node:test";
import { chooseSeed, SeededRandom } from "../../test/support/random.js";
import {
  Flag,
  FrameBuffer,
  FrameReader,
  FrameType,
  headersFragment,
  readSettings,
  Setting,
  type FrameHandler,
} from "./frames.js";

class Recorder implements FrameHandler {
  readonly seen: string[] = [];

  onData(flags: number, stream: number, length: number): void {
    this.seen.push(`data ${flags} ${stream} ${length}`);
  }

  onFrame(type: number, flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void {
    this.seen.push(`${type} ${flags} ${stream} ${Buffer.from(bytes.subarray(start, end)).toString("hex")}`);
  }
}

function conversation(random: SeededRandom): { bytes: Uint8Array; expected: string[] } {
  const buffer = new FrameBuffer(16);
  const expected: string[] = [];
  for (let i = 0; i < 60; i++) {
    const stream = random.between(0, 2 ** 31);
    const payload = random.bytes(random.pick([0, 0, 1, 5, 30, 700]));
    const type = random.pick([FrameType.data, FrameType.headers, FrameType.ping, FrameType.continuation]);
    const flags = random.between(0, 256);
    buffer.frame(type, flags, stream, payload);
    const told = type === FrameType.data ? `data ${flags} ${stream} ${payload.length}` : `${type} ${flags} ${stream} `;
    expected.push(type === FrameType.data ? told : told + Buffer.from(payload).toString("hex"));
  }
  return { bytes: buffer.written, expected };
}

test("frames are read whole from chunks of any size", (t) => {
  const seed = chooseSeed(process.env["WALNUT_SEED"]);
  t.diagnostic(`seed ${seed}`);
  const random = new SeededRandom(seed);
  for (const chunkMax of [1, 2, 8, 9, 10, 100, 1_000, 100_000]) {
    const { bytes, expected } = conversation(random);
    const recorder = new Recorder();
    const reader = new FrameReader(recorder);
    // As a socket does it: the same buffer for every chunk, filled from its beginning.
    const chunk = new Uint8Array(chunkMax);
    for (let at = 0; at < bytes.length;) {
      const size = Math.min(random.between(1, chunkMax + 1), bytes.length - at);
      chunk.set(bytes.subarray(at, at + size));
      reader.push(chunk, size);
      at += size;
    }
    assert.deepEqual(recorder.seen, expected, `chunks of at most ${chunkMax} bytes`);
  }
});

test("settings and window updates are written as they are read", () => {
  const buffer = new FrameBuffer();
  buffer.settings({ [Setting.push]: 0, [Setting.windowBytes]: 2 ** 30 });
  buffer.windowUpdate(7, 0x01020304);
  const seen: unknown[] = [];
  const reader = new FrameReader({
    onData: () => {},
    onFrame: (type, _flags, stream, bytes, start, end) => {
      if (type === FrameType.settings) seen.push([...readSettings(bytes, start, end)]);
      else seen.push([stream, Buffer.from(bytes.subarray(start, end)).toString("hex")]);
    },
  });
  reader.push(buffer.written, buffer.size);
  assert.deepEqual(seen, [
    [
      [Setting.push, 0],
      [Setting.windowBytes, 2 ** 30],
    ],
    [7, "01020304"],
  ]);
});

test("padding and priority are no part of a header block", () => {
  const payload = Uint8Array.of(2, 0, 0, 0, 1, 200, 0x88, 0, 0);
  assert.deepEqual(headersFragment(Flag.padded | Flag.priority, payload, 0, payload.length), { start: 6, end: 7 });
  assert.deepEqual(headersFragment(0, payload, 0, payload.length), { start: 0, end: 9 });
  assert.throws(() => headersFragment(Flag.padded, Uint8Array.of(9, 0), 0, 2), /padded past its end/);
});
