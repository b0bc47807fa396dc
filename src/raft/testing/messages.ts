/** Short ways to write down entries, snapshots and members for tests. */
import { utf8FromText, textFromUtf8 } from "../../base/text.js";
import { EMPTY_CONF_STATE, EntryType, type ConfState, type Entry, type Snapshot } from "../../proto/raft.js";
import type { RaftConfig } from "../config.js";
import { SILENT_LOGGER } from "../logger.js";
import { MemoryStorage } from "../storage.js";

export function entry(term: number, index: number, text = ""): Entry {
  return { type: EntryType.normal, term, index, data: utf8FromText(text) };
}

/** Entries with these terms, the first of them at `first`. */
export function entriesOf(terms: readonly number[], first = 1): Entry[] {
  return terms.map((term, at) => entry(term, first + at));
}

export function termsOf(entries: readonly Entry[]): number[] {
  return entries.map(({ term }) => term);
}

export function textsOf(entries: readonly Entry[]): string[] {
  return entries.map(({ data }) => textFromUtf8(data));
}

export function confState(voters: readonly bigint[], learners: readonly bigint[] = []): ConfState {
  return { ...EMPTY_CONF_STATE, voters, learners };
}

export function snapshotAt(index: number, term: number, voters: readonly bigint[] = [1n, 2n, 3n]): Snapshot {
  return { data: utf8FromText(`state at ${index}`), metadata: { index, term, confState: confState(voters) } };
}

/** A storage whose snapshot, at index 1 of term 0, says who the members are; entries with these terms follow it. */
export function storageWith(
  voters: readonly bigint[],
  terms: readonly number[] = [],
  learners: readonly bigint[] = [],
) {
  const storage = new MemoryStorage();
  const metadata = { index: 1, term: 0, confState: confState(voters, learners) };
  storage.applySnapshot({ data: new Uint8Array(0), metadata });
  storage.append(entriesOf(terms, 2));
  return storage;
}

/** A configuration without limits; ticks are 10 to 1, and the election timeout is not drawn. */
export function configWith(id: bigint, storage: MemoryStorage, more: Partial<RaftConfig> = {}): RaftConfig {
  return {
    id,
    storage,
    electionTicks: 10,
    heartbeatTicks: 1,
    maxSizePerMessage: Number.POSITIVE_INFINITY,
    maxInflightMessages: 256,
    log: SILENT_LOGGER,
    random: { below: () => 0 },
    ...more,
  };
}
