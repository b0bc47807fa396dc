/**
 * A branch or leaf that a write transaction changes: the contents of a page as arrays.
 *
 * Life of a node: made from a page (its *origin*, whose pages are freed at the commit) or new; changed; split and merged;
 * given its place by the commit; frozen from then on. A frozen node stands in the cache for the page that it will be: a branch until it is
 * encoded, a leaf until the next commit is durable. Later transactions copy it before they change anything.
 *
 * Laws: `size` is the bytes that the node takes when encoded, always. Keys ascend strictly. A branch has a key for each child,
 * which is at most the child's first key and greater than all keys of the child before; the commit makes it equal to the first
 * key of every child that is a node.
 */
import { compareBytes, equalBytes, writeUint32LE } from "../base/bytes.js";
import { invariant } from "../base/errors.js";
import {
  BUCKET_FLAG,
  ELEMENT_BYTES,
  PAGE_HEADER_BYTES,
  PageKind,
  SEAL_BYTES,
  writePageHeader,
  writeWide,
} from "./format.js";
import { nextSerial, type TreePage } from "./page.js";

/**
 * Pages that a leaf takes at most when its elements are large, more than a quarter of a page on average. One page to each would leave
 * much of its last page empty: two pages for a value of 4 KiB, of which four fill five.
 */
const LARGE_LEAF_PAGES = 5;

/** Stands for the arrays that a node of its kind does not use. There may be thousands of nodes. */
const NONE: never[] = [];

export class Node implements TreePage {
  readonly leaf: boolean;
  readonly serial = nextSerial();
  provenUnder = 0;
  recent = true;
  pinned = false;

  readonly keys: Uint8Array[];
  /** Leaf: the value of each key. */
  readonly values: Uint8Array[];
  /** Leaf: 1 where the value is a bucket's header, else 0. */
  readonly flags: number[];
  /** Branch: the child of each key. */
  readonly children: (number | Node)[];

  /** Bytes when encoded. */
  size = PAGE_HEADER_BYTES;
  /** The first page that this node replaces, and how many; 0 for none. */
  originId = 0;
  originSpan = 0;
  /** The node's place in the file, once the commit gave it one. */
  id = 0;
  span = 0;
  /** Something was taken out: the commit looks whether a neighbour should take the rest. */
  shrunk = false;

  constructor(leaf: boolean, keys: Uint8Array[], values: Uint8Array[], flags: number[], children: (number | Node)[]) {
    this.leaf = leaf;
    this.keys = keys;
    this.values = values;
    this.flags = flags;
    this.children = children;
  }

  static emptyLeaf(): Node {
    return new Node(true, [], [], [], NONE);
  }

  static emptyBranch(): Node {
    return new Node(false, [], NONE, NONE, []);
  }

  /** A node with the contents of a page, or of a frozen node, that it will replace. */
  static from(page: TreePage, originId: number): Node {
    const node = page instanceof Node ? copyOf(page) : readFrom(page);
    node.originId = originId;
    node.originSpan = originId === 0 ? 0 : page.span;
    return node;
  }

  get count(): number {
    return this.keys.length;
  }

