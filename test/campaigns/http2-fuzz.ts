/**
 * Random bytes and frames into the state of an HTTP/2 connection, without a socket.
 *
 *   nice -n 10 node dist/test/campaigns/http2-fuzz.js [--seconds 60] [--seed S] [--inputs N]
 *
 * Each input is a connection: frames of all types with random flags, streams and payloads, some of them right, some cut, doubled, swapped or with
 * flipped bits; fields with HPACK's own corners; answers by a handler that draws what it does. What is checked:
 *
 * - nothing throws, whatever comes;
 * - the same bytes in other pieces give the same events and the same bytes back;
 * - what comes back is HTTP/2 that an independent reader reads, keeps to the windows that were given, and ends each stream once;
 * - queues, output and the client's table stay within their limits, and are empty at the end.
 */
import assert from "node:assert/strict";
import { parseArgs } from "node:util";
import {
  type FieldBlock,
  Flag,
  FrameType,
  HTTP2_LIMITS,
  Http2Connection,
  type Http2Listener,
  type Http2Stream,
  OutgoingFields,
  PREFACE,
} from "../../src/http2/index.js";
import {
  AnswerReader,
  data,
  frame,
  HEAD,
  headers,
  joined,
  literalBlock,
  REQUEST,
  settings,
  settingsAck,
  TRAILERS,
  windowUpdate,
} from "../../src/http2/testing/peer.js";
import { SeededRandom } from "../support/random.js";

const NONE = new Uint8Array(0);
const BODY = new Uint8Array(50_000).fill(0x2e);

/** Blocks of fields with corners: indexes, sizes, Huffman's code, numbers that go on. */
function block(random: SeededRandom): Uint8Array {
  const parts: Uint8Array[] = random.between(0, 3) > 0 ? [literalBlock(...REQUEST)] : [];
  for (let count = random.between(0, 6); count > 0; count--) {
    switch (random.between(0, 7)) {
      case 0:
        parts.push(Uint8Array.of(0x80 | random.between(0, 128)));
        break;
      case 1:
        parts.push(
          joined(
            Uint8Array.of(0x40),
            literalBlock([`x${random.between(0, 50)}`, "v".repeat(random.between(0, 200))]).subarray(1),
          ),
        );
        break;
      case 2:
        parts.push(Uint8Array.of(0x20 | random.between(0, 32)));
        break;
      case 3:
        parts.push(
          Uint8Array.of(
            0x40 | random.between(0, 64),
            0x80 | random.between(0, 20),
            ...bytes(random, random.between(0, 20)),
          ),
        );
        break;
      case 4:
        parts.push(
          literalBlock([
            ["grpc-timeout", "te", "content-length", "connection", "X"][random.between(0, 5)]!,
            String(random.between(0, 100)),
          ]),
        );
        break;
      case 5:
        parts.push(bytes(random, random.between(0, 12)));
        break;
      default:
        parts.push(Uint8Array.of(0x7f, ...bytes(random, 5).map((byte) => byte | 0x80)));
    }
  }
  return joined(...parts);
}

const bytes = (random: SeededRandom, length: number): Uint8Array =>
  Uint8Array.from({ length }, () => random.between(0, 256));

function randomFrame(random: SeededRandom): Uint8Array {
  const id = random.between(0, 12) * 2 + (random.between(0, 12) === 0 ? 0 : 1);
  switch (random.between(0, 12)) {
    case 0:
      return frame(
        random.between(0, 12),
        random.between(0, 256),
        random.between(0, 40),
        bytes(random, random.between(0, 60)),
      );
    case 1:
    case 2:
      return headers(id, REQUEST, random.between(0, 2) === 0 ? Flag.endHeaders : Flag.endHeaders | Flag.endStream);
    case 3:
      return frame(FrameType.headers, random.pick([5, 4, 0, 1, 0x2d, 0x0d]), id, block(random));
    case 4:
      return frame(FrameType.continuation, random.between(0, 2) * 4, id, block(random));
    case 5:
    case 6:
      return data(id, bytes(random, random.between(0, 200)), random.pick([0, 1, 8, 9]));
    case 7:
      return data(id, new Uint8Array(random.between(0, 16_385)), random.between(0, 2));
    case 8:
      return windowUpdate(
        random.between(0, 2) * id,
        random.between(0, 8) === 0 ? random.between(0, 2 ** 31) : random.between(0, 60_000),
      );
    case 9:
      return settings([
        1 + random.between(0, 7),
        random.between(0, 4) === 0 ? random.between(0, 2 ** 31) : random.between(0, 70_000),
      ]);
    case 10:
      return frame(FrameType.rstStream, 0, id, bytes(random, 4));
    default:
      return frame(FrameType.ping, random.between(0, 2), 0, bytes(random, 8));
  }
}

