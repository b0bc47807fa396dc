/** The codecs of the two streams and of a snapshot's head: what etcd wrote, every split, and what no member writes. */
import assert from "node:assert/strict";
import test from "node:test";
import fc from "fast-check";
import { concatBytes, equalBytes, WireError, WireWriter, writeUint64BE } from "../base/bytes.js";
import { type Entry, makeMessage, type Message, MessageType } from "../proto/raft.js";
import { AppendDecoder, AppendEncoder } from "./append-stream.js";
import { PeerError } from "./errors.js";
import {
  isLinkHeartbeat,
  LINK_HEARTBEAT,
  MessageDecoder,
  MessageEncoder,
  type StreamDecoder,
  type StreamEncoder,
} from "./message-stream.js";
import { encodeSnapshotHead, SnapshotHeadDecoder } from "./snapshot-head.js";
import { golden } from "./testing/golden.js";

const BYTES_MAX = 2 ** 20;
const LOCAL = 0xa1n;
const REMOTE = 0xb2n;

interface Codec {
  readonly name: string;
  encoder(): StreamEncoder;
  decoder(ids?: { readonly local: bigint; readonly remote: bigint }): StreamDecoder;
}

const messageCodec: Codec = {
  name: "messages",
  encoder: () => new MessageEncoder(),
  decoder: () => new MessageDecoder(BYTES_MAX),
};
const appendCodec: Codec = {
  name: "appends",
  encoder: () => new AppendEncoder(),
  decoder: (ids = { local: LOCAL, remote: REMOTE }) => new AppendDecoder(ids, BYTES_MAX),
};

function encodeAll(encoder: StreamEncoder, messages: readonly Message[]): Uint8Array {
  const writer = new WireWriter();
  for (const message of messages) encoder.encode(writer, message);
  return writer.finish();
}

function decodeAll(decoder: StreamDecoder, chunks: Iterable<Uint8Array>): Message[] {
  const messages: Message[] = [];
  for (const chunk of chunks) decoder.push(chunk, (message) => messages.push(message));
  return messages;
}

function* inPieces(bytes: Uint8Array, size: number): Generator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.slice(at, at + size);
}

// ---- what etcd wrote ----------------------------------------------------------------------------------------------

function goldenIds(): { local: bigint; remote: bigint } {
  // The first frame of the recorded stream is a whole message that names both.
  let ids: { local: bigint; remote: bigint } | undefined;
  new AppendDecoder({ local: 0n, remote: 0n }, BYTES_MAX).push(golden("append-3.5.30.stream"), ({ to, from }) => {
    ids ??= { local: to, remote: from };
  });
  assert.ok(ids !== undefined);
  return ids;
}

test("etcd's stream of messages is read at every split, and written again to the byte", () => {
  const bytes = golden("message-3.5.30.stream");
  const whole = decodeAll(messageCodec.decoder(), [bytes]);
  assert.deepEqual(encodeAll(messageCodec.encoder(), whole), bytes);
  const types = new Set(whole.map(({ type }) => type));
  for (const type of [MessageType.preVote, MessageType.vote, MessageType.heartbeat])
    assert.ok(types.has(type), `${type}`);
  assert.ok(whole.some(isLinkHeartbeat));
  for (let at = 0; at <= bytes.length; at++) {
    const again = decodeAll(messageCodec.decoder(), [bytes.slice(0, at), bytes.slice(at)]);
    assert.ok(equalBytes(encodeAll(messageCodec.encoder(), again), bytes), `split at ${at}`);
  }
  assert.deepEqual(decodeAll(messageCodec.decoder(), inPieces(bytes, 1)), whole);
});

test("etcd's stream of appends is read at every split, and written again to the byte", () => {
  const bytes = golden("append-3.5.30.stream");
  const ids = goldenIds();
  const whole = decodeAll(appendCodec.decoder(ids), [bytes]);
  assert.deepEqual(encodeAll(appendCodec.encoder(), whole), bytes);
  const appends = whole.filter((message) => !isLinkHeartbeat(message));
  assert.ok(appends.length < whole.length);
  for (const { type, from, to } of appends)
    assert.deepEqual([type, from, to], [MessageType.append, ids.remote, ids.local]);
  const indexes = appends.flatMap(({ entries }) => entries.map(({ index }) => index));
  assert.equal(Math.max(...indexes), new Set(indexes).size, "every index from 1 on, none is missing");
  assert.ok(appends.some(({ entries }) => entries.some(({ data }) => data.length > 2000)));
  for (let at = 0; at <= bytes.length; at++) {
    assert.deepEqual(
      decodeAll(appendCodec.decoder(ids), [bytes.slice(0, at), bytes.slice(at)]),
      whole,
      `split at ${at}`,
    );
  }
  assert.deepEqual(decodeAll(appendCodec.decoder(ids), inPieces(bytes, 1)), whole);
});