  search(key: Uint8Array): number {
    const keys = this.keys;
    let low = 0;
    let high = keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const order = compareBytes(keys[middle]!, key);
      if (order < 0) low = middle + 1;
      else if (order > 0) high = middle;
      else return middle;
    }
    return ~low;
  }

  hasKeyAt(index: number, key: Uint8Array): boolean {
    const found = this.keys[index];
    return found !== undefined && equalBytes(found, key);
  }

  keyAt(index: number): Uint8Array {
    return this.keys[index]!;
  }

  valueAt(index: number): Uint8Array {
    return this.values[index]!;
  }

  isBucketAt(index: number): boolean {
    return this.flags[index] === BUCKET_FLAG;
  }

  childAt(index: number): number | Node {
    return this.children[index]!;
  }

  /** Bytes that the element at an index takes. */
  #elementSize(index: number): number {
    return ELEMENT_BYTES + this.keys[index]!.length + (this.leaf ? this.values[index]!.length : 0);
  }

  /** Adds a key that is greater than all others. */
  append(key: Uint8Array, value: Uint8Array): void {
    this.keys.push(key);
    this.values.push(value);
    this.flags.push(0);
    this.size += ELEMENT_BYTES + key.length + value.length;
  }

  insert(index: number, key: Uint8Array, value: Uint8Array, flags: number): void {
    this.keys.splice(index, 0, key);
    this.values.splice(index, 0, value);
    this.flags.splice(index, 0, flags);
    this.size += ELEMENT_BYTES + key.length + value.length;
  }

  replaceValue(index: number, value: Uint8Array, flags: number): void {
    this.size += value.length - this.values[index]!.length;
    this.values[index] = value;
    this.flags[index] = flags;
  }

  remove(index: number): void {
    this.size -= this.#elementSize(index);
    this.keys.splice(index, 1);
    if (this.leaf) {
      this.values.splice(index, 1);
      this.flags.splice(index, 1);
    } else {
      this.children.splice(index, 1);
    }
    this.shrunk = true;
  }

  /** Removes the elements of a leaf at these indexes, which ascend. */
  removeAll(indexes: readonly number[]): void {
    const { keys, values, flags } = this;
    let kept = indexes[0] ?? keys.length;
    for (let index = kept, next = 0; index < keys.length; index++) {
      if (index === indexes[next]) {
        this.size -= this.#elementSize(index);
        next++;
        continue;
      }
      keys[kept] = keys[index]!;
      values[kept] = values[index]!;
      flags[kept++] = flags[index]!;
    }
    keys.length = values.length = flags.length = kept;
    this.shrunk = true;
  }

  insertChild(index: number, key: Uint8Array, child: Node): void {
    this.keys.splice(index, 0, key);
    this.children.splice(index, 0, child);
    this.size += ELEMENT_BYTES + key.length;
  }

  setKey(index: number, key: Uint8Array): void {
    this.size += key.length - this.keys[index]!.length;
    this.keys[index] = key;
  }

  /** Pages that the node takes, with its seal. */
  spanFor(pageSize: number): number {
    return Math.ceil((this.size + SEAL_BYTES) / pageSize);
  }

  /** Fewest elements that a node of this kind keeps when it is split, or is left alone with. */
  get elementsMin(): number {
    return this.leaf ? 1 : 2;
  }

  /** Bytes that a node like this one may take before it is split. */
  roomFor(pageSize: number): number {
    const isLarge = this.leaf && this.size - PAGE_HEADER_BYTES > (this.keys.length * pageSize) / 4;
    return isLarge ? pageSize * LARGE_LEAF_PAGES : pageSize;
  }

  /** True when the node should be split for pages of this size. An element larger than its room stands alone in a leaf. */
  isTooLarge(pageSize: number): boolean {
    if (this.size <= pageSize - SEAL_BYTES) return false;
    return this.size > this.roomFor(pageSize) - SEAL_BYTES && this.keys.length >= 2 * this.elementsMin;
  }

  /**
   * Leaves the first elements here, up to a part of the room, and moves the others to new nodes of the same kind, each filled
   * alike; the last one may be fuller, up to its room. Answers the new nodes in order.
   *
   * @param fill the part, 0 to 1; in a room of several pages it is rounded up to whole pages
   */
  split(pageSize: number, fill: number): Node[] {
    const right = this.#splitOff(pageSize, fill);
    if (right === undefined) return [];
    // This one, too: without its large elements it may have less room than it had with them.
    return [...this.split(pageSize, fill), right, ...right.split(pageSize, fill)];
  }

  #splitOff(pageSize: number, fill: number): Node | undefined {
    if (!this.isTooLarge(pageSize)) return undefined;
    const room = this.roomFor(pageSize);
    const filled = room === pageSize ? room * fill : Math.ceil((room * fill) / pageSize) * pageSize - SEAL_BYTES;
    const bound = Math.min(filled, room - SEAL_BYTES);
    const least = this.elementsMin;
    let size = PAGE_HEADER_BYTES;
    let index = 0;
    for (; index < this.keys.length - least; index++) {
      const element = this.#elementSize(index);
      if (index >= least && size + element > bound) break;
      size += element;
    }
    const right = this.leaf
      ? new Node(true, this.keys.splice(index), this.values.splice(index), this.flags.splice(index), NONE)
      : new Node(false, this.keys.splice(index), NONE, NONE, this.children.splice(index));
    right.size = PAGE_HEADER_BYTES + (this.size - size);
    right.shrunk = this.shrunk;
    this.size = size;
    return right;
  }

  /** Takes over all elements of the node that follows. */
  absorb(next: Node): void {
    invariant(this.leaf === next.leaf, "neighbours are of one kind");
    for (let i = 0; i < next.keys.length; i++) {
      this.keys.push(next.keys[i]!);
      if (this.leaf) {
        this.values.push(next.values[i]!);
        this.flags.push(next.flags[i]!);
      } else {
        this.children.push(next.children[i]!);
      }
    }
    this.size += next.size - PAGE_HEADER_BYTES;
  }
}

