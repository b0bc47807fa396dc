/** The messages that a server sends in answer to one request, as a test has them: all that came, in its order, and the end. */
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";

/** How long a message is waited for before a test fails. */
const WITHIN_MS = 30_000;

export class MessageReader {
  readonly messages: Uint8Array[] = [];
  readonly #call: ClientReadableStream<Buffer>;
  #ended: string | undefined;
  #changed: () => void = () => undefined;

  constructor(call: ClientReadableStream<Buffer>) {
    this.#call = call;
    call.on("data", (bytes: Buffer) => {
      this.messages.push(bytes);
      this.#changed();
    });
    call.on("error", ({ code, details }: ServiceError) => this.#end(`${code} ${details}`));
    call.on("end", () => this.#end("0"));
  }

  #end(how: string): void {
    this.#ended ??= how;
    this.#changed();
  }

  /** Waits for so many messages. @throws where the stream ends before, or they do not come */
  async count(messages: number): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    while (this.messages.length < messages) {
      if (this.#ended !== undefined) throw new Error(`the stream ended (${this.#ended}) before message ${messages}`);
      await this.#change(deadline, `message ${messages}`);
    }
  }

  /** Waits for gRPC's code and text of the end. */
  async end(): Promise<string> {
    const deadline = Date.now() + WITHIN_MS;
    while (this.#ended === undefined) await this.#change(deadline, "the end");
    return this.#ended;
  }

  close(): void {
    this.#call.cancel();
  }

  #change(deadline: number, what: string): Promise<void> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(
        () => reject(new Error(`${what} did not come in time: ${this.messages.length} messages came`)),
        deadline - Date.now(),
      );
      this.#changed = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
