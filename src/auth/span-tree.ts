/**
 * Spans that end before they begin. They hold no key, so it should not matter whether they are allowed; but members of one cluster must
 * agree, and etcd's verdict falls out of a search through its tree of rights that such a span leads astray: it is found where the search
 * passes no range that begins at the span's end or behind it. So this is the same tree: red and black as in the textbooks (Cormen
 * et al., chapters 13 and 14.3), by where ranges begin, equal ones to the right, put in by role and permission in their order.
 *
 * Nobody sends such spans but by mistake, or to set members of two kinds apart. The tree is made when the first one comes.
 */

/** A range of latin1 texts; an empty text is greater than all others, as a beginning and as an end. */
export interface TreeRange {
  readonly begin: string;
  readonly end: string;
}

class Node {
  readonly range: TreeRange;
  left: Node | undefined;
  right: Node | undefined;
  parent: Node | undefined;
  isRed = true;
  /** The greatest end in this node and below it. */
  endMax: string;

  constructor(range: TreeRange, parent: Node | undefined) {
    this.range = range;
    this.parent = parent;
    this.endMax = range.end;
  }
}

export class SpanTree {
  #root: Node | undefined;

  constructor(ranges: readonly TreeRange[]) {
    for (const range of ranges) this.#insert(range);
    if (this.#root !== undefined) sumUp(this.#root);
  }

  /** Whether etcd finds a range that holds the beginning of a span whose end is not behind it. */
  finds({ begin, end }: TreeRange): boolean {
    return findsIn(this.#root, { begin, end });
  }

  #insert(range: TreeRange): void {
    let parent: Node | undefined;
    let at = this.#root;
    while (at !== undefined) {
      parent = at;
      at = isLess(range.begin, at.range.begin) ? at.left : at.right;
    }
    const node = new Node(range, parent);
    if (parent === undefined) this.#root = node;
    else if (isLess(range.begin, parent.range.begin)) parent.left = node;
    else parent.right = node;
    this.#repair(node);
  }

  /** No red node has a red parent, and the root is black. */
  #repair(inserted: Node): void {
    let node = inserted;
    while (node.parent?.isRed === true) {
      const parent = node.parent;
      const grandparent = parent.parent!; // the root is black
      const isLeft = parent === grandparent.left;
      const uncle = isLeft ? grandparent.right : grandparent.left;
      if (uncle?.isRed === true) {
        parent.isRed = false;
        uncle.isRed = false;
        grandparent.isRed = true;
        node = grandparent;
        continue;
      }
      if (node === (isLeft ? parent.right : parent.left)) {
        node = parent;
        this.#rotate(node, isLeft ? "left" : "right");
      }
      node.parent!.isRed = false;
      grandparent.isRed = true;
      this.#rotate(grandparent, isLeft ? "right" : "left");
    }
    this.#root!.isRed = false;
  }

  /** The child on the other side comes up in the node's place, and the node goes down to this side. */
  #rotate(node: Node, side: "left" | "right"): void {
    const other = side === "left" ? "right" : "left";
    const child = node[other]!;
    node[other] = child[side];
    if (child[side] !== undefined) child[side].parent = node;
    child.parent = node.parent;
    if (node.parent === undefined) this.#root = child;
    else if (node === node.parent.left) node.parent.left = child;
    else node.parent.right = child;
    child[side] = node;
    node.parent = child;
  }
}

function sumUp(node: Node): string {
  for (const child of [node.left, node.right]) {
    if (child === undefined) continue;
    const end = sumUp(child);
    if (isLess(node.endMax, end)) node.endMax = end;
  }
  return node.endMax;
}

function findsIn(node: Node | undefined, span: TreeRange): boolean {
  if (node === undefined) return false;
  switch (sideOf(span, node.range)) {
    case "before":
      return findsIn(node.left, span);
    case "meets":
      return true;
    case "behind":
      if (sideOf({ begin: node.range.begin, end: node.endMax }, span) !== "meets") return false;
      return findsIn(node.left, span) || findsIn(node.right, span);
  }
}

/** Where a range lies, seen from another one. Of a span that ends before it begins the two may see different things. */
function sideOf(range: TreeRange, other: TreeRange): "before" | "behind" | "meets" {
  if (isLess(range.begin, other.begin) && !isLess(other.begin, range.end)) return "before";
  return isLess(range.begin, other.end) ? "meets" : "behind";
}

function isLess(a: string, b: string): boolean {
  return a !== "" && (b === "" || a < b);
}
