/**
 * The cluster that a restored member begins in: its members and their IDs, from the flags that every one of its members is given
 * alike. The checks are those of etcd before it makes a new member, in its order and its words.
 */
import { parsePeerUrls } from "../base/peer-urls.js";
import { compareIds, computeClusterId, computeMemberId, type Member } from "../membership/index.js";
import { RestoreError } from "./errors.js";

export interface ClusterOptions {
  readonly name: string;
  /** `name=URL,name=URL,…`; a name may come more than once. */
  readonly initialCluster: string;
  readonly initialClusterToken: string;
  readonly initialAdvertisePeerUrls: readonly string[];
}

export interface NewCluster {
  readonly clusterId: bigint;
  /** In ascending order of ID. */
  readonly members: readonly Member[];
  readonly self: Member;
}

/** @throws RestoreError `RESTORE_CLUSTER_INVALID` */
export function newCluster(options: ClusterOptions): NewCluster {
  const advertised = urlsOf(options.initialAdvertisePeerUrls);
  const urlsByName = new Map<string, readonly string[]>();
  for (const [name, urls] of parseInitialCluster(options.initialCluster)) urlsByName.set(name, urlsOf(urls));
  checkSelf(options.name, advertised, urlsByName);
  const all = [...urlsByName.values()].flat();
  if (new Set(all).size !== all.length) refuse(`initial cluster ${clusterText(urlsByName)} has duplicate url`);
  const members = [...urlsByName]
    .map(([name, peerUrls]): Member => ({
      id: computeMemberId(peerUrls, options.initialClusterToken),
      name,
      peerUrls,
      isLearner: false,
      clientUrls: [],
    }))
    .sort((a, b) => compareIds(a.id, b.id));
  const self = members.find(({ name }) => name === options.name)!; // checkSelf found it
  return { clusterId: computeClusterId(members.map(({ id }) => id)), members, self };
}

/** Empty parts are passed over; a part without `=` is a name without URLs, which fails later. */
function parseInitialCluster(text: string): Map<string, string[]> {
  const urlsByName = new Map<string, string[]>();
  for (const part of text.split(",")) {
    if (part === "") continue;
    const cut = part.indexOf("=");
    const name = cut < 0 ? part : part.slice(0, cut);
    const url = cut < 0 ? "" : part.slice(cut + 1);
    urlsByName.set(name, [...(urlsByName.get(name) ?? []), url]);
  }
  return urlsByName;
}

function urlsOf(texts: readonly string[]): readonly string[] {
  const parsed = parsePeerUrls(texts);
  return "fault" in parsed ? refuse(parsed.fault) : parsed.urls;
}

function checkSelf(
  name: string,
  advertised: readonly string[],
  urlsByName: ReadonlyMap<string, readonly string[]>,
): void {
  const own = urlsByName.get(name);
  if (own === undefined) return refuse(`couldn't find local name "${name}" in the initial cluster configuration`);
  const unannounced = own.filter((url) => !advertised.includes(url));
  if (unannounced.length > 0) {
    const quoted = (urls: readonly string[]): string => urls.map((url) => JSON.stringify(url)).join(" ");
    refuse(
      `--initial-cluster has ${unannounced.map((url) => `${name}=${url}`).join(",")} but missing from ` +
        `--initial-advertise-peer-urls=${advertised.join(",")} (resolved urls: ${quoted(advertised)} != ${quoted(own)})`,
    );
  }
  const unknown = advertised.filter((url) => !own.includes(url));
  if (unknown.length > 0) {
    refuse(
      `--initial-advertise-peer-urls has ${unknown.join(",")} but missing from ` +
        `--initial-cluster=${clusterText(new Map([[name, advertised]]))}`,
    );
  }
}

function clusterText(urlsByName: ReadonlyMap<string, readonly string[]>): string {
  const pairs = [...urlsByName].flatMap(([name, urls]) => urls.map((url) => `${name}=${url}`));
  return pairs.sort().join(",");
}

function refuse(detail: string): never {
  throw new RestoreError("RESTORE_CLUSTER_INVALID", detail);
}
