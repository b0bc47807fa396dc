/**
 * What happens to a span of keys, asked for piece by piece: a watch of the member for one who reads. Nothing is asked twice and no timer
 * runs: who waits is woken by the change, by the end of the member, or by its caller's going.
 */
import { OBSERVED_PIECES_MAX } from "../base/limits.js";
import type { KeySpan, Watcher, WatchEvent } from "../mvcc/index.js";
import type { AbortSignalLike, CallContext } from "../server/contract.js";
import { RequestError } from "../server/errors.js";
import type { WatchNotice, WatchStream, WatchStreamReceiver } from "../server/watch-contract.js";
import { ConcurrencyError } from "./errors.js";
import type { Requests } from "./requests.js";

export interface ChangesOptions {
  readonly span: KeySpan;
  /** The first revision whose changes are wanted. */
  readonly startRevision: number;
  readonly only: "deletions" | "puts" | "all";
  /** Whether it ends where no leader has been known for a while. */
  readonly requiresLeader?: boolean;
}

export type Piece =
  | { readonly kind: "changes"; readonly events: readonly WatchEvent[]; readonly revision: number } //
  /** What was between is compacted away: what there is now must be read, and watched from there. */
  | { readonly kind: "compacted" };

export class Changes implements WatchStreamReceiver {
  readonly #pieces: Piece[] = [];
  readonly #stream: WatchStream;
  readonly #signal: AbortSignalLike | undefined;
  /** Why no more comes, once it is known. */
  #end: { readonly error: unknown } | undefined;
  /** It was said that no more is taken. */
  #refused = false;
  #wake: () => void = () => undefined;

  constructor(requests: Requests, options: ChangesOptions, context: CallContext) {
    const { span, startRevision, only, requiresLeader = false } = options;
    this.#signal = context.signal;
    if (this.#signal?.aborted === true) this.#onAbort();
    else this.#signal?.addEventListener("abort", this.#onAbort, { once: true });
    this.#stream = requests.watch(this, { requiresLeader }, context);
    this.#stream.create({
      span,
      startRevision,
      withoutPuts: only === "deletions",
      withoutDeletes: only === "puts",
      withPrevious: false,
      inFragments: false,
      reportsProgress: false,
      watchId: 0,
    });
  }

  /** @throws ConcurrencyError where the caller may not watch, RequestError where the member or the caller ends the wait */
  async next(): Promise<Piece> {
    for (;;) {
      const piece = this.#pieces.shift();
      if (piece !== undefined) {
        this.#takeMore();
        return piece;
      }
      if (this.#end !== undefined) throw this.#end.error;
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  close(): void {
    this.#signal?.removeEventListener("abort", this.#onAbort);
    this.#stream.close();
  }

  #takeMore(): void {
    if (!this.#refused || this.#pieces.length > 0) return;
    this.#refused = false;
    this.#stream.resume();
  }

  readonly #onAbort = (): void => this.onEnd(new RequestError("SERVER_CANCELED", "the caller has gone"));

  // ---- what the member tells --------------------------------------------------------------------------------------

  get isReady(): boolean {
    this.#refused = this.#pieces.length >= OBSERVED_PIECES_MAX;
    return !this.#refused;
  }

  onEvents(_watcher: Watcher, events: readonly WatchEvent[], revision: number): void {
    this.#pieces.push({ kind: "changes", events, revision });
    this.#wake();
  }

  onNotice({ canceled, compactRevision, refusal }: WatchNotice): void {
    if (!canceled) return;
    if (compactRevision !== 0) this.#pieces.push({ kind: "compacted" });
    else
      this.#end ??= { error: new ConcurrencyError("WATCH_REFUSED", "the keys may not be watched", { cause: refusal }) };
    this.#wake();
  }

  onEnd(error: unknown): void {
    this.#end ??= { error };
    this.#wake();
  }
}
