/**
 * The simple twin of bolt: sorted arrays, copied whole. A commit is durable when `land` lets it; a crash keeps what landed.
 */
import type { BoltBucket, BoltDatabase, BoltEngine, BoltRead, BoltWrite, PairVisitor, Verdict } from "../bolt-door.js";
import { compareBytes } from "../../base/bytes.js";
import { latin1FromBytes, bytesFromLatin1 } from "../../base/text.js";

interface Pair {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

type Tree = Map<string, MemoryBucket>;

class MemoryBucket implements BoltBucket {
  fillPercent = 0.5;
  readonly pairs: Pair[];

  constructor(pairs: Pair[] = []) {
    this.pairs = pairs;
  }

  get(key: Uint8Array): Uint8Array | undefined {
    const pair = this.pairs[this.#position(key)];
    return pair !== undefined && compareBytes(pair.key, key) === 0 ? pair.value : undefined;
  }

  getNear(key: Uint8Array): Uint8Array | undefined {
    return this.get(key);
  }

  getUnchanging(key: Uint8Array): Uint8Array | undefined {
    return this.get(key);
  }

  put(key: Uint8Array, value: Uint8Array): void {
    this.reserve(key, value.length).set(value);
  }

  reserve(key: Uint8Array, size: number): Uint8Array {
    const present = this.get(key) !== undefined;
    const value = new Uint8Array(size);
    this.pairs.splice(this.#position(key), present ? 1 : 0, { key: key.slice(), value });
    return value;
  }

  delete(key: Uint8Array): boolean {
    const present = this.get(key) !== undefined;
    if (present) this.pairs.splice(this.#position(key), 1);
    return present;
  }

  prune(
    from: Uint8Array,
    to: Uint8Array | undefined,
    judge: (key: Uint8Array, value: Uint8Array) => Verdict,
  ): Uint8Array | undefined {
    const doomed: Uint8Array[] = [];
    let stoppedAt: Uint8Array | undefined;
    this.forEach(from, to, (key, value) => {
      const verdict = judge(key, value);
      if (verdict === "delete") doomed.push(key);
      if (verdict === "stop") stoppedAt = key;
      return verdict !== "stop";
    });
    for (const key of doomed) this.delete(key);
    return stoppedAt;
  }

  lastKey(): Uint8Array | undefined {
    return this.pairs.at(-1)?.key;
  }

  forEach(
    from: Uint8Array | undefined,
    to: Uint8Array | undefined,
    visit: (key: Uint8Array, value: Uint8Array) => boolean | void,
  ): void {
    for (let i = from === undefined ? 0 : this.#position(from); i < this.pairs.length; i++) {
      const { key, value } = this.pairs[i]!;
      if (to !== undefined && compareBytes(key, to) >= 0) return;
      if (visit(key, value) === false) return;
    }
  }

  forEachInPlace(from: Uint8Array, visit: PairVisitor): void {
    this.forEach(from, undefined, (key, value) => visit(key, 0, key.length, value, 0, value.length));
  }

  #position(key: Uint8Array): number {
    let low = 0;
    let high = this.pairs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareBytes(this.pairs[middle]!.key, key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

function copy(tree: Tree): Tree {
  return new Map([...tree].map(([name, bucket]) => [name, new MemoryBucket([...bucket.pairs])]));
}

/** Files of databases. */
export class MemoryBolt implements BoltEngine {
  readonly durable = new Map<string, Tree>();
  /** What a commit waits for before it is durable. */
  land: () => Promise<void> = () => Promise.resolve();
  openReads = 0;

  open(_d: unknown, path: string): Promise<BoltDatabase> {
    return Promise.resolve(new MemoryDatabase(this, path));
  }

  compact(read: BoltRead, _d: unknown, path: string): Promise<void> {
    this.durable.set(path, copy((read as MemoryRead).tree));
    return Promise.resolve();
  }
}

class MemoryDatabase implements BoltDatabase {
  readonly #engine: MemoryBolt;
  readonly #path: string;
  /** Handed to `commit`. */
  handed: Tree;

  constructor(engine: MemoryBolt, path: string) {
    this.#engine = engine;
    this.#path = path;
    this.handed = engine.durable.get(path) ?? new Map<string, MemoryBucket>();
  }

  get sizeBytes(): number {
    return [...this.handed.values()].reduce((sum, bucket) => sum + bucket.pairs.length * 64, 0);
  }

  readonly freeBytes = 0;

  beginWrite(): BoltWrite {
    const tree = copy(this.handed);
    return {
      bucket: (name) => tree.get(latin1FromBytes(name)),
      createBucketIfNotExists: (name) => {
        const key = latin1FromBytes(name);
        const bucket = tree.get(key) ?? new MemoryBucket();
        tree.set(key, bucket);
        return bucket;
      },
      commit: async () => {
        this.handed = tree;
        await this.#engine.land();
        this.#engine.durable.set(this.#path, tree);
      },
      rollback: () => undefined,
    };
  }

  beginRead(options: { readonly durable?: boolean } = {}): BoltRead {
    this.#engine.openReads++;
    const tree = options.durable === true ? (this.#engine.durable.get(this.#path) ?? new Map()) : this.handed;
    return new MemoryRead(tree, () => this.#engine.openReads--);
  }

  makeDurable(): Promise<void> {
    return Promise.resolve();
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}

class MemoryRead implements BoltRead {
  readonly sizeBytes = 0;
  readonly tree: Tree;
  readonly end: () => void;

  constructor(tree: Tree, end: () => void) {
    this.tree = tree;
    this.end = end;
  }

  bucket(name: Uint8Array): BoltBucket | undefined {
    return this.tree.get(latin1FromBytes(name));
  }

  buckets(): Uint8Array[] {
    return [...this.tree.keys()].sort().map(bytesFromLatin1);
  }

  async *copy(): AsyncIterable<Uint8Array> {
    yield* [];
  }
}
