/**
 * Compressed messages of one connection, one at a time, in the order in which they came.
 *
 * One at a time bounds what a connection can make this side hold (a few compressed bytes become a message of the largest size), and
 * keeps the messages of a call in order. The work is done by the pool's threads.
 */
import { gunzip, gzip } from "node:zlib";
import { GrpcError, GrpcStatus } from "./status.js";

type Task = (done: () => void) => void;

export class GzipLane {
  readonly #tasks: Task[] = [];
  #busy = false;

  /** Calls back with the message, or with what to answer: a message over the limit, or bytes that are not gzip's. */
  decompress(bytes: Uint8Array, bytesMax: number, then: (message: Uint8Array | GrpcError) => void): void {
    this.#run((done) => {
      gunzip(bytes, { maxOutputLength: bytesMax }, (error, message) => {
        then(error === null ? message : refusal(error, bytes, bytesMax));
        done();
      });
    });
  }

  compress(message: Uint8Array, then: (bytes: Uint8Array) => void): void {
    this.#run((done) => {
      gzip(message, (error, bytes) => {
        // Only memory can fail it; the process is beyond help then.
        if (error !== null) throw error;
        then(bytes);
        done();
      });
    });
  }

  /** Runs when all that was given before is done. */
  after(run: () => void): void {
    this.#run((done) => {
      run();
      done();
    });
  }

  /** Forgets what has not begun: the connection is gone. */
  clear(): void {
    this.#tasks.length = 0;
  }

  #run(task: Task): void {
    this.#tasks.push(task);
    if (!this.#busy) this.#next();
  }

  #next(): void {
    const task = this.#tasks.shift();
    this.#busy = task !== undefined;
    task?.(() => this.#next());
  }
}

/** In grpc-go's words: those of a header that is none, and those of what follows it. */
function refusal(error: Error & { code?: string }, bytes: Uint8Array, bytesMax: number): GrpcError {
  if (error.code === "ERR_BUFFER_TOO_LARGE") {
    const text = `grpc: received message after decompression larger than max ${bytesMax}`;
    return new GrpcError(GrpcStatus.resourceExhausted, text);
  }
  const why = headerFlaw(bytes);
  const text =
    why === undefined ? `read decompressed data: ${dataFlaw(error.message)}` : `decompress the message: ${why}`;
  return new GrpcError(GrpcStatus.internal, `grpc: failed to ${text}`);
}

/** The ten bytes that gzip begins with (RFC 1952). */
const HEADER_BYTES = 10;

function headerFlaw(bytes: Uint8Array): string | undefined {
  if (bytes.length === 0) return "EOF";
  if (bytes.length < HEADER_BYTES) return "unexpected EOF";
  return bytes[0] === 0x1f && bytes[1] === 0x8b && bytes[2] === 8 ? undefined : "gzip: invalid header";
}

/** From zlib's words; where Go tells an offset, none is known here. */
function dataFlaw(message: string): string {
  if (message === "unexpected end of file") return "unexpected EOF";
  return /^incorrect (?:data|length) check$/.test(message) ? "gzip: invalid checksum" : "flate: corrupt input";
}
