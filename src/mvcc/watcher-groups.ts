/**
 * Watchers, found by a key that they watch: those of a single key in a map, those of a span in a tree. Watchers of the same key or span
 * stand together in one set, for there are often many of them.
 */
import type { KeySpan } from "./key-index.js";
import { SpanTree } from "./span-tree.js";

export class WatcherGroups<Watcher extends { readonly span: KeySpan }> {
  readonly #byKey = new Map<string, Set<Watcher>>();
  readonly #bySpan = new SpanTree<Set<Watcher>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds one that is not there. */
  add(watcher: Watcher): void {
    const { key, end } = watcher.span;
    let group = end === undefined ? this.#byKey.get(key) : this.#bySpan.get(key, end);
    if (group === undefined) {
      group = new Set();
      if (end === undefined) this.#byKey.set(key, group);
      else this.#bySpan.add(key, end, group);
    }
    group.add(watcher);
    this.#size++;
  }

  /** Removes one that is there. */
  delete(watcher: Watcher): void {
    const { key, end } = watcher.span;
    const group = (end === undefined ? this.#byKey.get(key) : this.#bySpan.get(key, end))!;
    group.delete(watcher);
    this.#size--;
    if (group.size > 0) return;
    if (end === undefined) this.#byKey.delete(key);
    else this.#bySpan.delete(key, end);
  }

  /**
   * The groups that watch a key; undefined where nobody does. A group may lose watchers while it is walked through, and what is added
   * to it meanwhile may be met.
   */
  groupsOf(key: string): readonly ReadonlySet<Watcher>[] | undefined {
    const single = this.#byKey.get(key);
    if (this.#bySpan.size === 0) return single === undefined ? undefined : [single];
    const groups: Set<Watcher>[] = single === undefined ? [] : [single];
    this.#bySpan.visit(key, (group) => void groups.push(group));
    return groups.length === 0 ? undefined : groups;
  }

  /** All watchers as they are now. */
  all(): Watcher[] {
    return [...this.#byKey.values(), ...this.#bySpan.values()].flatMap((group) => [...group]);
  }

  /** Proves the laws of what it stands on; for tests. */
  check(): void {
    this.#bySpan.check();
  }
}
