/** Why a snapshot was not restored, or not read. Each detail is etcdutl's sentence where etcdutl has one. */
import { CodedError } from "../base/errors.js";

export type RestoreErrorCode =
  | "RESTORE_CLUSTER_INVALID"
  | "RESTORE_OCCUPIED"
  | "RESTORE_UNFINISHED"
  | "RESTORE_SNAPSHOT_MISSING"
  | "RESTORE_SNAPSHOT_INVALID";

export class RestoreError extends CodedError<RestoreErrorCode> {
  override readonly name = "RestoreError";
}
