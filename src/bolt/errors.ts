/** What can go wrong with a bolt file, by name. Damage names the file, the page and the byte where it was found. */
import { CodedError } from "../base/errors.js";

/**
 * Damage: `BOLT_INVALID_META` neither meta page is one, `BOLT_VERSION` another format version, `BOLT_CHECKSUM` a meta page
 * whose checksum does not fit, `BOLT_TRUNCATED` the file is shorter than its meta page says, `BOLT_PAGE_TYPE` a page of the
 * wrong kind, `BOLT_PAGE_ID` a page that names another page, `BOLT_PAGE_BOUNDS` something points outside of where it may,
 * `BOLT_PAGE_ORDER` keys out of order, `BOLT_PAGE_SHARED` a page in use twice or listed as free, `BOLT_PAGE_LOST` a page that
 * is neither in use nor free, `BOLT_FREE_LIST` a free list that cannot be.
 *
 * The caller asked wrongly: `BOLT_READ_ONLY`, `BOLT_KEY_EMPTY`, `BOLT_KEY_TOO_LARGE`, `BOLT_VALUE_TOO_LARGE`,
 * `BOLT_BUCKET_NOT_FOUND`, `BOLT_BUCKET_EXISTS`, `BOLT_INCOMPATIBLE_VALUE` a bucket where a value is wanted or the reverse,
 * `BOLT_WRITE_OPEN` a second write transaction, `BOLT_OUT_OF_RANGE` a number that the format or a `number` cannot hold.
 *
 * The world: `BOLT_LOCKED` another process has the file, `BOLT_POISONED` a write or sync failed, nothing is written any more,
 * `BOLT_CLOSED` the database or transaction has ended.
 */
export type BoltErrorCode =
  | "BOLT_INVALID_META"
  | "BOLT_VERSION"
  | "BOLT_CHECKSUM"
  | "BOLT_TRUNCATED"
  | "BOLT_PAGE_TYPE"
  | "BOLT_PAGE_ID"
  | "BOLT_PAGE_BOUNDS"
  | "BOLT_PAGE_ORDER"
  | "BOLT_PAGE_SHARED"
  | "BOLT_PAGE_LOST"
  | "BOLT_FREE_LIST"
  | "BOLT_READ_ONLY"
  | "BOLT_KEY_EMPTY"
  | "BOLT_KEY_TOO_LARGE"
  | "BOLT_VALUE_TOO_LARGE"
  | "BOLT_BUCKET_NOT_FOUND"
  | "BOLT_BUCKET_EXISTS"
  | "BOLT_INCOMPATIBLE_VALUE"
  | "BOLT_WRITE_OPEN"
  | "BOLT_OUT_OF_RANGE"
  | "BOLT_LOCKED"
  | "BOLT_POISONED"
  | "BOLT_CLOSED";

/** Where in a bolt file. `offset` counts bytes from the beginning of the file. */
export interface BoltPlace {
  readonly path: string;
  readonly page?: number;
  readonly offset?: number;
}

export class BoltError extends CodedError<BoltErrorCode> {
  override readonly name = "BoltError";
  readonly path: string;
  readonly page: number | undefined;
  readonly offset: number | undefined;

  constructor(code: BoltErrorCode, place: BoltPlace, detail: string, options?: ErrorOptions) {
    super(code, `${describePlace(place)}: ${detail}`, options);
    this.path = place.path;
    this.page = place.page;
    this.offset = place.offset;
  }
}

/** `db page 12 (byte 49152)`: the same words in errors, check and dumps. */
export function describePlace(place: BoltPlace): string {
  const page = place.page === undefined ? "" : ` page ${place.page}`;
  const offset = place.offset === undefined ? "" : ` (byte ${place.offset})`;
  return `${place.path}${page}${offset}`;
}
