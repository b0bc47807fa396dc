/** A store on a database in memory, with verbs for plays. */
import assert from "node:assert/strict";
import type { TestContext } from "node:test";
import { settle, SimClock, SimDisk } from "../../../sim/index.js";
import { bytesFromLatin1, latin1FromBytes } from "../../base/text.js";
import { silentLog } from "../../platform/index.js";
import type { KeyValue } from "../../proto/generated/mvccpb/kv.js";
import { Backend, type BackendOptions } from "../backend.js";
import type { BoltEngine } from "../bolt-door.js";
import type { KeySpan } from "../key-index.js";
import { Store, type StoreOptions } from "../store.js";
import { MemoryBolt } from "./memory-bolt.js";

export const ALL: KeySpan = { key: "", end: "" };

export function one(key: string): KeySpan {
  return { key, end: undefined };
}

export interface FixtureOptions {
  readonly engine?: BoltEngine;
  readonly disk?: SimDisk;
  readonly store?: StoreOptions;
  readonly backend?: Partial<BackendOptions>;
}

export class StoreFixture {
  readonly clock = new SimClock();
  readonly disk: SimDisk;
  readonly engine: BoltEngine;
  readonly path = "/data/db";
  readonly #options: FixtureOptions;
  backend!: Backend;
  store!: Store;

  constructor(options: FixtureOptions) {
    this.#options = options;
    this.disk = options.disk ?? new SimDisk();
    this.engine = options.engine ?? new MemoryBolt();
  }

  async open(): Promise<void> {
    const { clock, disk } = this;
    const d = { clock, disk, log: silentLog };
    this.backend = await Backend.open(d, this.path, { engine: this.engine, ...this.#options.backend });
    this.store = await Store.open({ clock, log: silentLog }, this.backend, this.#options.store);
  }

  /** Waits for something that needs time: turns the clock until it is done. */
  async during<Result>(work: Promise<Result>): Promise<Result> {
    const state = { done: false };
    const mark = (): void => void (state.done = true);
    work.then(mark, mark);
    await settle();
    while (!state.done) await this.clock.run(10);
    return work;
  }

  async restart(): Promise<void> {
    await this.close();
    await this.open();
  }

  async close(): Promise<void> {
    await this.during(this.store.close());
    await this.during(this.backend.close());
  }

  put(key: string, value = "", lease = 0n): number {
    const txn = this.store.write();
    txn.put(bytesFromLatin1(key), bytesFromLatin1(value), lease);
    return txn.end();
  }

  delete(key: string, end?: string): number {
    const txn = this.store.write();
    const { deleted } = txn.deleteRange({ key, end });
    txn.end();
    return deleted;
  }

  async compact(revision: number): Promise<void> {
    await this.during(this.store.compact(revision).finished);
  }

  /** `key=value create/mod/version` of each pair. */
  show(span: KeySpan = ALL, revision = 0): string[] {
    return this.store.range(span, { revision }).kvs.map(showKeyValue);
  }
}

export function showKeyValue(kv: KeyValue): string {
  const key = latin1FromBytes(kv.key);
  const value = latin1FromBytes(kv.value);
  return `${key}=${value} ${kv.createRevision}/${kv.modRevision}/${kv.version}${kv.lease === 0n ? "" : ` lease ${kv.lease}`}`;
}

/** Opens a fixture; when the test ends it is closed, and nothing may be left open. */
export async function storeFixture(t: TestContext, options: FixtureOptions = {}): Promise<StoreFixture> {
  const fixture = new StoreFixture(options);
  await fixture.open();
  t.after(async () => {
    await fixture.close();
    assert.equal(fixture.clock.timers, 0, "no timer is left");
    if (fixture.engine instanceof MemoryBolt) assert.equal(fixture.engine.openReads, 0, "no read is left open");
  });
  return fixture;
}
