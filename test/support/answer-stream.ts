/** What a server sends in answer to one call, as a test has it: all that came, in its order, and the end. */
import type { ClientReadableStream, ServiceError } from "@grpc/grpc-js";

/** How long an answer is waited for before a test fails. */
const ANSWER_WITHIN_MS = 30_000;

export class AnswerStream<Answer> {
  /** Answers so far. */
  readonly answers: Answer[] = [];
  readonly #call: ClientReadableStream<Buffer>;
  #ended: string | undefined;
  #changed: () => void = () => undefined;

  constructor(call: ClientReadableStream<Buffer>, decode: (bytes: Buffer) => Answer) {
    this.#call = call;
    call.on("data", (bytes: Buffer) => {
      this.answers.push(decode(bytes));
      this.#changed();
    });
    call.on("error", ({ code, details }: ServiceError) => this.#end(`${code} ${details}`));
    call.on("end", () => this.#end("0 "));
  }

  #end(how: string): void {
    this.#ended ??= how;
    this.#changed();
  }

  /** gRPC's code and text of the end; undefined while the stream lives. */
  get ended(): string | undefined {
    return this.#ended;
  }

  /** Stops reading, and reads again: what the server sends meanwhile waits on its side. */
  pause(): void {
    this.#call.pause();
  }
  resume(): void {
    this.#call.resume();
  }

  /** Waits until it holds of what has come. @throws where the stream ends before, or it does not hold in time */
  async until(holds: (answers: readonly Answer[]) => boolean, what: string): Promise<void> {
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
