/**
 * Puts that were asked of a server or of a cluster, what was promised, and the check that the promises were kept.
 *
 * Every put has a key of its own below one prefix and nothing else is written, so the history of the store is in its keys:
 * sorted by mod revision they must be 2, 3, 4, ... up to the store's revision. A put whose outcome is unknown may be there or not.
 */
import { asBytes, keyValue, revisionOf, type EtcdClient, type KeyValue } from "./client.js";
import type { Message } from "./messages.js";

/** The first revision that a put can have. */
export const FIRST_REVISION = 2;

/** A value that belongs to its key alone, of 256 bytes. */
export const valueOf = (key: string): string => `${key} `.repeat(Math.ceil(256 / (key.length + 1))).slice(0, 256);

/** What was asked and what was promised. */
export class PutLedger {
  /** Every key of the ledger starts with it; it ends with `/`. */
  readonly prefix: string;
  readonly #attempted = new Set<string>();
  readonly #acknowledged = new Map<string, number>();
  /** Acknowledged, and not yet seen in the store. */
  readonly #unchecked = new Map<string, number>();
  /** Where the store has each key, as far as it was looked at: an acknowledgement may arrive after a check that saw its put. */
  readonly #found = new Map<string, number>();
  /** All revisions in `[2, checked)` are known to be right. */
  #checked = FIRST_REVISION;

  constructor(prefix: string) {
    this.prefix = prefix;
  }

  /** Before the put leaves. */
  attempt(key: string): void {
    this.#attempted.add(key);
  }

  acknowledge(key: string, revision: number): void {
    this.#acknowledged.set(key, revision);
    if (this.#found.get(key) !== revision) this.#unchecked.set(key, revision);
  }

  get attempted(): number {
    return this.#attempted.size;
  }

  get acknowledged(): number {
    return this.#acknowledged.size;
  }

  /** Up to here the store was found right. */
  get revision(): number {
    return this.#checked - 1;
  }

  /** Puts up to `revision` that are there without having been acknowledged. */
  get unacknowledgedKept(): number {
    return this.revision - (FIRST_REVISION - 1) - (this.#acknowledged.size - this.#unchecked.size);
  }

  /**
   * Checks what is new since the last check. Puts may go on meanwhile: what was acknowledged after the revision that is
   * looked at waits for the next check.
   *
   * @throws with the first promise that was broken
   */
  async check(client: EtcdClient, where: string): Promise<void> {
    const key = asBytes(this.prefix);
    const end = asBytes(`${this.prefix.slice(0, -1)}0`);
    const revision = await client.revision();
    const response = await client.call("Range", {
      key,
      range_end: end,
      revision,
      min_mod_revision: this.#checked,
      sort_order: 1,
      sort_target: 3,
    });
    const found = ((response["kvs"] ?? []) as readonly Message[]).map(keyValue);
    if (revisionOf(response) < revision) throw new Error(`${where}: the store went back from revision ${revision}`);
    this.#checkRun(found, revision, where);
    for (const [name, promised] of this.#unchecked) {
      if (promised > revision) continue;
      throw new Error(
        `${where}: lost ${name}, which was acknowledged at revision ${promised}; the store is at ${revision}`,
      );
    }
  }

  /** Checks the whole store once more: nothing that was right has changed since. No put may be on its way. */
  async checkAll(client: EtcdClient, where: string): Promise<void> {
    this.#checked = FIRST_REVISION;
    this.#found.clear();
    for (const [key, revision] of this.#acknowledged) this.#unchecked.set(key, revision);
    await this.check(client, where);
    for (const [key, promised] of this.#unchecked) {
      throw new Error(`${where}: ${key} was acknowledged at revision ${promised}; the store is at ${this.revision}`);
    }
  }

  #checkRun(found: readonly KeyValue[], revision: number, where: string): void {
    for (const { key, value, modRevision, createRevision, version } of found) {
      const name = Buffer.from(key).toString();
      if (modRevision !== this.#checked) {
        throw new Error(`${where}: gap in the revisions: ${name} is at ${modRevision}, expected ${this.#checked}`);
      }
      this.#checked++;
      if (createRevision !== modRevision)
        throw new Error(`${where}: ${name} was put twice: ${createRevision}, ${modRevision}`);
      if (version !== 1) throw new Error(`${where}: ${name} has version ${version}, expected 1`);
      if (!this.#attempted.has(name)) throw new Error(`${where}: nobody put ${name}`);
      if (Buffer.from(value).toString() !== valueOf(name)) throw new Error(`${where}: ${name} holds another value`);
      const promised = this.#acknowledged.get(name);
      if (promised !== undefined && promised !== modRevision) {
        throw new Error(`${where}: ${name} was acknowledged at revision ${promised} and is at ${modRevision}`);
      }
      this.#found.set(name, modRevision);
      this.#unchecked.delete(name);
    }
    if (revision !== this.#checked - 1) {
      throw new Error(`${where}: the store is at revision ${revision}, its keys end at ${this.#checked - 1}`);
    }
  }
}
