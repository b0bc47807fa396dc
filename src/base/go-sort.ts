/**
 * Sorting that leaves equal elements where Go's `sort.Sort` leaves them.
 *
 * etcd sorts the pairs of an answer with it, and it is not stable: from 13 elements on the order of pairs that compare as
 * equal is whatever Go's algorithm makes it. Clients see that order, and a limit cuts by it. So this is the same algorithm,
 * pattern-defeating quicksort as Go 1.24 has it (1.19 brought it, with another shift register), with the same choices:
 *
 * - up to 12 elements: insertion;
 * - else a pivot, the median of three, or of three medians from 50 elements on. No swap among the candidates hints that the
 *   span ascends, twelve that it descends, and then it is reversed first;
 * - a span that seems to ascend gets five repairs by insertion before it is partitioned;
 * - a span whose pivot is not greater than the element before it is split into what equals the pivot and what is greater;
 * - after a lopsided split three elements in the middle are swapped with chosen ones, and after too many of those: heap sort.
 *
 * Laws: the result is a permutation in order; the same input gives the same result.
 */

/** Elements up to which insertion is used. */
const INSERTION_MAX = 12;
/** Elements from which the pivot is a median of medians, and from which repairs are tried. */
const LONG_SPAN = 50;
/** Swaps among pivot candidates that mean "descending": four medians of three swaps. */
const SWAPS_DESCENDING = 12;
const REPAIRS_MAX = 5;
const TWO_64 = 1n << 64n;

/** Sorts in place and answers the array. `less` says whether the first comes before the second. */
export function goSort<Item>(items: Item[], less: (a: Item, b: Item) => boolean): Item[] {
  if (items.length > 1) new Sorter(items, less).sort(0, items.length, bitLength(items.length));
  return items;
}

interface Pivot {
  readonly at: number;
  readonly hint: "ascending" | "descending" | undefined;
}

class Sorter<Item> {
  readonly #items: Item[];
  readonly #less: (a: Item, b: Item) => boolean;

  constructor(items: Item[], less: (a: Item, b: Item) => boolean) {
    this.#items = items;
    this.#less = less;
  }

  /** @param lopsidedMax lopsided splits that are put up with before heap sort takes over */
  sort(from: number, to: number, lopsidedMax: number): void {
    let [low, high, patience] = [from, to, lopsidedMax];
    let balanced = true;
    let inOrder = true;
    while (high - low > INSERTION_MAX) {
      if (patience === 0) {
        this.#heapSort(low, high);
        return;
      }
      if (!balanced) {
        this.#breakPattern(low, high);
        patience--;
      }
      const pivot = this.#choosePivot(low, high);
      if (balanced && inOrder && pivot.hint !== undefined && this.#repair(low, high)) return;
      if (low > 0 && !this.#isLess(low - 1, pivot.at)) {
        low = this.#splitEqual(low, high, pivot.at);
        continue;
      }
      const split = this.#split(low, high, pivot.at);
      inOrder = split.inOrder;
      const [below, above] = [split.at - low, high - split.at];
      balanced = Math.min(below, above) >= Math.floor((high - low) / 8);
      if (below < above) {
        this.sort(low, split.at, patience);
        low = split.at + 1;
      } else {
        this.sort(split.at + 1, high, patience);
        high = split.at;
      }
    }
    this.#insertionSort(low, high);
  }

  #isLess(a: number, b: number): boolean {
    return this.#less(this.#items[a]!, this.#items[b]!);
  }

