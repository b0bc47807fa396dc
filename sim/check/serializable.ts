/**
 * What may be behind, and still must be true: serializable reads, and all that a member says of itself.
 *
 * - A serializable read equals the model at the revision that its header names.
 * - One run of one member's process never answers from an older revision than it has answered from before: asked for less, it says no
 *   less. (A new run may: a member applies again what it had applied, and serves reads meanwhile, as etcd does.)
 * - Checksums of the same revision, from the same compaction on, are equal, whoever computed them.
 * - Headers: one cluster, one ID a member, a term that does not fall.
 *
 * The model comes from revision-witness.ts; without one the first law is left out.
 */
import { differenceOf } from "./difference.js";
import {
  hasWritten,
  isAnswered,
  isSerializable,
  type Answered,
  type History,
  type KeyValueRequest,
  type KeyValueResponse,
  type Operation,
} from "./history.js";
import type { Model } from "./model.js";
import type { Violation } from "./report.js";

export function checkSerializable(history: History, model: Model | undefined): Violation[] {
  return [
    ...(model === undefined ? [] : contentViolations(history, model)),
    ...backwardViolations(history),
    ...hashViolations(history),
    ...headerViolations(history),
  ];
}

function contentViolations(history: History, model: Model): Violation[] {
  const violations: Violation[] = [];
  for (const operation of history.operations) {
    if (!isAnswered(operation) || operation.request.kind === "hash" || !isSerializable(operation.request)) continue;
    const { response } = operation.outcome;
    const { revision } = response.header;
    const different = revision < model.firstRevision ? undefined : contentDifference(operation, model);
    if (different === undefined) continue;
    violations.push({
      law: "serializable-read",
      detail: `#${operation.id} at revision ${revision}: ${different}`,
      operations: [operation, ...history.operations.filter((other) => wrote(other, revision))],
    });
  }
  return violations;
}

function contentDifference(operation: Answered, model: Model): string | undefined {
  const { response } = operation.outcome;
  const { revision } = response.header;
  if (revision > model.revision) return `no such revision, the newest is ${model.revision}`;
  const request = operation.request as KeyValueRequest;
  const asked = request.kind === "range" ? (request.revision ?? 0) : 0;
  if (asked > 0 && asked < model.firstRevision) return undefined; // from before the history
  const expected = model.read(request, revision);
  if (expected.kind === "refused") return `answered, expected a refusal as ${expected.reason}`;
  return differenceOf(response as KeyValueResponse, expected.response);
}

function wrote(operation: Operation, revision: number): boolean {
  if (!isAnswered(operation)) return false;
  return operation.outcome.response.header.revision === revision && hasWritten(operation.outcome.response);
}

function backwardViolations(history: History): Violation[] {
  const violations: Violation[] = [];
  const told = history.operations.filter(isAnswered).sort((a, b) => a.outcome.at - b.outcome.at);
  const newest = new Map<string, Answered>();
  let next = 0;
  for (const operation of [...history.operations].sort((a, b) => a.called - b.called)) {
    for (; next < told.length && told[next]!.outcome.at < operation.called; next++) {
      const answer = told[next]!;
      const run = runOf(answer);
      const before = run === undefined ? undefined : newest.get(run);
      if (run !== undefined && (before === undefined || revisionOf(answer) > revisionOf(before)))
        newest.set(run, answer);
    }
    const run = runOf(operation);
    const before = run === undefined ? undefined : newest.get(run);
    if (before === undefined) continue;
    const fallsBack = backwardTo(operation, revisionOf(before));
    if (fallsBack === undefined) continue;
    violations.push({
      law: "member-goes-forward",
      detail: `#${operation.id} ${fallsBack}, after the same run of ${operation.member} had told revision ${revisionOf(before)} to #${before.id}`,
      operations: [operation, before],
    });
  }
  return violations;
}

