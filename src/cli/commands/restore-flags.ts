/** The flags of `snapshot restore`: etcdutl's, with its defaults. */
import type { Command } from "commander";

export interface RestoreFlags {
  readonly dataDir?: string;
  readonly walDir?: string;
  readonly name: string;
  readonly initialCluster: string;
  readonly initialClusterToken: string;
  readonly initialAdvertisePeerUrls: string;
  readonly skipHashCheck?: boolean;
  readonly bumpRevision: string;
  readonly markCompacted?: boolean;
}

const PEER_URL_DEFAULT = "http://localhost:2380";

export function addRestoreFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "filename")
    .usage("<filename> --data-dir {output dir} [options]")
    .option("--data-dir <dir>", "path to the output data directory")
    .option("--wal-dir <dir>", "path to the WAL directory (use --data-dir if none given)")
    .option("--name <name>", "human-readable name for this member", "default")
    .option("--initial-cluster <cluster>", "initial cluster configuration", `default=${PEER_URL_DEFAULT}`)
    .option("--initial-cluster-token <token>", "initial cluster token", "etcd-cluster")
    .option("--initial-advertise-peer-urls <urls>", "list of this member's peer URLs", PEER_URL_DEFAULT)
    .option("--skip-hash-check", "ignore snapshot integrity hash value (required if copied from data directory)")
    .option("--bump-revision <count>", "how much to increase the latest revision after restore", "0")
    .option("--mark-compacted", "mark the latest revision after restore as compacted (with --bump-revision only)")
    .option("--initial-memory-map-size <bytes>", "means nothing here: files are not mapped into memory");
}