/** Spoils bytes now and then: a flipped bit, a piece left out or doubled. */
function spoil(random: SeededRandom, input: Uint8Array): Uint8Array {
  if (input.length === 0 || !random.oneIn(4)) return input;
  const at = random.between(0, input.length);
  switch (random.between(0, 3)) {
    case 0: {
      const flipped = input.slice();
      flipped[at]! ^= 1 << random.between(0, 8);
      return flipped;
    }
    case 1:
      return joined(input.subarray(0, at), input.subarray(Math.min(input.length, at + 1 + random.between(0, 9))));
    default:
      return joined(input.subarray(0, at), input.subarray(Math.max(0, at - random.between(0, 30))));
  }
}

/** A frame that an honest client could send, with streams in their order: such connections live long. */
function gentleFrame(random: SeededRandom, next: { id: number }): Uint8Array {
  const open = Math.max(1, next.id - 2 * random.between(1, 6));
  switch (random.between(0, 6)) {
    case 0:
    case 1: {
      const id = next.id;
      next.id += 2;
      return headers(id, REQUEST, random.oneIn(2) ? Flag.endHeaders : Flag.endHeaders | Flag.endStream);
    }
    case 2:
    case 3:
      return next.id === 1 ? NONE : data(open, bytes(random, random.between(0, 100)), random.between(0, 2));
    case 4:
      return windowUpdate(random.oneIn(2) || next.id === 1 ? 0 : open, random.between(1, 50_000));
    default:
      return random.oneIn(3)
        ? settings([4, random.between(0, 70_000)], [1, random.between(0, 5_000)])
        : frame(FrameType.ping, 0, 0, bytes(random, 8));
  }
}

function makeInput(random: SeededRandom): Uint8Array {
  const next = { id: 1 };
  const gentle = random.between(0, 3); // of three
  const frames = Array.from({ length: random.between(0, 40) }, () =>
    random.between(0, 30) < gentle * 15 ? gentleFrame(random, next) : randomFrame(random),
  );
  const greeting = joined(PREFACE, settings(), random.between(0, 2) === 0 ? settingsAck : NONE);
  return joined(greeting, spoil(random, joined(...frames)));
}

/** A handler that draws what it does, and a reader of what comes back. */
class Run implements Http2Listener<undefined> {
  readonly connection: Http2Connection<undefined>;
  readonly events: string[] = [];
  readonly #random: SeededRandom;
  readonly #reader = new AnswerReader();
  readonly #ended = new Set<number>();
  readonly #open = new Set<number>();
  readonly answers: string[] = [];

  constructor(random: SeededRandom) {
    this.#random = random;
    this.connection = new Http2Connection({ ...HTTP2_LIMITS, outputMarkBytes: 20_000 }, this, 0);
  }

