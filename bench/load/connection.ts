/**
 * One connection of the load generator: gRPC's unary calls in raw frames of HTTP/2 over a socket.
 *
 * Laws:
 * - What arrives in one turn is read, and the requests that follow it are sent, with one write.
 * - A call went well only when its headers said 200, as many bytes came as were asked for, and its trailers said `grpc-status: 0`.
 * - The server's windows, frame size and number of streams are kept to; a request that must wait for a window counts from when it was
 *   due, not from when it was sent.
 *
 * Sizes are such that a window of ours never fills: a stream gets 1 GiB, which no answer reaches, and the connection's is filled up
 * again every 16 MiB.
 */
import { connect, type Socket } from "node:net";
import * as tls from "node:tls";
import {
  Flag,
  FRAME_BYTES_DEFAULT,
  FrameBuffer,
  FrameReader,
  FrameType,
  headersFragment,
  PREFACE,
  readSettings,
  readUint32,
  Setting,
  WINDOW_BYTES_DEFAULT,
} from "./frames.js";
import { HeaderReader, RequestHeaderWriter, TABLE_BYTES_DEFAULT, type HeaderField } from "./hpack.js";
import type { RequestMaker } from "./requests.js";

const WINDOW_BYTES = 2 ** 30;
const REFILL_BYTES = 2 ** 24;
const READ_BYTES = 256 * 1024;

/** Who says what is sent, and hears how it ended. Requests are named by their place among the makers. */
export interface Load {
  /** The next request of this connection; `undefined` when there is none any more. */
  next(): number | undefined;
  /** A call has ended. @param problem `undefined` where it went well */
  ended(request: number, startedAtMs: number, nowMs: number, problem: string | undefined): void;
  /** After what came in one turn was read. */
  turned(nowMs: number): void;
  /** The connection is of no use any more. */
  broke(error: Error): void;
}

/** What a header block says of its call. */
interface Verdict {
  readonly httpStatus: string | undefined;
  readonly problem: string | undefined;
  readonly hasStatus: boolean;
}

/** A block that came before, good as long as the table stays what it was. */
interface KnownBlock {
  readonly bytes: Uint8Array;
  readonly generation: number;
  readonly verdict: Verdict;
}
/** A server uses two: headers and trailers of calls that go well. Others are read anew each time. */
const KNOWN_BLOCKS_MAX = 8;

export class LoadConnection {
  readonly #load: Load;
  readonly #makers: readonly RequestMaker[];
  readonly #authority: string;
  readonly #fields: readonly HeaderField[];
  readonly #socket: Socket;
  readonly #reader: FrameReader;
  readonly #headerReader = new HeaderReader();
  readonly #ready: Promise<void>;
  #becameReady!: () => void;
  #headerWriter: RequestHeaderWriter | undefined;
  #started = false;

  /** Requests that may still be sent before an answer comes. */
  #room: number;
  /**
   * Streams under way, in a ring: a stream's place is its number modulo the size. A number whose place is still taken by an older
   * stream is passed over, as HTTP/2 allows, so there is no table to look in.
   */
  readonly #mask: number;
  readonly #startedAt: Float64Array;
  readonly #request: Uint8Array;
  /** 1 when the headers of the answer have come. */
  readonly #begun: Uint8Array;
  /** Of DATA, gRPC's prefix included. */
  readonly #answerBytes: Uint32Array;
  #nextStream = 1;

  #out = new FrameBuffer();
  readonly #idle: FrameBuffer[] = [];
  #known: KnownBlock[] = [];
  #fragments: Uint8Array[] = [];
  #fragmentsEndStream = false;

  #window = WINDOW_BYTES_DEFAULT;
  #streamWindow = WINDOW_BYTES_DEFAULT;
  #frameBytesMax = FRAME_BYTES_DEFAULT;
  /** What is left of requests that are larger than their stream's window, and what of it may be sent. */
  readonly #rests = new Map<number, { rest: Uint8Array; window: number }>();
  readonly #due: { readonly request: number; readonly startedAt: number }[] = [];
  #unfilled = 0;
  #now = 0;