test("etcd's snapshot is read at every split, and written again to the byte", () => {
  const head = golden("snapshot-head-3.5.30.bin");
  const database = Uint8Array.of(1, 2, 3, 4);
  const body = concatBytes([head, database]);
  const read = (chunks: Iterable<Uint8Array>): { message: Message; database: Uint8Array } => {
    const decoder = new SnapshotHeadDecoder(BYTES_MAX);
    let message: Message | undefined;
    const rest: Uint8Array[] = [];
    for (const chunk of chunks) {
      if (message !== undefined) {
        rest.push(chunk);
        continue;
      }
      const result = decoder.push(chunk);
      if (result === undefined) continue;
      message = result.message;
      rest.push(result.rest);
    }
    assert.ok(message !== undefined);
    return { message, database: concatBytes(rest) };
  };
  const whole = read([body]);
  assert.equal(whole.message.type, MessageType.snapshot);
  assert.ok(whole.message.snapshot!.metadata.index > 0);
  assert.deepEqual(encodeSnapshotHead(whole.message), head);
  for (let at = 0; at <= body.length; at++) {
    const { message, database: found } = read([body.slice(0, at), body.slice(at)]);
    assert.deepEqual(found, database, `split at ${at}`);
    if (at % 97 === 0) assert.deepEqual(message, whole.message, `split at ${at}`);
  }
  assert.deepEqual(read(inPieces(body, 1)), whole);
});

// ---- any messages -------------------------------------------------------------------------------------------------

const number = fc.oneof(fc.nat({ max: 300 }), fc.maxSafeNat());
const id = fc.bigInt({ min: 1n, max: 2n ** 64n - 1n });
const data = fc.uint8Array({ maxLength: 40 });
const anyEntry: fc.Arbitrary<Entry> = fc.record(
  {
    type: fc.constantFrom(0 as const, 1 as const, 2 as const),
    term: number,
    index: number,
    data,
  },
  { noNullPrototype: true },
);

const anyMessage: fc.Arbitrary<Message> = fc
  .record({
    type: fc.constantFrom(...Object.values(MessageType)),
    to: id,
    from: id,
    term: number,
    logTerm: number,
    index: number,
    commit: number,
    entries: fc.array(anyEntry, { maxLength: 4 }),
    reject: fc.boolean(),
    rejectHint: number,
    context: data,
  })
  .map((fields) => makeMessage(fields));

/** Appends as a leader sends them: mostly each goes on where the last one ended, now and then one does not. */
const anyAppends: fc.Arbitrary<Message[]> = fc
  .array(fc.record({ sizes: fc.array(data, { maxLength: 4 }), jump: fc.nat({ max: 9 }), heartbeat: fc.boolean() }), {
    maxLength: 12,
  })
  .map((steps) => {
    let term = 1;
    let index = 0;
    return steps.map(({ sizes, jump, heartbeat }) => {
      if (heartbeat) return LINK_HEARTBEAT;
      if (jump === 0) term++;
      if (jump === 1) index += 5;
      const logTerm = jump === 2 ? term - 1 : term;
      const entries = sizes.map((bytes, at): Entry => ({ type: 0, term, index: index + at + 1, data: bytes }));
      const message = makeMessage({
        type: MessageType.append,
        to: LOCAL,
        from: REMOTE,
        term,
        logTerm,
        index,
        entries,
        commit: index,
      });
      index += entries.length;
      return message;
    });
  });

for (const [codec, messages] of [
  [messageCodec, fc.array(anyMessage, { maxLength: 6 })],
  [appendCodec, anyAppends],
] as const) {
  test(`any ${codec.name} come out of their stream as they went in, however it is cut`, () => {
    fc.assert(
      fc.property(messages, fc.array(fc.nat({ max: 60 }), { minLength: 1, maxLength: 20 }), (list, cuts) => {
        const bytes = encodeAll(codec.encoder(), list);
        const chunks: Uint8Array[] = [];
        for (let at = 0, turn = 0; at < bytes.length; turn++) {
          const size = 1 + cuts[turn % cuts.length]!;
          chunks.push(bytes.slice(at, at + size));
          at += size;
        }
        assert.deepEqual(decodeAll(codec.decoder(), chunks), list);
      }),
    );
  });

  test(`garbage in a stream of ${codec.name} is refused with a code, or waits for more`, () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat({ max: 3 }), (bytes, kind) => {
        const garbage = codec === appendCodec ? concatBytes([Uint8Array.of(kind), bytes]) : bytes;
        try {
          decodeAll(codec.decoder(), inPieces(garbage, 7));
        } catch (error) {
          assert.ok(error instanceof PeerError || error instanceof WireError, String(error));
        }
      }),
    );
  });
}

