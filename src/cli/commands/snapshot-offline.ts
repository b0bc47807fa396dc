/** `snapshot restore` and `snapshot status`, which ask no member: etcdutl's output. Loaded only for them. */
import { createHash } from "node:crypto";
import { resolve } from "node:path";
import { CodedError } from "../../base/errors.js";
import { memberIdText } from "../../membership/index.js";
import { nodePlatform } from "../../platform/node/index.js";
import { RestoreError, restoreSnapshot, snapshotStatus } from "../../restore/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { parseUnsigned } from "./go-text.js";
import type { RestoreFlags } from "./restore-flags.js";
import type { Run } from "./run.js";

export const snapshotRestore: Run<RestoreFlags> = async ({ world }, args, flags) => {
  const bumpRevision = parseUnsigned(flags.bumpRevision);
  if (typeof bumpRevision === "string") {
    const quoted = JSON.stringify(flags.bumpRevision);
    throw new CommandFailure(ExitCode.error, `invalid argument ${quoted} for "--bump-revision" flag: ${bumpRevision}`);
  }
  if (flags.dataDir === undefined) throw new CommandFailure(ExitCode.error, 'required flag(s) "data-dir" not set');
  const [snapshot] = args;
  if (snapshot === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "snapshot restore requires exactly one argument");
  }
  if (bumpRevision > 0 !== (flags.markCompacted === true)) {
    throw new CommandFailure(ExitCode.badArguments, "--mark-compacted required if --revision-bump > 0");
  }
  const dataDir = resolve(flags.dataDir || `${flags.name}.etcd`);
  const { memberId, clusterId } = await told(
    restoreSnapshot(
      { ...nodePlatform({ log: { level: "warn" } }), sha256: () => createHash("sha256") },
      {
        snapshot: resolve(snapshot),
        dataDir,
        walDir: flags.walDir === undefined || flags.walDir === "" ? undefined : resolve(flags.walDir),
        name: flags.name,
        initialCluster: flags.initialCluster,
        initialClusterToken: flags.initialClusterToken,
        initialAdvertisePeerUrls: flags.initialAdvertisePeerUrls.split(","),
        skipHashCheck: flags.skipHashCheck === true,
        bumpRevision,
      },
    ),
  );
  world.err(
    `walnut: ${dataDir} is member ${memberIdText(memberId)} of cluster ${memberIdText(clusterId)}; ` +
      "start it with the same --name and --data-dir\n",
  );
};

export const snapshotStatusOf: Run<object> = async ({ printer }, args) => {
  const [path] = args;
  if (path === undefined || args.length !== 1) {
    throw new CommandFailure(ExitCode.badArguments, "snapshot status requires exactly one argument");
  }
  printer.snapshotStatus(await told(snapshotStatus(nodePlatform({ log: { level: "warn" } }), resolve(path))));
};

/** Refusals are etcdutl's sentences, without our code in front. */
async function told<Value>(work: Promise<Value>): Promise<Value> {
  try {
    return await work;
  } catch (error) {
    if (error instanceof RestoreError) throw new CommandFailure(ExitCode.error, error.detail, { cause: error });
    if (error instanceof CodedError) throw new CommandFailure(ExitCode.error, error.message, { cause: error });
    throw error;
  }
}
