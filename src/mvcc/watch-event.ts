/**
 * A change as watchers get it. One object for all who get it: what must be looked up or encoded is looked up and encoded once, when
 * the first one asks.
 */
import { encodeEvent } from "../proto/fast/watch-answers.js";

/** Looks up the pair that a key had before a revision, as `db` holds it; undefined when there was none, or it is compacted away. */
export type FindPrevious = (key: string, revision: number) => Uint8Array | undefined;

export class WatchEvent {
  readonly key: string;
  /** Main revision of the change. */
  readonly revision: number;
  readonly deleted: boolean;
  /** An encoded `KeyValue`; of a deletion it has the key and the revision only. */
  readonly pair: Uint8Array;
  /** Whether it is the put that made the key: there is no previous pair then, and none is looked for. */
  readonly isCreation: boolean;
  readonly #findPrevious: FindPrevious;
  #bare: Uint8Array | undefined;
  #withPrevious: Uint8Array | undefined;

  constructor(
    key: string,
    revision: number,
    deleted: boolean,
    pair: Uint8Array,
    isCreation: boolean,
    findPrevious: FindPrevious,
  ) {
    this.key = key;
    this.revision = revision;
    this.deleted = deleted;
    this.pair = pair;
    this.isCreation = isCreation;
    this.#findPrevious = findPrevious;
  }

  /** The `mvccpb.Event` that goes to a watcher, with the previous pair or without it. It must not be changed. */
  encoded(withPrevious: boolean): Uint8Array {
    if (!withPrevious || this.isCreation) return (this.#bare ??= encodeEvent(this.deleted, this.pair, undefined));
    return (this.#withPrevious ??= encodeEvent(this.deleted, this.pair, this.#findPrevious(this.key, this.revision)));
  }
}
