/** All checkers on one history, and one verdict. */
import type { History } from "./history.js";
import { describeViolation, type Violation } from "./report.js";
import { checkByRevisions } from "./revision-witness.js";
import { searchLinearization } from "./search.js";
import { checkSerializable } from "./serializable.js";

export interface Verdict {
  readonly kind: "right" | "violated" | "undecided";
  readonly violations: readonly Violation[];
  /** Why the verdict is open. */
  readonly undecided: readonly string[];
  readonly operations: number;
  /** Answered, refused, of unknown outcome. */
  readonly outcomes: { readonly answered: number; readonly refused: number; readonly unknown: number };
  /** Requests of unknown outcome that took effect. */
  readonly tookEffect: number;
  /** Reads of revisions from before the history began: not judged. */
  readonly skipped: number;
  /** Revisions written since the start; undefined where their order is broken. */
  readonly revisions: number | undefined;
}

export interface CheckOptions {
  /** Also search for an order, which trusts no revision: for histories of some thousand operations at most. */
  readonly search?: boolean;
  readonly searchStepsMax?: number;
}

export function checkHistory(history: History, options: CheckOptions = {}): Verdict {
  const byRevisions = checkByRevisions(history);
  const violations = [...byRevisions.violations, ...checkSerializable(history, byRevisions.model)];
  const undecided = byRevisions.undecided === undefined ? [] : [byRevisions.undecided];
  if (options.search === true) {
    const { searchStepsMax } = options;
    const stepsMax = searchStepsMax === undefined ? {} : { stepsMax: searchStepsMax };
    const found = searchLinearization(history, { revisions: "observed", ...stepsMax });
    violations.push(...found.violations);
    if (found.kind === "undecided") undecided.push(`the search gave up after ${found.steps} steps`);
  }
  const outcomes = { answered: 0, refused: 0, unknown: 0 };
  for (const { outcome } of history.operations) outcomes[outcome.kind]++;
  return {
    kind: violations.length > 0 ? "violated" : undecided.length > 0 ? "undecided" : "right",
    violations,
    undecided,
    operations: history.operations.length,
    outcomes,
    tookEffect: byRevisions.placed.size,
    skipped: byRevisions.skipped,
    revisions: byRevisions.model && byRevisions.model.revision - history.start.revision,
  };
}

/** The verdict in a few lines, then each broken law with its picture. */
export function describeVerdict(verdict: Verdict): string {
  const { operations, outcomes, tookEffect, revisions } = verdict;
  const written = revisions === undefined ? "revisions out of order" : `${revisions} revisions`;
  const head =
    `${verdict.kind}: ${operations} operations (${outcomes.answered} answered, ${outcomes.refused} refused, ` +
    `${outcomes.unknown} of unknown outcome, of which ${tookEffect} took effect), ${written}`;
  const skipped =
    verdict.skipped === 0 ? [] : [`${verdict.skipped} reads from before the history began are not judged`];
  return [head, ...skipped, ...verdict.undecided, ...verdict.violations.map(describeViolation)].join("\n");
}
