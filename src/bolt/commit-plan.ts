/** What one commit is going to write, and where: decided at once, written later. */
import type { Placing } from "./bucket.js";
import type { FreeList, PageSet } from "./free-list.js";
import type { Node } from "./node.js";
import type { State } from "./transaction.js";

export class CommitPlan implements Placing {
  readonly txid: number;
  readonly nodes: Node[] = [];
  readonly #freeList: FreeList;
  readonly #pageSize: number;
  #highWater: number;

  constructor(freeList: FreeList, before: State) {
    this.#freeList = freeList;
    this.txid = before.meta.txid + 1;
    this.#pageSize = before.meta.pageSize;
    this.#highWater = before.meta.highWater;
  }

  get highWater(): number {
    return this.#highWater;
  }

  free(id: number, span: number): void {
    this.#freeList.add(id, span, this.txid);
  }

  /** Pages in a row: the lowest free ones, else new ones at the end. */
  take(span: number): number {
    const id = this.#freeList.take(span, this.txid);
    if (id !== 0) return id;
    const end = this.#highWater;
    this.#highWater += span;
    this.#freeList.note(end, this.txid);
    return end;
  }

  place(node: Node): void {
    node.span = node.spanFor(this.#pageSize);
    node.id = this.take(node.span);
    this.nodes.push(node);
  }
}

/** A commit on its way to the disk. */
export interface PlannedCommit {
  readonly state: State;
  /** In ascending order of their places. */
  readonly nodes: readonly Node[];
  /** Free and pending pages as the file will list them. */
  readonly listed: PageSet;
  readonly freeListId: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}
