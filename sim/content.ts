/**
 * The bytes of one simulated file, in pages that copies share until one of them is written.
 *
 * A crash test makes thousands of states of the same few files that differ in a sector or two; a copy costs one array of
 * page references. A page that was never written, or only with zeros, is not stored at all.
 */
import { isAllZero } from "../src/base/bytes.js";

const PAGE_BYTES = 4096;

interface Page {
  /** Who may change the page in place: the token of the one `Content` that holds it. */
  readonly owner: object;
  readonly bytes: Uint8Array;
}

export class Content {
  #pages: (Page | undefined)[];
  #token = {};
  #size: number;

  constructor() {
    this.#pages = [];
    this.#size = 0;
  }

  get size(): number {
    return this.#size;
  }

  /** An independent copy, at the price of its page table. */
  clone(): Content {
    const copy = new Content();
    copy.#pages = this.#pages.slice();
    copy.#size = this.#size;
    this.#token = {}; // the pages now belong to nobody: whoever writes copies first
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
      if (this.#pages[index] !== undefined || !isAllZero(part)) this.#ownPage(index).set(part, inPage);
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
        this.#pages.length = inPage > 0 ? last + 1 : last;
      }
    }
    this.#size = size;
  }

  #ownPage(index: number): Uint8Array {
    const page = this.#pages[index];
    if (page !== undefined && page.owner === this.#token) return page.bytes;
    const bytes = page === undefined ? new Uint8Array(PAGE_BYTES) : page.bytes.slice();
    // The table is kept dense: a sparse array would make every later access slow.
    while (this.#pages.length < index) this.#pages.push(undefined);
    this.#pages[index] = { owner: this.#token, bytes };
    return bytes;
  }
}
