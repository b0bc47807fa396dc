/**
 * In which page of a tree the keys of one bucket were found last time: a table that forgets, so that a key that is asked for again is found
 * without a way down the tree.
 *
 * A hint names a page object by its id and serial, and an index in it. It helps when that very object is still the one in memory under the id and
 * has the key there; anything else is no hint. Whoever asks numbers the keys; of those that share a slot the last one has it: nothing grows
 * beyond the table, and nothing needs to be taken out.
 *
 * The price is that an answer may come from a leaf of an earlier state, which stays in memory as long as somebody may read that state. So
 * it is for keys whose value never changes while they are there, and that nobody asks for who does not know that they are.
 *
 * A search through a tree of 100,000 keys touches some twelve places that no cache of the processor holds, and a hint five; waiting for memory is
 * most of what a get costs. `npm run bench -- --scenarios get-serializable-100` shows it.
 */

/** Keys that have a hint at most; a power of two. */
const SLOTS_MAX = 1 << 18;
const SLOTS_MIN = 1 << 10;
/** Page id, serial, index, and one that is free: a slot lies in one line of the processor's cache. */
const SLOT_WORDS = 4;
const PAGE = 0;
const SERIAL = 1;
const INDEX = 2;

export class PlaceHints {
  /** Page 0 is none that is asked for: a hint that was never noted is of no page. */
  #slots = new Int32Array(SLOTS_MIN * SLOT_WORDS);

  /** The page in which the key of this number was found last; 0 for none. */
  pageOf(number: number): number {
    return this.#slots[this.#slotOf(number) + PAGE]!;
  }

  /** Whether it was in the page object with this serial. */
  isOf(number: number, serial: number): boolean {
    return this.#slots[this.#slotOf(number) + SERIAL] === (serial | 0);
  }

  /** At which index. */
  indexOf(number: number): number {
    return this.#slots[this.#slotOf(number) + INDEX]!;
  }

  /** Notes where the key of this number was found. */
  note(number: number, page: number, serial: number, index: number): void {
    if (number >= this.#slots.length / SLOT_WORDS && this.#slots.length < SLOTS_MAX * SLOT_WORDS) this.#grow(number);
    const at = this.#slotOf(number);
    this.#slots[at + PAGE] = page;
    this.#slots[at + SERIAL] = serial;
    this.#slots[at + INDEX] = index;
  }

  #slotOf(number: number): number {
    return (number & (this.#slots.length / SLOT_WORDS - 1)) * SLOT_WORDS;
  }

  /** To the least size that has a slot for the number; what was noted is forgotten, for its numbers have other slots now. */
  #grow(number: number): void {
    let slots = this.#slots.length / SLOT_WORDS;
    while (slots <= number && slots < SLOTS_MAX) slots *= 2;
    this.#slots = new Int32Array(slots * SLOT_WORDS);
  }
}