  onRequest(stream: Http2Stream<undefined>, fields: FieldBlock, ended: boolean): void {
    this.events.push(`request ${stream.id} ${fields.names.length} ${ended}`);
    assert.equal(this.#open.has(stream.id), false);
    this.#open.add(stream.id);
    if (ended) this.#act(stream);
  }
  /** Where DATA is cut does not depend on how the input is cut, for frames are read whole. */
  onData(stream: Http2Stream<undefined>, _bytes: Uint8Array, start: number, end: number, ended: boolean): void {
    this.events.push(`data ${stream.id} ${end - start} ${ended}`);
    if (this.#random.between(0, 3) === 0) this.connection.allow(stream, end - start);
    if (ended || this.#random.between(0, 4) === 0) this.#act(stream);
  }
  onTrailers(stream: Http2Stream<undefined>, fields: FieldBlock): void {
    this.events.push(`trailers ${stream.id} ${fields.names.length}`);
    this.#act(stream);
  }
  onReset(stream: Http2Stream<undefined>): void {
    this.events.push(`reset ${stream.id}`);
    assert.ok(stream.closed);
    assert.equal(this.#ended.has(-stream.id), false, "told once");
    this.#ended.add(-stream.id);
  }
  onDrain(stream: Http2Stream<undefined>): void {
    this.events.push(`drain ${stream.id}`);
    this.#act(stream);
  }
  onPing(): void {
    this.events.push("ping");
  }
  onPong(payload: Uint8Array): void {
    this.events.push(`pong ${payload.join()}`);
  }

  #act(stream: Http2Stream<undefined>): void {
    const random = this.#random;
    const body = BODY.subarray(0, random.between(0, 3) === 0 ? random.between(0, BODY.length) : random.between(0, 100));
    switch (random.between(0, 7)) {
      case 0:
      case 1:
        return this.connection.answer(stream, HEAD, Uint8Array.of(1, 2, 3, 4, 5), body, TRAILERS);
      case 2:
        return this.connection.respond(stream, HEAD);
      case 3:
        return void this.connection.send(stream, NONE, body);
      case 4:
        return this.connection.finish(
          stream,
          OutgoingFields.of({
            name: "grpc-message",
            value: "m".repeat(random.between(0, 300)),
            reused: random.between(0, 2) === 0,
          }),
        );
      case 5:
        return this.connection.reset(stream, 8);
      default:
    }
  }

  /** Takes what there is to write, as the I/O half does, and reads it. */
  take(): void {
    this.connection.pump();
    const output = this.connection.takeOutput().slice();
    for (const answer of this.#reader.read(output)) {
      this.answers.push(
        JSON.stringify(answer, (_key, value: unknown) =>
          value instanceof Uint8Array ? `${value.length} ${value[0] ?? ""}` : value,
        ),
      );
      if (!("streamId" in answer) || answer.kind === "window") continue;
      assert.equal(
        this.#ended.has(answer.streamId) && answer.kind !== "reset",
        false,
        `a frame after the end of ${answer.streamId}`,
      );
      if (answer.kind === "reset" || answer.ended) this.#ended.add(answer.streamId);
    }
  }

  check(): void {
    const { connection } = this;
    assert.ok(connection.tableBytes <= HTTP2_LIMITS.headerTableBytes);
    assert.ok(connection.outputBytes <= HTTP2_LIMITS.outputBytesMax + 100_000);
    assert.ok(connection.streamCount <= HTTP2_LIMITS.streamsMax);
    let queued = 0;
    for (const stream of connection.streams()) {
      queued += stream.queuedBytes;
      assert.equal(stream.closed, false);
      assert.ok(stream.sendWindow <= 0x7fff_ffff);
    }
    assert.equal(connection.queuedBytes, queued);
  }
}

/** Feeds pieces; output is taken at the end only, so that it does not depend on the pieces. */
function feed(seed: number, input: Uint8Array, cuts: SeededRandom | undefined): Run {
  const run = new Run(new SeededRandom(seed));
  for (let at = 0; at < input.length;) {
    const end =
      cuts === undefined
        ? input.length
        : Math.min(input.length, at + 1 + cuts.between(0, cuts.between(0, 4) === 0 ? 2_000 : 20));
    run.connection.receive(input.slice(at, end), 0);
    at = end;
  }
  run.check();
  for (let turn = 0; turn < 200 && (turn === 0 || run.connection.outputBytes > 0); turn++) run.take();
  run.check();
  run.connection.close();
  assert.equal(run.connection.streamCount, 0);
  assert.equal(run.connection.queuedBytes, 0);
  return run;
}

function main(): void {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "60" },
      seed: { type: "string", default: String(Math.trunc(performance.timeOrigin) % 1_000_000_000) },
      inputs: { type: "string", default: "Infinity" },
    },
  });
  const seed = Number(values.seed);
  const most = Number(values.inputs);
  const end = performance.now() + Number(values.seconds) * 1000;
  let inputs = 0;
  let fed = 0;
  let faults = 0;
  for (; inputs < most && performance.now() < end; inputs++) {
    const own = seed + inputs;
    try {
      const random = new SeededRandom(own);
      const input = makeInput(random);
      const whole = feed(own, input, undefined);
      const cut = feed(own, input, random);
      assert.deepEqual(cut.events, whole.events);
      assert.deepEqual(cut.answers, whole.answers);
      assert.equal(cut.connection.fault?.text, whole.connection.fault?.text);
      fed += input.length * 2;
      if (whole.connection.fault?.code !== 0) faults++;
    } catch (error) {
      console.error(`seed ${own}: repeat with --seed ${own} --inputs 1`);
      throw error;
    }
  }
  console.log(
    `${inputs} connections, ${fed} bytes, seed ${seed}: ${faults} ended by a fault, nothing threw, all was the same in pieces`,
  );
}

main();
