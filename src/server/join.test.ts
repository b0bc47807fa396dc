import assert from "node:assert/strict";
import { test } from "node:test";
import type { Member } from "../membership/member.js";
import { checkNotBootstrapped, chooseCluster, findCluster, matchMembers, otherPeerUrls } from "./join.js";
import { defaultOptions, type MemberOptions } from "./options.js";
import type { PeerDoor, PeerVersions, RemoteCluster } from "./peers.js";

const CLUSTER = 0xcafen;
const URLS: Readonly<Record<string, string>> = { a: "http://a:2380", b: "http://b:2380", c: "http://c:2380" };

const options = (name: string, names: readonly string[] = ["a", "b", "c"]): MemberOptions => ({
  ...defaultOptions("/data/member"),
  name,
  initialCluster: new Map(names.map((each) => [each, [URLS[each]!]])),
  initialAdvertisePeerUrls: [URLS[name]!],
  initialClusterState: "existing",
});

const member = (id: bigint, url: string, clientUrls: readonly string[] = ["http://client"]): Member => ({
  id,
  peerUrls: [url],
  isLearner: false,
  name: clientUrls.length === 0 ? "" : `member-${id}`,
  clientUrls,
});

const members = [member(1n, URLS["a"]!), member(2n, URLS["b"]!), member(3n, URLS["c"]!, [])];

function door(cluster: RemoteCluster | undefined, versions?: PeerVersions): PeerDoor {
  const nothing = (): never => assert.fail("a member that finds its cluster asks for nothing else");
  return {
    connect: nothing,
    fetchCluster: () => Promise.resolve(cluster),
    fetchVersions: () => Promise.resolve(versions),
    fetchHashKv: nothing,
    promote: nothing,
    renewLease: nothing,
    leaseTimeToLive: nothing,
    close: () => Promise.resolve(),
  };
}

const versions = { server: "3.5.16", cluster: "3.5.0" };

test("a member is told by the cluster who it is, by its peer URLs", async () => {
  const joined = await findCluster(door({ clusterId: CLUSTER, members }, versions), options("c"));
  assert.deepEqual(joined, { clusterId: CLUSTER, memberId: 3n, members });
  assert.deepEqual(otherPeerUrls(options("c")), [URLS["a"], URLS["b"]]);
});

test("a cluster that is not the configured one is refused with what it is", () => {
  const two = members.slice(0, 2);
  assert.throws(() => matchMembers(options("c"), { clusterId: CLUSTER, members: two }), {
    code: "CLUSTER_MISMATCH",
    message: /member count is unequal: the cluster has 2, --initial-cluster 3/,
  });
  const strange = [...two, member(3n, "http://elsewhere:2380")];
  assert.throws(() => matchMembers(options("c"), { clusterId: CLUSTER, members: strange }), {
    code: "CLUSTER_MISMATCH",
    message: /no match found for member 3 at http:\/\/elsewhere:2380/,
  });
});

test("a cluster that does not answer, or has no version yet, cannot be joined", async () => {
  await assert.rejects(findCluster(door(undefined), options("c")), { code: "CLUSTER_UNREACHABLE" });
  const found = { clusterId: CLUSTER, members };
  await assert.rejects(findCluster(door(found, { server: "3.5.16", cluster: "not_decided" }), options("c")), {
    code: "CLUSTER_UNREACHABLE",
  });
});

test("a cluster of another version cannot be joined", async () => {
  for (const cluster of ["3.6.0", "4.0.0", "2.3.0"]) {
    const found = door({ clusterId: CLUSTER, members }, { server: cluster, cluster });
    await assert.rejects(findCluster(found, options("c")), { code: "CLUSTER_MISMATCH" }, cluster);
  }
});

test("a seat that was taken before is not taken again without its data", async () => {
  const found = door({ clusterId: CLUSTER, members });
  await assert.rejects(checkNotBootstrapped(found, options("a"), 1n), { code: "MEMBER_BOOTSTRAPPED" });
  await checkNotBootstrapped(found, options("c"), 3n); // never started
  await checkNotBootstrapped(door(undefined), options("a"), 1n); // nobody there
});

test("a member that was replaced is not begun again because one lags behind", () => {
  const before = { clusterId: CLUSTER, members: [...members.slice(0, 2), member(3n, URLS["c"]!)] };
  const after = { clusterId: CLUSTER, members: [...members.slice(0, 2), member(4n, URLS["c"]!, [])] };
  for (const remotes of [
    [before, after],
    [after, before],
  ])
    assert.equal(chooseCluster(options("c"), remotes).memberId, 4n);
});

test("an ID that was used is not taken with an empty log, whoever knows it", () => {
  const unaware = { clusterId: CLUSTER, members };
  const aware = { clusterId: CLUSTER, members: [...members.slice(0, 2), member(3n, URLS["c"]!)] };
  const removed = { clusterId: CLUSTER, members: members.slice(0, 2) };
  for (const remotes of [[aware], [aware, unaware], [unaware, aware], [removed, aware]])
    assert.throws(() => chooseCluster(options("c"), remotes), { code: "MEMBER_BOOTSTRAPPED", message: /member 3 has/ });
});

test("members that do not agree on an ID that nobody used are waited for", () => {
  const others = members.slice(0, 2);
  const remotes = [3n, 4n].map((id) => ({
    clusterId: CLUSTER,
    members: [...others, member(id, URLS["c"]!, [])],
  }));
  assert.throws(() => chooseCluster(options("c"), remotes), {
    code: "CLUSTER_MISMATCH",
    message: /one says member 3 of cluster cafe, another member 4 of cluster cafe/,
  });
  const [first] = remotes;
  const behind = { clusterId: CLUSTER, members: others };
  assert.equal(chooseCluster(options("c"), [behind, first!]).memberId, 3n);
});
