/** A client of bytes, over a real socket: sends frames as they are and keeps what comes back. */
import assert from "node:assert/strict";
import { once } from "node:events";
import net from "node:net";
import { Flag, FrameType, PREFACE } from "../../http2/frames.js";
import { type Answer, AnswerReader, frame, settings, settingsAck } from "../../http2/testing/peer.js";

/** A test that waits longer waits for nothing. */
const PATIENCE_MS = 20_000;

export class RawClient {
  readonly #socket: net.Socket;
  readonly #reader = new AnswerReader();
  readonly answers: Answer[] = [];
  answersFarewells = true;
  #closed = false;
  #waiting: (() => void)[] = [];

  private constructor(socket: net.Socket) {
    this.#socket = socket;
    socket.on("error", () => undefined);
    socket.on("data", (chunk: Uint8Array) => {
      for (const answer of this.#reader.read(chunk)) {
        this.answers.push(answer);
        // A farewell's ping is answered, so that a server that stops need not wait; others are the test's.
        if (this.answersFarewells && answer.kind === "ping" && !answer.ack && answer.payload[7] === 2) {
          this.send(frame(FrameType.ping, Flag.ack, 0, answer.payload));
        }
      }
      this.#wake();
    });
    socket.on("close", () => {
      this.#closed = true;
      this.#wake();
    });
  }

  /** `greet`: preface and SETTINGS go first. */
  static async connect(t: { after(run: () => void): void }, port: number, greet = true): Promise<RawClient> {
    const socket = net.connect(port, "127.0.0.1");
    t.after(() => void socket.destroy());
    await once(socket, "connect");
    const client = new RawClient(socket);
    if (greet) {
      client.send(PREFACE, settings(), settingsAck);
      await client.until(() => client.answers.some(({ kind }) => kind === "settingsAck"));
    }
    return client;
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(...parts: readonly Uint8Array[]): this {
    if (!this.#closed) this.#socket.write(Buffer.concat(parts));
    return this;
  }

  /** Reads nothing from now on. */
  pause(): void {
    this.#socket.pause();
  }
  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#socket.destroy();
  }

  /** Waits until something holds, asked whenever something has come. */
  async until(holds: () => boolean): Promise<void> {
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#wake();
    }, PATIENCE_MS);
    while (!holds()) {
      const seen = (): string => JSON.stringify(this.answers.map(({ kind }) => kind));
      assert.equal(late, false, `it did not come; what came: ${seen()}`);
      assert.equal(this.#closed, false, `the connection ended before it came; what came: ${seen()}`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    clearTimeout(timer);
  }

  /** Waits for the end of the connection; the GOAWAY before it, where there was one. */
  async end(): Promise<Extract<Answer, { kind: "goaway" }> | undefined> {
    while (!this.#closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return this.answers.find((answer) => answer.kind === "goaway");
  }

  /** The status of a call, when it has come. */
  async status(streamId: number): Promise<string> {
    const find = (): string | undefined =>
      this.answers
        .map((answer) =>
          answer.kind === "headers" && answer.streamId === streamId ? answer.fields["grpc-status"] : undefined,
        )
        .find((status) => status !== undefined);
    await this.until(() => find() !== undefined);
    return find()!;
  }

  /** The same with the text beside it. */
  async outcome(streamId: number): Promise<[status: string, text: string | undefined]> {
    const status = await this.status(streamId);
    const text = this.answers
      .map((answer) => (answer.kind === "headers" && answer.streamId === streamId ? answer.fields : {}))
      .find((fields) => fields["grpc-status"] !== undefined)?.["grpc-message"];
    return [status, text];
  }
}
