/**
 * Where an answer differs from the one that is right: the first field, with its path and both values. Every field of the answer's
 * body counts; of the header only the revision, since the rest is the member's own.
 */
import type { Change, KeyValue, KeyValueResponse } from "./history.js";

/** As `kvs[0].version: 3, expected 2`; undefined when they are equal. */
export function differenceOf(found: KeyValueResponse, expected: KeyValueResponse, at = ""): string | undefined {
  if (found.kind !== expected.kind) return `${at}kind: ${found.kind}, expected ${expected.kind}`;
  if (found.header.revision !== expected.header.revision) {
    return field(`${at}header.revision`, found.header.revision, expected.header.revision);
  }
  switch (found.kind) {
    case "put":
      return pairDifference(found.prevKv, (expected as typeof found).prevKv, `${at}prevKv`);
    case "range": {
      const right = expected as typeof found;
      return (
        field(`${at}count`, found.count, right.count) ??
        field(`${at}more`, found.more, right.more) ??
        pairsDifference(found.kvs, right.kvs, `${at}kvs`)
      );
    }
    case "delete": {
      const right = expected as typeof found;
      return (
        field(`${at}deleted`, found.deleted, right.deleted) ??
        pairsDifference(found.prevKvs, right.prevKvs, `${at}prevKvs`)
      );
    }
    case "txn": {
      const right = expected as typeof found;
      const own =
        field(`${at}succeeded`, found.succeeded, right.succeeded) ??
        field(`${at}responses.length`, found.responses.length, right.responses.length);
      if (own !== undefined) return own;
      for (let i = 0; i < found.responses.length; i++) {
        const inner = differenceOf(found.responses[i]!, right.responses[i]!, `${at}responses[${i}].`);
        if (inner !== undefined) return inner;
      }
      return undefined;
    }
  }
}

/** The same for the changes of a revision. */
export function changesDifference(found: readonly Change[], expected: readonly Change[]): string | undefined {
  const shared = Math.min(found.length, expected.length);
  for (let i = 0; i < shared; i++) {
    const a = found[i]!;
    const b = expected[i]!;
    const different =
      field(`changes[${i}].kind`, a.kind, b.kind) ??
      (a.kind === "put" && b.kind === "put"
        ? pairDifference(a.kv, b.kv, `changes[${i}].kv`)
        : field(`changes[${i}].key`, keyOf(a), keyOf(b)));
    if (different !== undefined) return different;
  }
  return field("changes.length", found.length, expected.length);
}

function keyOf(change: Change): string {
  return change.kind === "put" ? change.kv.key : change.key;
}

function pairsDifference(found: readonly KeyValue[], expected: readonly KeyValue[], at: string): string | undefined {
  const shared = Math.min(found.length, expected.length);
  for (let i = 0; i < shared; i++) {
    const different = pairDifference(found[i], expected[i], `${at}[${i}]`);
    if (different !== undefined) return different;
  }
  return field(`${at}.length`, found.length, expected.length);
}

function pairDifference(found: KeyValue | undefined, expected: KeyValue | undefined, at: string): string | undefined {
  if (found === expected) return undefined;
  if (found === undefined) return `${at}: none, expected the pair of revision ${expected!.modRevision}`;
  if (expected === undefined) return `${at}: the pair of revision ${found.modRevision}, expected none`;
  return (
    field(`${at}.key`, found.key, expected.key) ??
    field(`${at}.value`, found.value, expected.value) ??
    field(`${at}.modRevision`, found.modRevision, expected.modRevision) ??
    field(`${at}.createRevision`, found.createRevision, expected.createRevision) ??
    field(`${at}.version`, found.version, expected.version) ??
    field(`${at}.lease`, found.lease ?? "0", expected.lease ?? "0")
  );
}

function field(at: string, found: unknown, expected: unknown): string | undefined {
  return found === expected ? undefined : `${at}: ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`;
}
