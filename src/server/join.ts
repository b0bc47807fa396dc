/**
 * What a member without a log finds out from others before it makes anything: whether its seat in a new cluster was taken before, and
 * which cluster it joins.
 */
import { memberIdText, type Member } from "../membership/member.js";
import { isOlderVersion } from "./cluster-version.js";
import { CLUSTER_VERSION } from "./contract.js";
import { MemberError } from "./errors.js";
import type { MemberOptions } from "./options.js";
import type { PeerDoor, RemoteCluster } from "./peers.js";

const VERSION_MIN = "3.0.0";

/** The cluster that is joined, with the ID that it gave this member. */
export interface Joined {
  readonly clusterId: bigint;
  readonly memberId: bigint;
  readonly members: readonly Member[];
}

/** Peer URLs of the configured members other than this one, in a fixed order. */
export function otherPeerUrls(options: MemberOptions): string[] {
  return [...options.initialCluster].flatMap(([name, urls]) => (name === options.name ? [] : [...urls])).sort();
}

/**
 * A member whose data was lost must not begin anew under its old ID: it could vote twice.
 *
 * @throws MemberError `MEMBER_BOOTSTRAPPED`
 */
export async function checkNotBootstrapped(door: PeerDoor, options: MemberOptions, ownId: bigint): Promise<void> {
  const urls = otherPeerUrls(options);
  if (urls.length === 0) return;
  const remote = await door.fetchCluster(urls);
  const known = remote?.members.find(({ id }) => id === ownId);
  if (known === undefined || known.clientUrls.length === 0) return;
  throw new MemberError(
    "MEMBER_BOOTSTRAPPED",
    `member ${memberIdText(ownId)} has already been bootstrapped: it was started before, and its data directory is gone. ` +
      "Remove it from the cluster and add it again (`member remove`, `member add`), then start it with --initial-cluster-state=existing",
  );
}

/**
 * Asks the configured members for the cluster and finds this member in it.
 *
 * @throws MemberError `CLUSTER_UNREACHABLE`, `CLUSTER_MISMATCH`
 */
export async function findCluster(door: PeerDoor, options: MemberOptions): Promise<Joined> {
  const urls = otherPeerUrls(options);
  const remote = await door.fetchCluster(urls);
  if (remote === undefined) {
    throw new MemberError(
      "CLUSTER_UNREACHABLE",
      `cannot fetch cluster info from peer urls: none of ${urls.join(", ") || "no other members"} answers. ` +
        "--initial-cluster must name the members that run, with the peer URLs that they advertise",
    );
  }
  const memberId = matchMembers(options, remote);
  await checkVersions(door, remote, memberId);
  return { clusterId: remote.clusterId, memberId, members: remote.members };
}

/** The ID of this member in the cluster, whose members must be those of `--initial-cluster`, told apart by their peer URLs. */
export function matchMembers(options: MemberOptions, { clusterId, members }: RemoteCluster): bigint {
  const refuse = (why: string): never => {
    const known = members.map(({ id, peerUrls }) => `${memberIdText(id)}=${peerUrls.join(",")}`).join("; ");
    throw new MemberError(
      "CLUSTER_MISMATCH",
      `error validating peerURLs of cluster ${memberIdText(clusterId)} (${known}): ${why}. ` +
        "Give --initial-cluster as `member add` printed it",
    );
  };
  if (members.length !== options.initialCluster.size) {
    return refuse(
      `member count is unequal: the cluster has ${members.length}, --initial-cluster ${options.initialCluster.size}`,
    );
  }
  let own: bigint | undefined;
  for (const { id, peerUrls } of members) {
    const match = [...options.initialCluster].find(([, urls]) => sameUrls(urls, peerUrls));
    if (match === undefined) return refuse(`no match found for member ${memberIdText(id)} at ${peerUrls.join(",")}`);
    if (match[0] === options.name) own = id;
  }
  return own ?? refuse(`none of them has the peer URLs of "${options.name}"`);
}

/** Host names are compared as they are written; etcd would also take different names of one address. */
function sameUrls(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && [...a].sort().join() === [...b].sort().join();
}

async function checkVersions(door: PeerDoor, { members }: RemoteCluster, ownId: bigint): Promise<void> {
  let answers = 0;
  for (const { id, peerUrls } of members) {
    if (id === ownId) continue;
    const cluster = (await door.fetchVersions(peerUrls))?.cluster;
    if (cluster === undefined || !/^\d+\.\d+/.test(cluster)) continue;
    answers++;
    if (!isOlderVersion(cluster, VERSION_MIN) && !isOlderVersion(CLUSTER_VERSION, cluster)) continue;
    throw new MemberError(
      "CLUSTER_MISMATCH",
      `incompatible with current running cluster: it has version ${cluster} as member ${memberIdText(id)} tells, and this server ` +
        `serves ${VERSION_MIN} to ${CLUSTER_VERSION}; start a server of that version`,
    );
  }
  if (answers > 0) return;
  throw new MemberError(
    "CLUSTER_UNREACHABLE",
    "incompatible with current running cluster: no member tells a cluster version; wait until the cluster has decided on one, then start again",
  );
}