  #swap(a: number, b: number): void {
    const item = this.#items[a]!;
    this.#items[a] = this.#items[b]!;
    this.#items[b] = item;
  }

  /** Moves the element at `at` down while it is less than the one before it, not below `low`. */
  #sink(at: number, low: number): void {
    for (let i = at; i > low && this.#isLess(i, i - 1); i--) this.#swap(i, i - 1);
  }

  #insertionSort(low: number, high: number): void {
    for (let i = low + 1; i < high; i++) this.#sink(i, low);
  }

  #heapSort(low: number, high: number): void {
    const size = high - low;
    for (let root = Math.floor((size - 1) / 2); root >= 0; root--) this.#siftDown(low, root, size);
    for (let end = size - 1; end >= 0; end--) {
      this.#swap(low, low + end);
      this.#siftDown(low, 0, end);
    }
  }

  #siftDown(low: number, from: number, size: number): void {
    for (let root = from; ;) {
      let child = 2 * root + 1;
      if (child >= size) return;
      if (child + 1 < size && this.#isLess(low + child, low + child + 1)) child++;
      if (!this.#isLess(low + root, low + child)) return;
      this.#swap(low + root, low + child);
      root = child;
    }
  }

  /** Chooses, and reverses the span when it seems to descend. A hint is left only for a span that now seems to ascend. */
  #choosePivot(low: number, high: number): Pivot {
    const quarter = Math.floor((high - low) / 4);
    const swaps = { count: 0 };
    let candidates = [low + quarter, low + 2 * quarter, low + 3 * quarter];
    if (high - low >= LONG_SPAN) candidates = candidates.map((at) => this.#median([at - 1, at, at + 1], swaps));
    const at = this.#median(candidates, swaps);
    if (swaps.count === 0) return { at, hint: "ascending" };
    if (swaps.count < SWAPS_DESCENDING) return { at, hint: undefined };
    this.#reverse(low, high);
    return { at: high - 1 - (at - low), hint: "descending" };
  }

  /** Position of the middle one of three; counts how often two had to change places. */
  #median(positions: readonly number[], swaps: { count: number }): number {
    let [a, b, c] = positions as [number, number, number];
    if (this.#isLess(b, a)) {
      [a, b] = [b, a];
      swaps.count++;
    }
    if (this.#isLess(c, b)) {
      [b, c] = [c, b];
      swaps.count++;
    }
    if (this.#isLess(b, a)) {
      [a, b] = [b, a];
      swaps.count++;
    }
    return b;
  }

  #reverse(low: number, high: number): void {
    for (let [i, j] = [low, high - 1]; i < j; i++, j--) this.#swap(i, j);
  }

  /** Puts a few elements that stand wrong in a long span right; answers whether the span is in order then. */
  #repair(low: number, high: number): boolean {
    let at = low + 1;
    for (let repairs = 0; repairs < REPAIRS_MAX; repairs++) {
      while (at < high && !this.#isLess(at, at - 1)) at++;
      if (at === high) return true;
      if (high - low < LONG_SPAN) return false;
      this.#swap(at, at - 1);
      if (at - low >= 2) this.#sink(at - 1, 0); // not below the span's beginning: what lies before it is not greater
      if (high - at >= 2) this.#rise(at + 1, high);
    }
    return false;
  }

  /** Moves the element before `at` up while the one after it is less. */
  #rise(at: number, high: number): void {
    for (let i = at; i < high && this.#isLess(i, i - 1); i++) this.#swap(i, i - 1);
  }

  /** Less than the pivot goes below it, the rest above. `inOrder` says that nothing had to move. */
  #split(low: number, high: number, pivot: number): { readonly at: number; readonly inOrder: boolean } {
    this.#swap(low, pivot);
    let [i, j] = [low + 1, high - 1];
    for (let moved = false; ; moved = true) {
      while (i <= j && this.#isLess(i, low)) i++;
      while (i <= j && !this.#isLess(j, low)) j--;
      if (i > j) {
        this.#swap(j, low);
        return { at: j, inOrder: !moved };
      }
      this.#swap(i++, j--);
    }
  }

  /** For spans without an element below the pivot: those that equal it come first; answers where the greater ones begin. */
  #splitEqual(low: number, high: number, pivot: number): number {
    this.#swap(low, pivot);
    let [i, j] = [low + 1, high - 1];
    for (;;) {
      while (i <= j && !this.#isLess(low, i)) i++;
      while (i <= j && this.#isLess(low, j)) j--;
      if (i > j) return i;
      this.#swap(i++, j--);
    }
  }

  /** Swaps three elements in the middle with ones that a shift register, seeded with the length, chooses. */
  #breakPattern(low: number, high: number): void {
    const length = high - low;
    const modulus = 2 ** bitLength(length);
    let register = BigInt(length);
    const middle = low + Math.floor(length / 4) * 2;
    for (let at = middle - 1; at <= middle + 1; at++) {
      register ^= (register << 13n) % TWO_64;
      register ^= register >> 7n;
      register ^= (register << 17n) % TWO_64;
      const chosen = Number(register % BigInt(modulus));
      this.#swap(at, low + (chosen >= length ? chosen - length : chosen));
    }
  }
}

/** Binary digits of a positive integer below 2^32. */
function bitLength(value: number): number {
  return 32 - Math.clz32(value);
}
