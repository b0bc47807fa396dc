/**
 * The members of a new cluster from DNS (`--discovery-srv`), as etcd finds them: the SRV records `_etcd-server-ssl._tcp.DOMAIN` (https) and
 * `_etcd-server._tcp.DOMAIN` (http) name a host and a port for each. This member is the record whose address is that of one of its own peer
 * URLs; the others get numbers for names, since nobody knows better yet and their IDs come from their URLs.
 *
 *     _etcd-server._tcp.example.com. 300 IN SRV 0 0 2380 m1.example.com.
 *
 * `clusterOf` decides; `discoverCluster` asks the system's DNS.
 */
import { lookup, resolveSrv } from "node:dns/promises";
import { describeError } from "../../base/errors.js";
import type { Log } from "../../platform/log.js";
import { ArgumentError } from "./arguments.js";

export interface SrvDiscovery {
  readonly domain: string;
  /** Behind a dash in the service's name (`--discovery-srv-name`); empty for none. */
  readonly serviceName: string;
}

/** As much of DNS as is asked. */
export interface NameService {
  srv(name: string): Promise<readonly { readonly name: string; readonly port: number; readonly priority: number }[]>;
  /** The address of a host. */
  address(host: string): Promise<string>;
}

/** A record with the address that its host has, as `10.0.0.1:2380`; undefined where it has none. */
export interface FoundRecord {
  readonly scheme: "http" | "https";
  readonly host: string;
  readonly port: number;
  readonly address: string | undefined;
}

/** One of this member's own peer URLs. */
interface OwnUrl {
  readonly scheme: string;
  readonly address: string;
}

type Cluster = Map<string, string[]>;

/**
 * The members that records name. One whose host has no address is left out, and so is this member's own where the scheme is another one than
 * that of its URL.
 *
 * @param records of one service, in the order of their priority
 */
export function clusterOf(records: readonly FoundRecord[], name: string, own: readonly OwnUrl[]): Cluster {
  const cluster: Cluster = new Map();
  let number = 0;
  for (const { scheme, host, port, address } of records) {
    if (address === undefined) continue;
    const self = own.find((url) => url.address === address);
    const memberName = self === undefined ? String(number++) : name;
    if (self !== undefined && self.scheme !== scheme) continue;
    const url = `${scheme}://${host}:${port}`;
    cluster.set(memberName, [...(cluster.get(memberName) ?? []), url]);
  }
  return cluster;
}

/** @throws ArgumentError when DNS names no member, or not this one */
export async function discoverCluster(
  { domain, serviceName }: SrvDiscovery,
  member: { readonly name: string; readonly peerUrls: readonly string[] },
  log: Log,
  names: NameService = SYSTEM_NAMES,
): Promise<Cluster> {
  const suffix = serviceName === "" ? "" : `-${serviceName}`;
  const failures: string[] = [];
  const cluster: Cluster = new Map();
  for (const [service, scheme] of [
    [`etcd-server-ssl${suffix}`, "https"],
    [`etcd-server${suffix}`, "http"],
  ] as const) {
    const query = `_${service}._tcp.${domain}`;
    try {
      const found = clusterOf(
        await recordsOf(query, scheme, names),
        member.name,
        await ownUrls(member.peerUrls, names),
      );
      for (const [name, urls] of found) cluster.set(name, [...(cluster.get(name) ?? []), ...urls]);
    } catch (error) {
      failures.push(`${query}: ${describeError(error)}`);
    }
  }
  const nodes = [...cluster].flatMap(([name, urls]) => urls.map((url) => `${name}=${url}`));
  for (const node of nodes) log.info("got bootstrap from DNS for etcd-server", { node });
  if (nodes.length === 0) {
    throw refusal(domain, `DNS names no member (${failures.join("; ") || "no host of a record has an address"})`);
  }
  if (!cluster.has(member.name)) {
    const detail = `cannot find local etcd member "${member.name}" in SRV records (${nodes.join(", ")}): a record must have the address and the port of one of --initial-advertise-peer-urls=${member.peerUrls.join(",")}`;
    throw refusal(domain, detail);
  }
  return cluster;
}

async function recordsOf(query: string, scheme: FoundRecord["scheme"], names: NameService): Promise<FoundRecord[]> {
  const records = [...(await names.srv(query))].sort((a, b) => a.priority - b.priority);
  return Promise.all(
    records.map(async ({ name, port }) => {
      const host = name.replace(/\.$/, "");
      const address = await names.address(host).then(
        (found) => `${found}:${port}`,
        () => undefined,
      );
      return { scheme, host, port, address };
    }),
  );
}

function ownUrls(peerUrls: readonly string[], names: NameService): Promise<OwnUrl[]> {
  return Promise.all(
    peerUrls.map(async (text) => {
      const { protocol, hostname, port } = new URL(text);
      const address = await names.address(hostname.replace(/^\[|\]$/g, ""));
      const scheme = protocol.slice(0, -1);
      return { scheme, address: `${address}:${port === "" ? (scheme === "https" ? 443 : 80) : port}` };
    }),
  );
}

function refusal(domain: string, detail: string): ArgumentError {
  return new ArgumentError("FLAG_INVALID", `--discovery-srv=${domain}: ${detail}`);
}

const SYSTEM_NAMES: NameService = {
  srv: (name) => resolveSrv(name),
  address: async (host) => (await lookup(host)).address,
};