/** How the outcome falls behind a revision that its member had reached. */
function backwardTo({ request, outcome }: Operation, reached: number): string | undefined {
  if (outcome.kind === "answered") {
    const { revision } = outcome.response.header;
    return revision < reached ? `was answered from revision ${revision}` : undefined;
  }
  if (outcome.kind !== "refused" || outcome.reason !== "future" || request.kind !== "range") return undefined;
  const asked = request.revision ?? 0;
  return asked > 0 && asked <= reached ? `was told that revision ${asked} is to come` : undefined;
}

function runOf({ member, run }: Operation): string | undefined {
  return run === undefined ? undefined : `${run} ${member}`;
}

function revisionOf({ outcome }: Answered): number {
  return outcome.response.header.revision;
}

function hashViolations(history: History): Violation[] {
  const violations: Violation[] = [];
  const first = new Map<string, Answered>();
  for (const operation of history.operations) {
    if (!isAnswered(operation)) continue;
    const { request } = operation;
    const { response } = operation.outcome;
    if (request.kind !== "hash" || response.kind !== "hash") continue;
    const revision = (request.revision ?? 0) > 0 ? request.revision! : response.header.revision;
    const place = `${revision} ${Math.max(0, response.compactRevision)}`;
    const other = first.get(place);
    if (other === undefined) first.set(place, operation);
    else if (other.outcome.response.kind === "hash" && other.outcome.response.hash !== response.hash) {
      violations.push({
        law: "equal-hashes",
        detail: `at revision ${revision} ${operation.member} has the checksum ${response.hash}, ${other.member} has ${other.outcome.response.hash}`,
        operations: [operation, other],
      });
    }
  }
  return violations;
}

function headerViolations(history: History): Violation[] {
  const violations: Violation[] = [];
  const tell = (operation: Answered, other: Answered, detail: string): void => {
    violations.push({ law: "header-is-steady", detail: `#${operation.id} ${detail}`, operations: [operation, other] });
  };
  let cluster: Answered | undefined;
  const members = new Map<string, Answered>();
  for (const operation of history.operations) {
    if (!isAnswered(operation)) continue;
    const { clusterId, memberId } = operation.outcome.response.header;
    if (clusterId !== undefined) {
      cluster ??= operation;
      const known = cluster.outcome.response.header.clusterId;
      if (clusterId !== known) tell(operation, cluster, `is of cluster ${clusterId}, #${cluster.id} of ${known}`);
    }
    if (memberId === undefined) continue;
    const known = members.get(operation.member);
    if (known === undefined) members.set(operation.member, operation);
    else if (known.outcome.response.header.memberId !== memberId) {
      tell(operation, known, `names member ${memberId}, #${known.id} ${known.outcome.response.header.memberId}`);
    }
  }
  return [...violations, ...termViolations(history)];
}

function termViolations(history: History): Violation[] {
  const violations: Violation[] = [];
  const told = history.operations
    .filter(isAnswered)
    .filter(({ outcome }) => outcome.response.header.raftTerm !== undefined)
    .sort((a, b) => a.outcome.at - b.outcome.at);
  const newest = new Map<string, Answered>();
  let next = 0;
  for (const operation of [...told].sort((a, b) => a.called - b.called)) {
    for (; next < told.length && told[next]!.outcome.at < operation.called; next++) {
      const answer = told[next]!;
      const before = newest.get(answer.member);
      if (before === undefined || termOf(answer) > termOf(before)) newest.set(answer.member, answer);
    }
    const before = newest.get(operation.member);
    if (before === undefined || termOf(operation) >= termOf(before)) continue;
    violations.push({
      law: "header-is-steady",
      detail: `#${operation.id} ${operation.member} is in term ${termOf(operation)}, after term ${termOf(before)} in #${before.id}`,
      operations: [operation, before],
    });
  }
  return violations;
}

function termOf({ outcome }: Answered): number {
  return outcome.response.header.raftTerm ?? 0;
}
