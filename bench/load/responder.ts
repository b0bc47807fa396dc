/**
 * A server that does nothing: reads frames of HTTP/2 and answers every request with the same three frames. What a generator gets out
 * of it is the generator's ceiling on this machine.
 *
 * As a process (`fork`) it sends its port to the process that made it, and ends when that lets it go.
 */
import { createServer, type AddressInfo, type Socket } from "node:net";
import { encode } from "../../test/support/messages.js";
import { Flag, FrameBuffer, FrameReader, FrameType, Setting, WINDOW_BYTES_DEFAULT } from "./frames.js";
import { writeLiteral } from "./hpack.js";

const WINDOW_BYTES = 2 ** 30;
const REFILL_BYTES = 2 ** 24;
const STREAMS_MAX = 10_000;
const PREFACE_BYTES = 24;

const headers = Uint8Array.from([
  ...writeLiteral({ name: ":status", value: "200" }),
  ...writeLiteral({ name: "content-type", value: "application/grpc" }),
]);
const trailers = Uint8Array.from(writeLiteral({ name: "grpc-status", value: "0" }));
/** As large as an answer to a put. */
const message = frameOf(
  encode("PutResponse", {
    header: { cluster_id: 2n ** 63n, member_id: 2n ** 63n, revision: 1_000_000, raft_term: 2 },
  }),
);

function frameOf(bytes: Uint8Array): Uint8Array {
  const frame = new Uint8Array(5 + bytes.length);
  new DataView(frame.buffer).setUint32(1, bytes.length);
  frame.set(bytes, 5);
  return frame;
}

function serve(socket: Socket): void {
  socket.setNoDelay(true);
  socket.on("error", () => socket.destroy()); // a client that goes away is no concern of ours
  let out = new FrameBuffer();
  const idle: FrameBuffer[] = [];
  let preface = PREFACE_BYTES;
  let unfilled = 0;
  out.settings({ [Setting.streamsMax]: STREAMS_MAX, [Setting.windowBytes]: WINDOW_BYTES });
  out.windowUpdate(0, WINDOW_BYTES - WINDOW_BYTES_DEFAULT);
  const answer = (stream: number): void => {
    out.frame(FrameType.headers, Flag.endHeaders, stream, headers);
    out.frame(FrameType.data, 0, stream, message);
    out.frame(FrameType.headers, Flag.endHeaders | Flag.endStream, stream, trailers);
  };
  const frames = new FrameReader({
    onData: (flags, stream, length) => {
      unfilled += length;
      if ((flags & Flag.endStream) !== 0) answer(stream);
    },
    onFrame: (type, flags, stream, bytes, start, end) => {
      if (type === FrameType.headers && (flags & Flag.endStream) !== 0) answer(stream);
      if ((flags & Flag.ack) !== 0) return;
      if (type === FrameType.settings) out.head(FrameType.settings, Flag.ack, 0, 0);
      if (type === FrameType.ping) out.frame(FrameType.ping, Flag.ack, 0, bytes.subarray(start, end));
    },
  });
  socket.on("data", (chunk: Buffer) => {
    const skipped = Math.min(preface, chunk.length);
    preface -= skipped;
    frames.push(chunk.subarray(skipped), chunk.length - skipped);
    if (unfilled >= REFILL_BYTES) {
      out.windowUpdate(0, unfilled);
      unfilled = 0;
    }
    if (out.size === 0) return;
    const sent = out;
    out = idle.pop() ?? new FrameBuffer();
    socket.write(sent.written, () => {
      sent.clear();
      idle.push(sent);
    });
  });
}

const server = createServer(serve);
server.listen(0, "127.0.0.1", () => process.send!((server.address() as AddressInfo).port));
process.on("disconnect", () => process.exit());
