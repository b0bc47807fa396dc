/** A watch stream as a test has it: what is sent, and what has come, in its order. */
import type { ClientDuplexStream, ServiceError } from "@grpc/grpc-js";
import { decode, encode, type Message } from "./messages.js";

/** How long an answer is waited for before a test fails. */
const ANSWER_WITHIN_MS = 30_000;

/** A request of a watcher, by the definition's names. */
export type CreateRequest = Message;

export class WatchStream {
  /** Answers so far. */
  readonly answers: Message[] = [];
  /** The bytes of the largest. */
  bytesMax = 0;
  readonly #call: ClientDuplexStream<Buffer, Buffer>;
  #ended: string | undefined;
  #changed: () => void = () => undefined;

  constructor(call: ClientDuplexStream<Buffer, Buffer>) {
    this.#call = call;
    call.on("data", (bytes: Buffer) => {
      this.bytesMax = Math.max(this.bytesMax, bytes.length);
      this.answers.push(decode("WatchResponse", bytes));
      this.#changed();
    });
    call.on("error", ({ code, details }: ServiceError) => {
      this.#ended ??= `${code} ${details}`;
      this.#changed();
    });
    call.on("end", () => {
      this.#ended ??= "0 ";
      this.#changed();
    });
  }

  /** gRPC's code and text of the end; undefined while the stream lives. */
  get ended(): string | undefined {
    return this.#ended;
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

  /** Stops reading, and reads again: what the server sends meanwhile waits on its side. */
  pause(): void {
    this.#call.pause();
  }
  resume(): void {
    this.#call.resume();
  }

  /** Waits until it holds of what has come. */
  async until(holds: (answers: readonly Message[]) => boolean, what: string): Promise<void> {
    const deadline = Date.now() + ANSWER_WITHIN_MS;
    while (!holds(this.answers)) {
      if (this.#ended !== undefined) throw new Error(`the stream ended (${this.#ended}) before ${what}`);
      await this.#change(deadline, what);
    }
  }

  /** Waits for so many answers. */
  async count(answers: number): Promise<void> {
    await this.until(({ length }) => length >= answers, `there were ${answers} answers`);
  }

  /** Waits for so many events, over all watchers. */
  async events(count: number): Promise<void> {
    await this.until((answers) => countEvents(answers) >= count, `there were ${count} events`);
  }

  /** Waits for the end. */
  async end(): Promise<string> {
    const deadline = Date.now() + ANSWER_WITHIN_MS;
    while (this.#ended === undefined) await this.#change(deadline, "the end");
    return this.#ended;
  }

  close(): void {
    this.#call.cancel();
  }

  #change(deadline: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`no answer in time: ${this.answers.length} answers came, and not ${what}`)),
        deadline - Date.now(),
      );
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

export function eventsOf(answer: Message): readonly Message[] {
  return (answer["events"] ?? []) as readonly Message[];
}

export function countEvents(answers: readonly Message[]): number {
  return answers.reduce((sum, answer) => sum + eventsOf(answer).length, 0);
}