  /**
   * @param address host and port
   * @param inFlight calls under way at a time
   * @param fields of every request besides
   * @param secure whether TLS is spoken; whatever certificate is shown will do
   */
  constructor(
    address: string,
    inFlight: number,
    makers: readonly RequestMaker[],
    load: Load,
    fields: readonly HeaderField[] = [],
    secure = false,
  ) {
    this.#fields = fields;
    this.#load = load;
    this.#makers = makers;
    this.#authority = address;
    this.#room = inFlight;
    const places = 2 ** Math.ceil(Math.log2(Math.max(1024, inFlight * 8)));
    this.#mask = places - 1;
    this.#startedAt = new Float64Array(places);
    this.#request = new Uint8Array(places);
    this.#begun = new Uint8Array(places);
    this.#answerBytes = new Uint32Array(places);
    this.#ready = new Promise((resolve) => (this.#becameReady = resolve));
    this.#reader = new FrameReader({
      onData: (flags, stream, length) => this.#onData(flags, stream, length),
      onFrame: (type, flags, stream, bytes, start, end) => this.#onFrame(type, flags, stream, bytes, start, end),
    });
    const [host, port] = address.split(":");
    const to = { host: host!, port: Number(port), noDelay: true };
    this.#socket = secure ? this.#connectSecurely(to) : this.#connect(to);
    this.#socket.on("error", (error) => load.broke(error));
    this.#socket.on("close", () => load.broke(new Error(`${address} closed the connection`)));
    this.#out.text(PREFACE);
    this.#out.settings({ [Setting.push]: 0, [Setting.windowBytes]: WINDOW_BYTES });
    this.#out.windowUpdate(0, WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
    this.#flush();
  }

  #connect(to: { readonly host: string; readonly port: number }): Socket {
    const buffer = new Uint8Array(READ_BYTES);
    const callback = (size: number, bytes: Uint8Array): boolean => {
      this.#onRead(bytes, size);
      return true;
    };
    return connect({ ...to, onread: { buffer, callback } });
  }

  #connectSecurely(to: { readonly host: string; readonly port: number }): Socket {
    const socket = tls.connect({ ...to, rejectUnauthorized: false, ALPNProtocols: ["h2"] });
    socket.on("data", (bytes: Buffer) => this.#onRead(bytes, bytes.length));
    return socket;
  }

  /** The server has told its settings. */
  async ready(): Promise<void> {
    return this.#ready;
  }

  /** Sends the first requests. */
  start(): void {
    this.#started = true;
    this.#now = performance.now();
    this.#fill();
    this.#flush();
  }

  close(): void {
    this.#socket.removeAllListeners("close");
    this.#socket.destroy();
  }

  #onRead(bytes: Uint8Array, size: number): void {
    this.#now = performance.now();
    try {
      this.#reader.push(bytes, size);
    } catch (error) {
      this.#load.broke(error as Error);
      return;
    }
    this.#load.turned(this.#now);
    if (this.#started) this.#fill();
    this.#refill();
    this.#flush();
  }

  #onFrame(type: number, flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void {
    switch (type) {
      case FrameType.headers: {
        const fragment = headersFragment(flags, bytes, start, end);
        this.#fragmentsEndStream = (flags & Flag.endStream) !== 0;
        this.#onFragment(flags, stream, bytes, fragment.start, fragment.end);
        return;
      }
      case FrameType.continuation:
        this.#onFragment(flags, stream, bytes, start, end);
        return;
      case FrameType.settings:
        if ((flags & Flag.ack) === 0) this.#onSettings(readSettings(bytes, start, end));
        return;
      case FrameType.ping:
        if ((flags & Flag.ack) === 0) this.#out.frame(FrameType.ping, Flag.ack, 0, bytes.subarray(start, end));
        return;
      case FrameType.windowUpdate:
        if (stream === 0) this.#window += readUint32(bytes, start);
        else this.#sendRest(stream, readUint32(bytes, start));
        return;
      case FrameType.reset:
        // One that was answered before may be reset: the server will hear no more of it.
        if (this.#startedAt[(stream >>> 1) & this.#mask] !== 0)
          this.#end(stream, `the stream was reset with error ${readUint32(bytes, start)}`);
        return;
      case FrameType.goAway: {
        const why = Buffer.from(bytes.subarray(start + 8, end)).toString("latin1");
        throw new Error(`the server sent GOAWAY with error ${readUint32(bytes, start + 4)}: ${why}`);
      }
      default: // frames of a kind that nobody knows are passed over (RFC 9113, 4.1)
    }
  }

  #onSettings(settings: ReadonlyMap<number, number>): void {
    this.#streamWindow = settings.get(Setting.windowBytes) ?? this.#streamWindow;
    this.#frameBytesMax = Math.min(FRAME_BYTES_DEFAULT, settings.get(Setting.frameBytesMax) ?? FRAME_BYTES_DEFAULT);
    this.#out.head(FrameType.settings, Flag.ack, 0, 0);
    if (this.#headerWriter !== undefined) return; // the server has thought again; the streams under way stay as they are
    const streams = settings.get(Setting.streamsMax) ?? Infinity;
    if (streams < this.#room)
      throw new Error(`the server allows ${streams} streams on a connection, ${this.#room} are wanted: use more`);
    const common: HeaderField[] = [
      { name: ":method", value: "POST" },
      { name: ":scheme", value: "http" },
      { name: ":authority", value: this.#authority },
      { name: "content-type", value: "application/grpc" },
      { name: "user-agent", value: "walnut-bench" },
      { name: "te", value: "trailers" },
      ...this.#fields,
    ];
    const paths = [...new Set(this.#makers.map(({ path }) => path))];
    const tableBytes = settings.get(Setting.headerTableBytes) ?? TABLE_BYTES_DEFAULT;
    this.#headerWriter = new RequestHeaderWriter(common, paths, tableBytes);
    // The first requests go when every connection is ready: `start` says when.
    this.#flush();
    this.#becameReady();
  }

  #onFragment(flags: number, stream: number, bytes: Uint8Array, start: number, end: number): void {
    if ((flags & Flag.endHeaders) === 0) {
      this.#fragments.push(bytes.slice(start, end));
      return;
    }
    if (this.#fragments.length === 0) {
      this.#onHeaders(stream, this.#judge(bytes, start, end));
      return;
    }
    const whole = Buffer.concat([...this.#fragments, bytes.subarray(start, end)]);
    this.#fragments = [];
    this.#onHeaders(stream, this.#judge(whole, 0, whole.length));
  }

  #onHeaders(stream: number, verdict: Verdict): void {
    const place = (stream >>> 1) & this.#mask;
    if (this.#begun[place] === 0 && verdict.httpStatus !== "200") {
      this.#end(stream, `HTTP status ${verdict.httpStatus ?? "is missing"}`);
      return;
    }
    this.#begun[place] = 1;
    if (!this.#fragmentsEndStream) return;
    if (!verdict.hasStatus) this.#end(stream, "the trailers have no grpc-status");
    else this.#end(stream, verdict.problem ?? this.#shortfall(place));
  }

  /** What is wrong with an answer that is too short. */
  #shortfall(place: number): string | undefined {
    const bytes = this.#answerBytes[place]!;
    const { path, answerBytesMin } = this.#makers[this.#request[place]!]!;
    return bytes < answerBytesMin ? `${path} was answered with ${bytes} bytes, not ${answerBytesMin}` : undefined;
  }

  #onData(flags: number, stream: number, length: number): void {
    this.#unfilled += length;
    this.#answerBytes[(stream >>> 1) & this.#mask]! += length;
    if ((flags & Flag.endStream) !== 0) this.#end(stream, "the call ended without trailers");
  }

  #end(stream: number, problem: string | undefined): void {
    const place = (stream >>> 1) & this.#mask;
    const startedAt = this.#startedAt[place]!;
    if (startedAt === 0) throw new Error(`the server answered on stream ${stream}, which is not under way`);
    this.#startedAt[place] = 0;
    this.#rests.delete(stream); // answered before all of it was there: a refusal
    this.#room++;
    this.#load.ended(this.#request[place]!, startedAt, this.#now, problem);
  }

  #judge(bytes: Uint8Array, start: number, end: number): Verdict {
    for (const known of this.#known) {
      if (known.generation === this.#headerReader.generation && same(known.bytes, bytes, start, end))
        return known.verdict;
    }
    const before = this.#headerReader.generation;
    const fields = this.#headerReader.read(bytes, start, end);
    const verdict = verdictOf(new Map(fields.map(({ name, value }) => [name, value])));
    const { generation } = this.#headerReader;
    if (generation === before) {
      this.#known = this.#known.filter((known) => known.generation === generation).slice(1 - KNOWN_BLOCKS_MAX);
      this.#known.push({ bytes: bytes.slice(start, end), generation, verdict });
    }
    return verdict;
  }

  #fill(): void {
    while (this.#due.length > 0 && this.#window >= this.#makers[this.#due[0]!.request]!.frame.length) {
      const { request, startedAt } = this.#due.shift()!;
      this.#send(request, startedAt);
    }
    while (this.#room > 0) {
      const request = this.#load.next();
      if (request === undefined) return;
      this.#room--;
      if (this.#due.length > 0 || this.#window < this.#makers[request]!.frame.length)
        this.#due.push({ request, startedAt: this.#now });
      else this.#send(request, this.#now);
    }
  }

  #send(request: number, startedAt: number): void {
    const maker = this.#makers[request]!;
    maker.next();
    while (this.#startedAt[(this.#nextStream >>> 1) & this.#mask] !== 0) this.#nextStream += 2;
    const stream = this.#nextStream;
    this.#nextStream += 2;
    const place = (stream >>> 1) & this.#mask;
    this.#startedAt[place] = startedAt;
    this.#request[place] = request;
    this.#begun[place] = 0;
    this.#answerBytes[place] = 0;
    this.#out.frame(FrameType.headers, Flag.endHeaders, stream, this.#headerWriter!.next(maker.path));
    const { frame } = maker;
    this.#window -= frame.length;
    if (frame.length <= this.#streamWindow) {
      this.#sendData(stream, frame, true);
      return;
    }
    // The maker writes its next request into the same bytes.
    this.#rests.set(stream, { rest: frame.slice(this.#streamWindow), window: 0 });
    this.#sendData(stream, frame.subarray(0, this.#streamWindow), false);
  }

  #sendData(stream: number, bytes: Uint8Array, isLast: boolean): void {
    let at = 0;
    for (; bytes.length - at > this.#frameBytesMax; at += this.#frameBytesMax)
      this.#out.frame(FrameType.data, 0, stream, bytes.subarray(at, at + this.#frameBytesMax));
    this.#out.frame(FrameType.data, isLast ? Flag.endStream : 0, stream, at === 0 ? bytes : bytes.subarray(at));
  }

  /** The server takes more of a stream. */
  #sendRest(stream: number, more: number): void {
    const waiting = this.#rests.get(stream);
    if (waiting === undefined) return;
    waiting.window += more;
    const { rest, window } = waiting;
    const isLast = rest.length <= window;
    if (isLast) this.#rests.delete(stream);
    else {
      waiting.rest = rest.subarray(window);
      waiting.window = 0;
    }
    this.#sendData(stream, rest.subarray(0, window), isLast);
  }

  #refill(): void {
    if (this.#unfilled < REFILL_BYTES) return;
    this.#out.windowUpdate(0, this.#unfilled);
    this.#unfilled = 0;
  }

  /** Gives the socket what was written; the bytes are its own until it has sent them. */
  #flush(): void {
    if (this.#out.size === 0) return;
    const sent = this.#out;
    this.#out = this.#idle.pop() ?? new FrameBuffer();
    this.#socket.write(sent.written, () => {
      sent.clear();
      this.#idle.push(sent);
    });
  }
}

function verdictOf(fields: ReadonlyMap<string, string>): Verdict {
  const status = fields.get("grpc-status");
  return {
    httpStatus: fields.get(":status"),
    hasStatus: status !== undefined,
    problem: status === undefined || status === "0" ? undefined : `status ${status}: ${fields.get("grpc-message")}`,
  };
}

function same(known: Uint8Array, bytes: Uint8Array, start: number, end: number): boolean {
  if (known.length !== end - start) return false;
  for (let i = 0; i < known.length; i++) if (known[i] !== bytes[start + i]) return false;
  return true;
}
