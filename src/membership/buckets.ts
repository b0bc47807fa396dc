/** The buckets of `db` that hold membership. */
export const MEMBERS_BUCKET = "members";
export const MEMBERS_REMOVED_BUCKET = "members_removed";
export const CLUSTER_BUCKET = "cluster";
