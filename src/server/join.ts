/**
 * What a member without a log finds out from others before it makes anything: whether its seat in a new cluster was taken before, and
 * which cluster it joins.
 *
 * Law: a member never begins with an empty log under an ID that was used before. What the one before it voted for and acknowledged would be
 * forgotten, and it could vote twice.
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
  if (remote !== undefined && wasStarted(remote, ownId)) throw alreadyBootstrapped(ownId);
}

/**
 * Asks the configured members for the cluster and finds this member in it. All are asked at once, for one that lags behind may still tell
 * of the member that this one takes the place of, at the same URLs: whoever knows that an ID was used is right about it. etcd takes the
 * first answer, and begins under any ID; its leader then sends the member a commit index beyond its log, and it panics.
 *
 * @throws MemberError `CLUSTER_UNREACHABLE`, `CLUSTER_MISMATCH`, `MEMBER_BOOTSTRAPPED`
 */
export async function findCluster(door: PeerDoor, options: MemberOptions): Promise<Joined> {
  const urls = otherPeerUrls(options);
  const answers = await Promise.all(urls.map((url) => door.fetchCluster([url])));
  const remotes = answers.filter((remote) => remote !== undefined);
  if (remotes.length === 0) {
    throw new MemberError(
      "CLUSTER_UNREACHABLE",
      `cannot fetch cluster info from peer urls: none of ${urls.join(", ") || "no other members"} answers. ` +
        "--initial-cluster must name the members that run, with the peer URLs that they advertise",
    );
  }
  const joined = chooseCluster(options, remotes);
  await checkVersions(door, joined.members, joined.memberId);
  return joined;
}

/**
 * The cluster that is joined, and the seat in it that nobody had before, out of what several members tell.
 *
 * @param remotes at least one
 * @throws MemberError `CLUSTER_MISMATCH` where none tells of the configured cluster, or they tell of different ones; `MEMBER_BOOTSTRAPPED`
 */
export function chooseCluster(options: MemberOptions, remotes: readonly RemoteCluster[]): Joined {
  const fitting: Joined[] = [];
  let mismatch: unknown;
  for (const remote of remotes) {
    try {
      const { clusterId, members } = remote;
      fitting.push({ clusterId, memberId: matchMembers(options, remote), members });
    } catch (error) {
      mismatch ??= error;
    }
  }
  if (fitting.length === 0) throw mismatch;
  const free = fitting.filter(({ memberId }) => !remotes.some((remote) => wasStarted(remote, memberId)));
  const [first] = free;
  if (first === undefined) throw alreadyBootstrapped(fitting[0]!.memberId);
  const other = free.find(({ clusterId, memberId }) => clusterId !== first.clusterId || memberId !== first.memberId);
  if (other === undefined) return first;
  const [one, another] = [first, other].map(
    ({ clusterId, memberId }) => `member ${memberIdText(memberId)} of cluster ${memberIdText(clusterId)}`,
  );
  throw new MemberError(
    "CLUSTER_MISMATCH",
    `the members do not agree on who "${options.name}" is: one says ${one}, another ${another}. One of them lags behind, or belongs to another ` +
      "cluster. Wait until `member list` is the same on all of them, then start again",
  );
}

/** A member tells the others its client URLs when it begins to serve. */
function wasStarted({ members }: RemoteCluster, memberId: bigint): boolean {
  return members.some(({ id, clientUrls }) => id === memberId && clientUrls.length > 0);
}

function alreadyBootstrapped(memberId: bigint): MemberError {
  return new MemberError(
    "MEMBER_BOOTSTRAPPED",
    `member ${memberIdText(memberId)} has already been bootstrapped: it was started before, and its data directory is gone. ` +
      "Remove it from the cluster and add it again (`member remove`, `member add`), then start it with --initial-cluster-state=existing",
  );
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

async function checkVersions(door: PeerDoor, members: readonly Member[], ownId: bigint): Promise<void> {
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
