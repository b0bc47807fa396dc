/**
 * A downgrade of the cluster, as etcd 3.5 knows it: a version that the members are about to be started in, put into the log by the
 * Maintenance service and kept in `db`. 3.5 does no more with it than to let members of that version in, and to keep its own out.
 *
 *     bucket cluster, key downgrade    {"target-version":"3.4.0","enabled":true}
 */
import type { BucketTable } from "../base/bucket-table.js";
import { textFromUtf8, utf8FromText } from "../base/text.js";
import { CLUSTER_BUCKET } from "./buckets.js";

export interface Downgrade {
  readonly enabled: boolean;
  /** As `3.4.0`; empty when none is under way. */
  readonly targetVersion: string;
}

export const NO_DOWNGRADE: Downgrade = { enabled: false, targetVersion: "" };

const DOWNGRADE_KEY = utf8FromText("downgrade");

/** What `db` says; none where it says nothing, or nothing that can be read: 3.5 writes it, and earlier ones do not know it. */
export function readDowngrade(table: Pick<BucketTable, "get">): Downgrade {
  const stored = table.get(CLUSTER_BUCKET, DOWNGRADE_KEY);
  if (stored === undefined) return NO_DOWNGRADE;
  const { enabled, "target-version": targetVersion } = JSON.parse(textFromUtf8(stored)) as Record<string, unknown>;
  return { enabled: enabled === true, targetVersion: typeof targetVersion === "string" ? targetVersion : "" };
}

export function writeDowngrade(table: Pick<BucketTable, "put">, { enabled, targetVersion }: Downgrade): void {
  table.put(CLUSTER_BUCKET, DOWNGRADE_KEY, utf8FromText(JSON.stringify({ "target-version": targetVersion, enabled })));
}

/** The cluster version that a text names, as `3.4.0` for `3.4`, `3.4.7` or `3.4.0-rc.1`; undefined for what is no version. */
export function clusterVersionOf(text: string): string | undefined {
  const match = /^(\d+)\.(\d+)(?:\.\d+(?:-[0-9A-Za-z.-]*)?(?:\+[0-9A-Za-z.-]*)?)?$/.exec(text);
  return match === null ? undefined : `${Number(match[1])}.${Number(match[2])}.0`;
}

/** The only version that a cluster may be downgraded to: the minor version before its own. */
export function downgradeTargetOf(clusterVersion: string): string {
  const [major = 0, minor = 0] = clusterVersion.split(".").map(Number);
  return `${major}.${minor - 1}.0`;
}
