/**
 * The headers that members send with every request of raft's, and what is checked in them: that both speak versions which know
 * each other, and that both belong to the same cluster.
 */
import { memberIdText, parseMemberId } from "../membership/index.js";
import { PEER_URLS_MAX } from "../base/limits.js";
import type { LocalIdentity } from "./contract.js";
import { isPeerUrl } from "./urls.js";

/** Names in the case that Node has for what came in. */
export const CLUSTER_ID_HEADER = "x-etcd-cluster-id";
export const SERVER_VERSION_HEADER = "x-server-version";

export interface OwnVersions {
  /** As `3.5.30`. */
  readonly server: string;
  /** The oldest version of a cluster that this member works in, as `3.0.0`. */
  readonly minCluster: string;
}

/** A header's value, as Node gives it. */
export type HeaderValues = Readonly<Record<string, string | string[] | undefined>>;

/** What a member says of itself. */
export function identityHeaders(
  local: LocalIdentity,
  versions: OwnVersions,
  advertiseUrls: readonly string[],
): Record<string, string> {
  return {
    "X-Server-From": memberIdText(local.memberId),
    "X-Server-Version": versions.server,
    "X-Min-Cluster-Version": versions.minCluster,
    "X-Etcd-Cluster-ID": memberIdText(local.clusterId),
    "X-PeerURLs": advertiseUrls.join(","),
  };
}

/** etcd's texts; the dialing side knows them again. */
export const INCOMPATIBLE_VERSION = "incompatible version";
export const CLUSTER_ID_MISMATCH = "cluster ID mismatch";

/** Why a request is refused with 412, in etcd's words; undefined when it may go on. */
export function whyIncompatible(headers: HeaderValues, clusterId: bigint, own: OwnVersions): string | undefined {
  const server = minorOf(text(headers, SERVER_VERSION_HEADER));
  const minCluster = minorOf(text(headers, "x-min-cluster-version"));
  const compatible =
    server !== undefined &&
    minCluster !== undefined &&
    compareMinors(server, minorOf(own.minCluster)!) >= 0 &&
    compareMinors(minCluster, minorOf(own.server)!) <= 0;
  if (!compatible) return INCOMPATIBLE_VERSION;
  if (text(headers, CLUSTER_ID_HEADER) !== memberIdText(clusterId)) return CLUSTER_ID_MISMATCH;
  return undefined;
}

/** Whether the version that a member answered with knows both streams: 2.1 on. */
export function knowsStreams(version: string | undefined): boolean {
  const minor = minorOf(version ?? "");
  return minor !== undefined && compareMinors(minor, { major: 2, minor: 1 }) >= 0;
}

/** Who sends, and where it can be reached, for a member that does not know the sender yet. */
export function senderOf(headers: HeaderValues): { readonly id: bigint; readonly urls: readonly string[] } | undefined {
  const id = idFromText(text(headers, "x-server-from"));
  const urls = peerUrlsOf(headers);
  return id === undefined || urls.length === 0 ? undefined : { id, urls };
}

/** The URLs that the sender tells of itself; none when one of them cannot be dialed. */
export function peerUrlsOf(headers: HeaderValues): readonly string[] {
  const value = text(headers, "x-peerurls");
  if (value === "") return [];
  const urls = value.split(",").map((url) => url.trim());
  return urls.length <= PEER_URLS_MAX && urls.every(isPeerUrl) ? urls : [];
}

export function receiverOf(headers: HeaderValues): string {
  return text(headers, "x-raft-to");
}

/** The ID in a text that others sent; undefined for 0 and for what is none. */
export function idFromText(value: string): bigint | undefined {
  if (!/^[0-9a-f]{1,16}$/i.test(value)) return undefined;
  const id = parseMemberId(value);
  return id === 0n ? undefined : id;
}

/** A header that is missing, or there several times, is as good as empty. */
function text(headers: HeaderValues, name: string): string {
  const value = headers[name];
  return typeof value === "string" ? value : "";
}

interface Minor {
  readonly major: number;
  readonly minor: number;
}

/** Missing is 2.0.0: that version sent none. Undefined for what is no version. */
function minorOf(version: string): Minor | undefined {
  const match = /^(\d{1,9})\.(\d{1,9})\.\d{1,9}(?:[-+][0-9A-Za-z.+-]*)?$/.exec(version === "" ? "2.0.0" : version);
  return match === null ? undefined : { major: Number(match[1]), minor: Number(match[2]) };
}

function compareMinors(a: Minor, b: Minor): number {
  return a.major - b.major || a.minor - b.minor;
}
