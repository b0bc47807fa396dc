/** A watch stream as a test has it: what is sent, and what has come, in its order. */
import type { ClientDuplexStream } from "@grpc/grpc-js";
import { AnswerStream } from "./answer-stream.js";
import { decode, encode, type Message } from "./messages.js";

/** A request of a watcher, by the definition's names. */
export type CreateRequest = Message;

export class WatchStream extends AnswerStream<Message> {
  /** The bytes of the largest answer. */
  bytesMax = 0;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;

  constructor(call: ClientDuplexStream<Buffer, Buffer>) {
    super(call, (bytes) => {
      this.bytesMax = Math.max(this.bytesMax, bytes.length);
      return decode("WatchResponse", bytes);
    });
    this.#call = call;
  }

  send(request: Message): void {
    this.sendBytes(encode("WatchRequest", request));
  }

  sendBytes(bytes: Uint8Array): void {
    this.#call.write(Buffer.from(bytes));
  }

  create(request: CreateRequest): void {
    this.send({ create_request: request });
  }

  cancel(watchId: number): void {
    this.send({ cancel_request: { watch_id: watchId } });
  }

  requestProgress(): void {
    this.send({ progress_request: {} });
  }

  /** Says that no more requests come. */
  endRequests(): void {
    this.#call.end();
  }

  /** Waits for so many events, over all watchers. */
  async events(count: number): Promise<void> {
    await this.until((answers) => countEvents(answers) >= count, `there were ${count} events`);
  }
}

export function eventsOf(answer: Message): readonly Message[] {
  return (answer["events"] ?? []) as readonly Message[];
}

export function countEvents(answers: readonly Message[]): number {
  return answers.reduce((sum, answer) => sum + eventsOf(answer).length, 0);
}
