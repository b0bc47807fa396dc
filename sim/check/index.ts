/** Checkers of what clients saw and of what members did, however it was made. */
export { checkHistory, describeVerdict, type CheckOptions, type Verdict } from "./check-history.js";
export * from "./history.js";
export { fromEvents, fromRequest, fromResponse, refusalOf } from "./messages.js";
export { Model, type Applied } from "./model.js";
export {
  RaftInvariants,
  type HardState,
  type LogEntry,
  type MemberName,
  type Observation,
  type Promising,
} from "./raft-invariants.js";
export {
  describeOperation,
  describeViolation,
  drawTimeline,
  type ClientLaw,
  type RaftLaw,
  type Violation,
} from "./report.js";
export { checkByRevisions, type WitnessOptions, type WitnessVerdict } from "./revision-witness.js";
export { searchLinearization, type SearchOptions, type SearchVerdict } from "./search.js";
export { checkSerializable } from "./serializable.js";
