/**
 * One watch, kept up while servers come and go: when its stream is lost it is asked for anew where it was, at whichever endpoint answers.
 *
 * Laws: events come in order, none is left out, none comes twice; an end that the server gave is the end. What the server sends in
 * fragments comes as one answer, for a stream may be lost in their midst, and they are sent again then.
 */
import type { ClientDuplexStream } from "@grpc/grpc-js";
import type { WatchCreateRequest, WatchRequest, WatchResponse } from "../proto/index.js";
import { isPassing } from "./errors.js";

export type WatchCall = ClientDuplexStream<WatchRequest, WatchResponse>;

/** Between two attempts to open the stream. */
const RETRY_MS = 100;

export class Watch {
  readonly #request: WatchCreateRequest;
  readonly #open: () => Promise<WatchCall>;
  readonly #asError: (error: unknown) => Error;
  #call: WatchCall | undefined;
  /** Where to go on; 0 before the server has told where it stands. */
  #next: number;
  #closed = false;

  /** @param open opens a stream at an endpoint that answers */
  constructor(request: WatchCreateRequest, open: () => Promise<WatchCall>, asError: (error: unknown) => Error) {
    this.#request = request;
    this.#open = open;
    this.#asError = asError;
    this.#next = request.startRevision;
  }

  /**
   * What the server answers, but for the word that the watcher was created. The last one is the server's that it cancelled it; there is
   * none after `close`.
   *
   * @throws RpcError when the stream ends with an error that trying again does not mend
   */
  async *answers(): AsyncGenerator<WatchResponse> {
    while (!this.#closed) {
      try {
        let fragments: WatchResponse["events"] = [];
        for await (const message of await this.#begin()) {
          const answer = message as WatchResponse;
          const { created, canceled, fragment } = answer;
          fragments = fragments.concat(answer.events);
          if (fragment) continue;
          answer.events = fragments;
          fragments = [];
          this.#note(answer);
          if (!created || canceled) yield answer;
          if (canceled) return;
        }
      } catch (thrown) {
        const error = this.#asError(thrown);
        if (this.#closed) return;
        if (!isPassing(error)) throw error;
      } finally {
        this.#call?.cancel();
        this.#call = undefined;
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Asks for the revision up to which everything was told; it comes among the answers, when there is one. */
  requestProgress(): void {
    this.#call?.write({ requestUnion: { $case: "progressRequest", value: {} } });
  }

  close(): void {
    this.#closed = true;
    this.#call?.cancel();
  }

  async #begin(): Promise<WatchCall> {
    const call = await this.#open();
    call.on("error", () => undefined); // it is told to who reads
    this.#call = call;
    if (this.#closed) call.cancel();
    const value = { ...this.#request, startRevision: this.#next };
    call.write({ requestUnion: { $case: "createRequest", value } });
    return call;
  }

  #note({ header, created, canceled, events }: WatchResponse): void {
    const revision = header?.revision ?? 0;
    const last = events.at(-1)?.kv?.modRevision;
    if (canceled) return;
    if (last !== undefined) this.#next = last + 1;
    else if (!created || this.#next === 0) this.#next = Math.max(this.#next, revision + 1);
  }
}