test("bytes of an entry that came in one piece are not copied", () => {
  const entry: Entry = { type: 0, term: 2, index: 6, data: new Uint8Array(100).fill(7) };
  const append = makeMessage({
    type: MessageType.append,
    to: LOCAL,
    from: REMOTE,
    term: 2,
    logTerm: 2,
    index: 5,
    entries: [entry],
  });
  const chunk = encodeAll(appendCodec.encoder(), [append]);
  const [decoded] = decodeAll(appendCodec.decoder(), [chunk]);
  assert.equal(decoded!.entries[0]!.data.buffer, chunk.buffer);
});

// ---- what no member writes ----------------------------------------------------------------------------------------

const lengthField = (value: number): Uint8Array => {
  const bytes = new Uint8Array(8);
  writeUint64BE(bytes, 0, value);
  return bytes;
};
const refusal = (code: string) => (error: unknown) => (error as { code?: string }).code === code;

test("a length over the limit is refused before a byte of it came", () => {
  const announced = lengthField(512 * 2 ** 20);
  const all = new Uint8Array(8).fill(0xff);
  for (const field of [announced, all]) {
    const expected = field === all ? "WIRE_OUT_OF_RANGE" : "PEER_TOO_LARGE";
    assert.throws(() => decodeAll(messageCodec.decoder(), [field]), refusal(expected));
    assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(2), field]), refusal(expected));
    assert.throws(() => new SnapshotHeadDecoder(BYTES_MAX).push(field), refusal(expected));
    assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(1), lengthField(1), field]), refusal(expected));
    assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(1), field]), refusal(expected));
  }
});

test("entries that are too large together are refused", () => {
  const size = 300_000;
  const entry = (index: number): Uint8Array => {
    const writer = new WireWriter();
    writer.uintField(1, 0).uintField(2, 0).uintField(3, index).bytesField(4, new Uint8Array(size));
    return concatBytes([lengthField(writer.length), writer.view()]);
  };
  const frame = [Uint8Array.of(1), lengthField(5), entry(1), entry(2), entry(3), entry(4), entry(5)];
  assert.throws(() => decodeAll(appendCodec.decoder(), frame), refusal("PEER_TOO_LARGE"));
});

test("a message of very many empty entries is refused before objects are made of them", () => {
  const empty = Uint8Array.of(0x3a, 0);
  const bytes = concatBytes([Uint8Array.of(0x08, MessageType.append), ...Array<Uint8Array>(200_000).fill(empty)]);
  const frame = [lengthField(bytes.length), bytes];
  assert.throws(() => decodeAll(messageCodec.decoder(), frame), refusal("PEER_TOO_LARGE"));
  assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(2), ...frame]), refusal("PEER_TOO_LARGE"));
});

test("an unknown frame, an entry out of line, and another message in a stream of appends are refused", () => {
  assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(3)]), refusal("PEER_MALFORMED"));
  const entry = new WireWriter().uintField(1, 0).uintField(2, 0).uintField(3, 7).finish();
  const frame = [Uint8Array.of(1), lengthField(1), lengthField(entry.length), entry];
  assert.throws(() => decodeAll(appendCodec.decoder(), frame), refusal("PEER_MALFORMED"));
  const vote = encodeAll(messageCodec.encoder(), [makeMessage({ type: MessageType.vote, from: 1n, to: 2n })]);
  assert.throws(() => decodeAll(appendCodec.decoder(), [Uint8Array.of(2), vote]), refusal("PEER_MALFORMED"));
});

test("a term of 2^64-1 is refused", () => {
  const bytes = Uint8Array.of(0x08, MessageType.heartbeat, 0x20, ...new Uint8Array(9).fill(0xff), 1);
  assert.throws(
    () => decodeAll(messageCodec.decoder(), [lengthField(bytes.length), bytes]),
    refusal("WIRE_OUT_OF_RANGE"),
  );
});
