/**
 * Power fails at every disk operation of a scripted run: entries are applied (puts, deletions, compactions), batches committed,
 * the file is defragmented. Whatever is found opens, and is exactly the work of a prefix of the entries that holds all that was
 * promised durable: data and the index of the last entry never part.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { CRASH_MODES, settle, SimDisk, SimRandom, type CrashMode } from "../../sim/index.js";
import { bytesFromLatin1, latin1FromBytes } from "../base/text.js";
import { makeBoltEngine } from "./bolt-engine.js";
import { ALL, StoreFixture } from "./testing/fixture.js";
import { History } from "./testing/history.js";

const INDEX = bytesFromLatin1("index");
/** Every how many journal positions power fails: 1 tries them all. */
const STRIDE = Number(process.env["WALNUT_CRASH_STRIDE"] ?? 2);
const ENTRIES = 120;

/** What is known of the run after so many entries. */
interface Mark {
  readonly revision: number;
  readonly compacted: number;
}

function engine(): ReturnType<typeof makeBoltEngine> {
  return makeBoltEngine({ pageSize: 1024, initialMapBytes: 0 });
}

class CrashPlay {
  /** Each operation of the disk takes a turn of the loop, so that entries are applied while files are written. */
  readonly s = new StoreFixture({
    engine: engine(),
    disk: new SimDisk({ pace: settle }),
    store: { compactionBatchMax: 7 },
    backend: { batchWritesMax: 40 },
  });
  readonly history = new History();
  readonly marks: Mark[] = [{ revision: 1, compacted: -1 }];
  /** From which journal position on how many entries are promised. */
  readonly promises: { readonly position: number; readonly entries: number }[] = [];
  readonly #random = new SimRandom(7);

  async play(): Promise<void> {
    await this.s.open();
    this.#hook();
    let defragmentation = Promise.resolve();
    for (let entry = 1; entry <= ENTRIES; entry++) {
      this.#apply(entry);
      if (entry % 10 === 0) this.#promise(entry);
      if (entry % 3 === 0) await this.s.clock.run(this.#random.below(60));
      else await settle();
      if (entry === 40) defragmentation = this.s.backend.defragment();
    }
    await this.s.during(defragmentation);
    await this.s.close();
    this.promises.push({ position: this.s.disk.journal.length, entries: ENTRIES });
  }

  #hook(): void {
    this.s.backend.setBeforeCommit((write) => {
      write.put("meta", INDEX, bytesFromLatin1(String(this.marks.length - 1)));
    });
  }

  #apply(entry: number): void {
    const { history, s } = this;
    const back = this.#random.below(8);
    if (entry % 25 === 0 && history.revision - back > history.compacted) {
      s.store.compact(history.revision - back).finished.catch(() => undefined); // `close` cuts the last one short
      history.compacted = history.revision - back;
    } else {
      this.#transaction(entry);
    }
    assert.equal(s.store.revision, history.revision);
    this.marks.push({ revision: history.revision, compacted: history.compacted });
  }

  #transaction(entry: number): void {
    const txn = this.s.store.write();
    this.history.change((state, main) => {
      const keys = new Set(Array.from({ length: 1 + this.#random.below(4) }, () => `k${this.#random.below(20)}`));
      let changed = false;
      for (const key of keys) {
        if (this.#random.below(4) > 0) {
          const value = `${entry}${"x".repeat(this.#random.below(200))}`;
          txn.put(bytesFromLatin1(key), bytesFromLatin1(value), 0n);
          this.history.put(state, key, value, main);
          changed = true;
        } else if (txn.deleteRange({ key, end: undefined }).deleted > 0) {
          state.delete(key);
          changed = true;
        }
      }
      return changed;
    });
    txn.end();
  }

  /** Notes when what was applied so far is promised durable. */
  #promise(entries: number): void {
    void this.s.backend.commitNow().then(() => this.promises.push({ position: this.s.disk.journal.length, entries }));
  }

  /** Opens what power failure left, and compares. */
  async verify(disk: SimDisk, position: number, mode: CrashMode): Promise<void> {
    const where = `power fails before ${position} (${this.s.disk.label(position)}), ${mode}`;
    const found = new StoreFixture({ engine: engine(), disk, store: { compactionBatchMax: 7 } });
    await found.open();
    const index = found.backend.get("meta", INDEX);
    const entries = index === undefined ? 0 : Number(latin1FromBytes(index));
    const promised = this.promises.findLast((promise) => promise.position <= position)?.entries ?? 0;
    assert.ok(entries >= promised, `${where}: ${entries} entries are there, ${promised} were promised`);
    const { revision, compacted } = this.marks[entries]!;
    assert.equal(found.store.revision, revision, where);
    assert.equal(found.store.compactRevision, compacted, where);
    for (let at = Math.max(1, compacted); at <= revision; at += 3) {
      assert.deepEqual(found.show(ALL, at), this.history.shown(at), `${where}: at revision ${at}`);
    }
    assert.deepEqual(found.show(ALL), this.history.shown(revision), where);
    await found.clock.run(2_000); // the compaction is finished
    assert.deepEqual(found.show(ALL), this.history.shown(revision), where);
    await found.close();
    assert.deepEqual(disk.openHandles(), [], where);
  }
}

test("whenever power fails, db is the work of a prefix of the entries that holds all that was promised", async (t) => {
  const play = new CrashPlay();
  await play.play();
  const positions = play.s.disk.journal.length;
  let states = 0;
  for (let position = STRIDE; position <= positions; position += STRIDE) {
    for (const mode of CRASH_MODES) {
      const random = new SimRandom(position * 10 + CRASH_MODES.indexOf(mode));
      await play.verify(play.s.disk.platterAt(position, mode, random), position, mode);
      states++;
      if (states % 20 === 0) await settle();
    }
  }
  t.diagnostic(`${states} states after power failures at ${Math.floor(positions / STRIDE)} of ${positions} operations`);
  assert.ok(states > 100);
});
