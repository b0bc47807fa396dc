/**
 * The bytes of one simulated file, in pages that copies share until one of them is written.
 *
 * A crash test makes thousands of states of the same few files that differ in a sector or two; a copy costs one array of
 * page references. A page that was never written, or only with zeros, is not stored at all.
 */
import { concatBytes, isAllZero } from "../src/base/bytes.js";

const PAGE_BYTES = 4096;

/** Stands in for all long runs of zeros: segments are filled with them, and a journal that kept each copy would be large. */
const ZEROS = new Uint8Array(1024 * 1024);

/** The chunks as one array that nobody else changes. */
export function joinedCopy(chunks: readonly Uint8Array[]): Uint8Array {
  let size = 0;
  for (const chunk of chunks) size += chunk.length;
  const zero = size >= PAGE_BYTES && size <= ZEROS.length && chunks.every((chunk) => isAllZero(chunk));
  return zero ? ZEROS.subarray(0, size) : concatBytes(chunks);
}

interface Page {
  /** Who may change the page in place: the token of the one `Content` that holds it. */
  readonly owner: object;
  readonly bytes: Uint8Array;
}

export class Content {
  #pages: (Page | undefined)[] = [];
  /** The page table may be another's, too: whoever writes copies it first. */
  #tableShared = false;
  #token = {};
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** An independent copy; costs nothing until one of the two is written. */
  clone(): Content {
    const copy = new Content();
    copy.#pages = this.#pages;
    copy.#size = this.#size;
    copy.#tableShared = true;
    this.#tableShared = true;
    return copy;
  }

  /** Fills `into` from `offset` on; answers the bytes read. */
  read(into: Uint8Array, offset: number): number {
    const count = Math.max(0, Math.min(into.length, this.#size - offset));
    for (let done = 0; done < count;) {
      const at = offset + done;
      const inPage = at % PAGE_BYTES;
      const span = Math.min(PAGE_BYTES - inPage, count - done);
      const page = this.#pages[(at - inPage) / PAGE_BYTES];
      if (page === undefined) into.fill(0, done, done + span);
      else into.set(page.bytes.subarray(inPage, inPage + span), done);
      done += span;
    }
    return count;
  }

  bytes(): Uint8Array {
    const whole = new Uint8Array(this.#size);
    this.read(whole, 0);
    return whole;
  }

  write(bytes: Uint8Array, offset: number): void {
    for (let done = 0; done < bytes.length;) {
      const at = offset + done;
      const inPage = at % PAGE_BYTES;
      const span = Math.min(PAGE_BYTES - inPage, bytes.length - done);
      const part = bytes.subarray(done, done + span);
      const index = (at - inPage) / PAGE_BYTES;
      const zero = bytes.buffer === ZEROS.buffer || (this.#pages[index] === undefined && isAllZero(part));
      if (zero && inPage === 0 && span === PAGE_BYTES) this.#dropPage(index);
      else if (this.#pages[index] !== undefined || !zero) this.#ownPage(index).set(part, inPage);
      done += span;
    }
    this.#size = Math.max(this.#size, offset + bytes.length);
  }

  /** Cuts, or extends with zeros. */
  truncate(size: number): void {
    if (size < this.#size) {
      const inPage = size % PAGE_BYTES;
      const last = (size - inPage) / PAGE_BYTES;
      if (this.#pages.length > last) {
        if (inPage > 0 && this.#pages[last] !== undefined) this.#ownPage(last).fill(0, inPage);
        this.#ownTable();
        this.#pages.length = inPage > 0 ? last + 1 : last;
      }
    }
    this.#size = size;
  }

  #ownTable(): void {
    if (!this.#tableShared) return;
    this.#pages = this.#pages.slice();
    this.#tableShared = false;
    this.#token = {}; // the pages themselves are shared from here on
  }

  /** The page is zeros now. */
  #dropPage(index: number): void {
    if (this.#pages[index] === undefined) return;
    this.#ownTable();
    this.#pages[index] = undefined;
  }

  #ownPage(index: number): Uint8Array {
    this.#ownTable();
    const page = this.#pages[index];
    if (page !== undefined && page.owner === this.#token) return page.bytes;
    const bytes = page === undefined ? new Uint8Array(PAGE_BYTES) : page.bytes.slice();
    // The table is kept dense: a sparse array would make every later access slow.
    while (this.#pages.length < index) this.#pages.push(undefined);
    this.#pages[index] = { owner: this.#token, bytes };
    return bytes;
  }
}
