/**
 * What the servers wrote, revision by revision: read from the first member that comes to each, right after it did. With it the
 * checkers need not guess which requests of unknown outcome took effect.
 *
 * A revision of several changes is left out, for a range does not tell their order; so is one that a compaction took first.
 */
import type { Member } from "../../src/server/index.js";
import type { Change, HistoryRecorder, KeyValue } from "../check/history.js";
import { callMember } from "./translate.js";
import { ALL_KEYS } from "./workload.js";

export class StoreLog {
  readonly #recorder: HistoryRecorder;
  /** The newest revision that was asked for. */
  #asked = 1;
  /** The newest that is known, and the keys at it. */
  #known = 1;
  #keys: ReadonlyMap<string, KeyValue> | undefined = new Map();

  constructor(recorder: HistoryRecorder) {
    this.#recorder = recorder;
  }

  /** A member is at this revision now. */
  onRevision(member: Member, revision: number): void {
    if (revision <= this.#asked) return;
    const from = this.#asked + 1;
    this.#asked = revision;
    void this.#read(member, from, revision);
  }

  async #read(member: Member, from: number, to: number): Promise<void> {
    for (let revision = from; revision <= to; revision++) {
      const response = await callMember(member, { kind: "range", ...ALL_KEYS, revision, serializable: true }).catch(
        () => undefined, // compacted, or the member is gone
      );
      if (response?.kind !== "range") this.#keys = undefined;
      else this.#onKeys(revision, new Map(response.kvs.map((kv) => [kv.key, kv])));
      this.#known = revision;
    }
  }

  #onKeys(revision: number, keys: ReadonlyMap<string, KeyValue>): void {
    const before = this.#known === revision - 1 ? this.#keys : undefined;
    this.#keys = keys;
    if (before === undefined) return;
    const changes: Change[] = [];
    for (const kv of keys.values()) if (kv.modRevision === revision) changes.push({ kind: "put", kv });
    for (const key of before.keys()) if (!keys.has(key)) changes.push({ kind: "delete", key });
    if (changes.length === 1) this.#recorder.logged({ revision, changes });
  }
}
