/**
 * Spans of keys `[key, end)`, each with a value, found by a key that lies in them.
 *
 * A treap: a binary tree in the order of (key, end) whose nodes carry priorities that make it a heap as well, so that it stays about as
 * shallow as a tree of random order, whatever is added and removed. Each node knows the greatest end below it, which tells a
 * search where nothing can be found. To find the k spans around a key costs O(k + log n).
 *
 *                  ["d", "k") max ""
 *                 /                 \
 *     ["a", "f") max "f"       ["m", "") max ""           "" is the end after all keys
 *
 * Laws: a span is there once; keys to the left are not greater, keys to the right not less; a node's priority is not less than its
 * children's; `endMax` is the greatest end of the node and all below it.
 */
import { invariant } from "../base/errors.js";

interface Node<Value> {
  readonly key: string;
  /** An empty one is the end after all keys. */
  readonly end: string;
  readonly value: Value;
  readonly priority: number;
  left: Node<Value> | undefined;
  right: Node<Value> | undefined;
  endMax: string;
}

/** The priorities' generator (xorshift32) begins here: which number it is does not matter. */
const FIRST_PRIORITY = 0x2545_f491;

export class SpanTree<Value> {
  #root: Node<Value> | undefined;
  #size = 0;
  #priority = FIRST_PRIORITY;

  /** How many spans there are. */
  get size(): number {
    return this.#size;
  }

  /** The value of just this span. */
  get(key: string, end: string): Value | undefined {
    let node = this.#root;
    while (node !== undefined) {
      const order = compareSpans(key, end, node);
      if (order === 0) return node.value;
      node = order < 0 ? node.left : node.right;
    }
    return undefined;
  }

  /** Adds a span that is not there. `end` is greater than `key`, or empty for the end after all keys. */
  add(key: string, end: string, value: Value): void {
    invariant(end === "" || key < end, "a span holds at least its own key");
    const priority = this.#nextPriority();
    this.#root = insert(this.#root, { key, end, value, priority, left: undefined, right: undefined, endMax: end });
    this.#size++;
  }

  /** Removes a span that is there. */
  delete(key: string, end: string): void {
    this.#root = remove(this.#root, key, end);
    this.#size--;
  }

  /** Calls for the value of each span that holds the key, in the order of the spans. The tree must not change meanwhile. */
  visit(key: string, callback: (value: Value) => void): void {
    visitFrom(this.#root, key, callback);
  }

  /** All values, in the order of their spans. The tree must not change meanwhile. */
  values(): Generator<Value> {
    return valuesOf(this.#root);
  }

  /** Proves the laws of this module; for tests. */
  check(): void {
    invariant(checkNode(this.#root) === this.#size, "the size is the count of nodes");
  }

  #nextPriority(): number {
    let next = this.#priority;
    next ^= next << 13;
    next ^= next >>> 17;
    next ^= next << 5;
    return (this.#priority = next);
  }
}

function visitFrom<Value>(node: Node<Value> | undefined, key: string, callback: (value: Value) => void): void {
  if (node === undefined || !isBefore(key, node.endMax)) return;
  visitFrom(node.left, key, callback);
  if (key < node.key) return; // and so are all to the right
  if (isBefore(key, node.end)) callback(node.value);
  visitFrom(node.right, key, callback);
}

function* valuesOf<Value>(node: Node<Value> | undefined): Generator<Value> {
  if (node === undefined) return;
  yield* valuesOf(node.left);
  yield node.value;
  yield* valuesOf(node.right);
}

function insert<Value>(node: Node<Value> | undefined, added: Node<Value>): Node<Value> {
  if (node === undefined) return added;
  const order = compareSpans(added.key, added.end, node);
  invariant(order !== 0, "a span is added once");
  if (order < 0) {
    node.left = insert(node.left, added);
    if (node.left.priority > node.priority) return rotateRight(node, node.left);
  } else {
    node.right = insert(node.right, added);
    if (node.right.priority > node.priority) return rotateLeft(node, node.right);
  }
  setEndMax(node);
  return node;
}

function remove<Value>(node: Node<Value> | undefined, key: string, end: string): Node<Value> | undefined {
  invariant(node !== undefined, "a span that is removed is there");
  const order = compareSpans(key, end, node);
  if (order === 0) return merge(node.left, node.right);
  if (order < 0) node.left = remove(node.left, key, end);
  else node.right = remove(node.right, key, end);
  setEndMax(node);
  return node;
}

/** One tree of two, all spans of the first being before those of the second. */
function merge<Value>(low: Node<Value> | undefined, high: Node<Value> | undefined): Node<Value> | undefined {
  if (low === undefined) return high;
  if (high === undefined) return low;
  if (low.priority >= high.priority) {
    low.right = merge(low.right, high);
    setEndMax(low);
    return low;
  }
  high.left = merge(low, high.left);
  setEndMax(high);
  return high;
}

function rotateRight<Value>(node: Node<Value>, left: Node<Value>): Node<Value> {
  node.left = left.right;
  left.right = node;
  setEndMax(node);
  setEndMax(left);
  return left;
}

function rotateLeft<Value>(node: Node<Value>, right: Node<Value>): Node<Value> {
  node.right = right.left;
  right.left = node;
  setEndMax(node);
  setEndMax(right);
  return right;
}

function setEndMax<Value>(node: Node<Value>): void {
  let most = node.end;
  if (node.left !== undefined) most = laterEnd(most, node.left.endMax);
  if (node.right !== undefined) most = laterEnd(most, node.right.endMax);
  node.endMax = most;
}

function laterEnd(a: string, b: string): string {
  if (a === "" || b === "") return "";
  return a < b ? b : a;
}

function isBefore(key: string, end: string): boolean {
  return end === "" || key < end;
}

function compareSpans<Value>(key: string, end: string, node: Node<Value>): number {
  if (key !== node.key) return key < node.key ? -1 : 1;
  if (end === node.end) return 0;
  return isBefore(end, node.end) && end !== "" ? -1 : 1;
}

function checkNode<Value>(node: Node<Value> | undefined): number {
  if (node === undefined) return 0;
  let most = node.end;
  for (const child of [node.left, node.right]) {
    if (child === undefined) continue;
    invariant(child.priority <= node.priority, "a parent's priority is the greatest");
    most = laterEnd(most, child.endMax);
  }
  invariant(node.endMax === most, "a node knows the greatest end below it");
  if (node.left !== undefined) invariant(compareSpans(node.left.key, node.left.end, node) < 0, "left is before");
  if (node.right !== undefined) invariant(compareSpans(node.right.key, node.right.end, node) > 0, "right is after");
  return 1 + checkNode(node.left) + checkNode(node.right);
}
