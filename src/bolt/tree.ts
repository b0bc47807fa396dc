/**
 * What a commit does to a changed tree before its nodes get their places: nodes that shrank are merged with a neighbour, nodes
 * that are too large are split, keys in branches become the first keys of their children.
 *
 * Bottom up, so that one pass suffices: when a node's turn comes, its children have their final shapes.
 */
import { Node } from "./node.js";
import type { TreePage } from "./page.js";

/** What `settle` needs of the commit and the bucket. */
export interface Settling {
  readonly pageSize: number;
  /** How full a split leaves a node, 0 to 1. */
  readonly fill: number;
  /** The pages that a dropped node replaced are no longer in use. */
  free(id: number, span: number): void;
  /** The page under a branch, proven. @param passing for a walk that will not come again soon */
  childOf(parent: TreePage, index: number, passing?: boolean): TreePage;
}

/** The child of a branch as a node of this transaction: copied on the first change. */
export function ownChild(context: Pick<Settling, "childOf">, parent: Node, index: number, passing = false): Node {
  const child = parent.children[index]!;
  if (typeof child !== "number") return child;
  const node = Node.from(context.childOf(parent, index, passing), child);
  parent.children[index] = node;
  return node;
}

/** Brings a bucket's tree into the shape in which it is written. Answers its root: a node, or a page that was under it. */
export function settleRoot(root: Node, context: Settling): Node | number {
  let pieces = settle(root, context) ?? [root];
  while (pieces.length > 1) pieces = rootAbove(pieces, context);
  let top = pieces[0] ?? Node.emptyLeaf();
  while (!top.leaf && top.count === 1) {
    free(top, context);
    const child = top.children[0]!;
    if (typeof child === "number") return child;
    top = child;
  }
  return top;
}

/** A branch over nodes that a root was split into; split again if need be. */
export function rootAbove(pieces: readonly Node[], context: Pick<Settling, "pageSize" | "fill">): Node[] {
  const branch = Node.emptyBranch();
  for (const piece of pieces) branch.insertChild(branch.count, piece.keys[0]!, piece);
  return [branch, ...branch.split(context.pageSize, context.fill)];
}

/** The nodes that take a node's place, in order: none when it is empty; undefined when it stays as it is. */
function settle(node: Node, context: Settling): Node[] | undefined {
  if (!node.leaf) {
    settleChildren(node, context);
    mergeShrunkChildren(node, context);
  }
  if (node.count === 0) {
    free(node, context);
    return [];
  }
  if (!node.isTooLarge(context.pageSize)) return undefined;
  return [node, ...node.split(context.pageSize, context.fill)];
}

function settleChildren(node: Node, context: Settling): void {
  for (let index = 0; index < node.count;) {
    const child = node.children[index]!;
    if (typeof child === "number") {
      index++;
      continue;
    }
    const pieces = settle(child, context);
    if (pieces?.length === 0) {
      node.remove(index);
      continue;
    }
    node.setKey(index, child.keys[0]!);
    if (pieces !== undefined) insertPieces(node, index, pieces.slice(1));
    index += pieces?.length ?? 1;
  }
}

/** Gives the rest of a child that is less than a quarter full to its neighbour, as bbolt does. */
function mergeShrunkChildren(node: Node, context: Settling): void {
  for (let index = 0; index < node.count; index++) {
    const child = node.children[index]!;
    if (typeof child === "number" || !child.shrunk) continue;
    child.shrunk = false;
    if (child.size > context.pageSize / 4 && child.count >= child.elementsMin) continue;
    if (node.count === 1) return;
    const at = Math.max(index - 1, 0);
    const left = ownChild(context, node, at);
    const right = ownChild(context, node, at + 1);
    left.absorb(right);
    left.shrunk = false;
    free(right, context);
    node.remove(at + 1);
    const pieces = left.split(context.pageSize, left.size / 2 / left.roomFor(context.pageSize));
    insertPieces(node, at, pieces);
    index = at + pieces.length;
  }
}

function insertPieces(node: Node, after: number, pieces: readonly Node[]): void {
  for (let i = 0; i < pieces.length; i++) node.insertChild(after + 1 + i, pieces[i]!.keys[0]!, pieces[i]!);
}

function free(node: Node, context: Settling): void {
  if (node.originId !== 0) context.free(node.originId, node.originSpan);
}