function copyOf(node: Node): Node {
  const copy = node.leaf
    ? new Node(true, node.keys.slice(), node.values.slice(), node.flags.slice(), NONE)
    : new Node(false, node.keys.slice(), NONE, NONE, node.children.slice());
  copy.size = node.size;
  return copy;
}

function readFrom(page: TreePage): Node {
  const node = page.leaf ? Node.emptyLeaf() : Node.emptyBranch();
  for (let index = 0; index < page.count; index++) {
    const key = page.keyAt(index);
    node.keys.push(key);
    node.size += ELEMENT_BYTES + key.length;
    if (page.leaf) {
      const value = page.valueAt(index);
      node.values.push(value);
      node.flags.push(page.isBucketAt(index) ? BUCKET_FLAG : 0);
      node.size += value.length;
    } else {
      const child = page.childAt(index);
      invariant(typeof child === "number", "pages have pages as children");
      node.children.push(child);
    }
  }
  return node;
}

/** Writes a node as a page into the first `node.size` bytes, every one of them. */
export function encodeNode(node: Node, bytes: Uint8Array): void {
  const count = node.keys.length;
  const kind = node.leaf ? PageKind.leaf : PageKind.branch;
  writePageHeader(bytes, { id: node.id, kind, count, span: Math.max(node.span, 1) });
  let at = PAGE_HEADER_BYTES + count * ELEMENT_BYTES;
  for (let index = 0; index < count; index++) {
    const element = PAGE_HEADER_BYTES + index * ELEMENT_BYTES;
    const key = node.keys[index]!;
    if (node.leaf) {
      const value = node.values[index]!;
      writeUint32LE(bytes, element, node.flags[index]!);
      writeUint32LE(bytes, element + 4, at - element);
      writeUint32LE(bytes, element + 8, key.length);
      writeUint32LE(bytes, element + 12, value.length);
      copyInto(bytes, at, key);
      copyInto(bytes, at + key.length, value);
      at += key.length + value.length;
    } else {
      writeUint32LE(bytes, element, at - element);
      writeUint32LE(bytes, element + 4, key.length);
      writeWide(bytes, element + 8, node.children[index] as number);
      copyInto(bytes, at, key);
      at += key.length;
    }
  }
  invariant(at === node.size, () => `a node of ${node.size} bytes was encoded in ${at}`);
}

/** For short spans a loop is quicker than the call of `set`. */
function copyInto(bytes: Uint8Array, at: number, source: Uint8Array): void {
  const size = source.length;
  if (size > 48) {
    bytes.set(source, at);
    return;
  }
  for (let i = 0; i < size; i++) bytes[at + i] = source[i]!;
}
