/**
 * A network of its own for each member: Linux namespaces, joined by a bridge in one more of them. Members have addresses of
 * their own in 10.77.0.0/24, which nobody outside sees; the machine's own network is not touched.
 *
 * A member is reached by clients from outside through a pair of relays and a socket in the file system, which namespaces do not
 * divide. So clients stay at a member's side when it is cut off from the others.
 *
 * Needs root, `ip` and `nft`, and a kernel with namespaces, veth, bridges and nf_tables. Delay comes from proxies in the bridge's
 * namespace, since many kernels come without `netem`; lost packets are really lost.
 */
import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import type { Founding, Seat, StartOptions } from "./servers.js";
import { ProxyProcess, TcpProxy } from "./tcp-proxy.js";
import { run } from "./tools.js";

const SUBNET = "10.77.0";
/** Where the bridge's proxies listen in place of member n: 100 + n. */
const PROXY_OFFSET = 100;
const BRIDGE_HOST = 254;
/** Names begin so, and go on with the PID of their owner. */
const NAME = "walnut";

/** Why these tests cannot run here, as the `skip` option of a test; where `CI` is set nothing is skipped. */
export function skipNamespaces(): string | false {
  if ((process.env["CI"] ?? "") !== "") return false;
  if (process.getuid?.() !== 0) return "network namespaces need root";
  for (const [tool, debianPackage] of [
    ["ip", "iproute2"],
    ["nft", "nftables"],
  ] as const) {
    if (spawnSync("sh", ["-c", `command -v ${tool}`]).status !== 0)
      return `${tool} is not there: run 'apt-get install ${debianPackage}'`;
  }
  const probe = `${NAME}-${process.pid}-probe`;
  const made = spawnSync("ip", ["netns", "add", probe], { encoding: "utf8" });
  if (made.status !== 0) return `network namespaces cannot be made here: ${made.stderr.trim()}`;
  spawnSync("ip", ["netns", "del", probe]);
  return false;
}

interface Host {
  readonly number: number;
  readonly namespace: string;
  readonly address: string;
  readonly relay: ProxyProcess;
  readonly door: TcpProxy;
}

/** Peers reach each other straight, or through a proxy that delays. */
export type Wiring = "straight" | "proxied";

/** Namespaces of one cluster. */
export class MemberNetwork {
  readonly #folder: string;
  readonly #wiring: Wiring;
  readonly #name: string;
  readonly #hosts = new Map<string, Host>();
  #proxies: ProxyProcess | undefined;

  private constructor(folder: string, wiring: Wiring) {
    this.#folder = folder;
    this.#wiring = wiring;
    this.#name = `${NAME}-${process.pid}-${++networks}`;
  }

  /** @param folder for the relays' sockets */
  static async create(folder: string, wiring: Wiring = "straight"): Promise<MemberNetwork> {
    sweep();
    const network = new MemberNetwork(folder, wiring);
    const bridge = network.#bridge;
    await ip("netns", "add", bridge);
    await ip("-n", bridge, "link", "add", "br0", "type", "bridge");
    await ip("-n", bridge, "addr", "add", `${SUBNET}.${BRIDGE_HOST}/24`, "dev", "br0");
    await ip("-n", bridge, "link", "set", "lo", "up");
    await ip("-n", bridge, "link", "set", "br0", "up");
    if (wiring === "proxied") network.#proxies = new ProxyProcess(["ip", "netns", "exec", bridge]);
    return network;
  }

  /** For `ClusterOptions.placement`: the flags and the command that put a member into its namespace. */
  readonly place = async (seat: Seat, founding: Founding): Promise<Pick<StartOptions, "flags" | "wrap">> => {
    for (const each of founding.seats) await this.#host(each);
    const host = await this.#host(seat);
    const listen = `http://${host.address}:${seat.peerPort}`;
    const others = founding.seats.map((each) => `${each.name}=${this.#peerUrl(each)}`).join(",");
    return {
      wrap: ["ip", "netns", "exec", host.namespace],
      flags: Object.entries({
        "--listen-peer-urls": listen,
        "--initial-advertise-peer-urls": this.#peerUrl(seat),
        "--initial-cluster": others,
      }).flat(),
    };
  };

  /** Takes a member's cable out. */
  async cutOff(member: string): Promise<void> {
    await ip("-n", this.#bridge, "link", "set", this.#cable(member), "down");
  }

  /** Puts it in again. */
  async reconnect(member: string): Promise<void> {
    await ip("-n", this.#bridge, "link", "set", this.#cable(member), "up");
  }

  /** No packet of `from` arrives at `to` any more; those of `to` arrive at `from`. */
  async cutOneWay(from: string, to: string): Promise<void> {
    await this.#filter(to, `ip saddr ${this.#hosts.get(from)!.address} counter drop`);
  }

  /** So many of 100 packets from other members are lost on the way in, by chance. */
  async lose(percent: number): Promise<void> {
    for (const member of this.#hosts.keys())
      await this.#filter(member, `ip saddr ${SUBNET}.0/24 numgen random mod 100 < ${percent} counter drop`);
  }

  /** Packets that losses and one-way cuts took since they began. */
  async dropped(): Promise<number> {
    let packets = 0;
    for (const { namespace } of this.#hosts.values()) {
      const rules = await tool("ip", "netns", "exec", namespace, "nft", "list", "ruleset");
      for (const [, count] of rules.matchAll(/counter packets (\d+)/g)) packets += Number(count);
    }
    return packets;
  }

  /** Ends losses and one-way cuts. */
  async mend(): Promise<void> {
    for (const { namespace } of this.#hosts.values())
      await tool("ip", "netns", "exec", namespace, "nft", "flush", "ruleset");
  }

  /** Every byte between two members takes so long. Only where the wiring is proxied. */
  async delay(ms: number): Promise<void> {
    for (let wire = 0; wire < this.#hosts.size; wire++)
      await this.#proxies!.shape(wire, { delayMs: ms }, { delayMs: ms });
  }

  /** Takes everything down. Namespaces that processes still live in end with them. */
  async close(): Promise<void> {
    await this.#proxies?.close();
    for (const { relay, door, namespace } of this.#hosts.values()) {
      await door.close();
      await relay.close();
      await ip("netns", "del", namespace);
    }
    await ip("netns", "del", this.#bridge);
  }

  get #bridge(): string {
    return `${this.#name}-bridge`;
  }

  #cable(member: string): string {
    return `to-${member}`;
  }

  #peerUrl(seat: Seat): string {
    const { number } = this.#hosts.get(seat.name)!;
    return `http://${SUBNET}.${this.#wiring === "proxied" ? PROXY_OFFSET + number : number}:${seat.peerPort}`;
  }

  /** Makes the member's namespace and its relays at the first call. */
  async #host(seat: Seat): Promise<Host> {
    const known = this.#hosts.get(seat.name);
    if (known !== undefined) return known;
    const number = this.#hosts.size + 1;
    const namespace = `${this.#name}-${seat.name}`;
    const address = `${SUBNET}.${number}`;
    await ip("netns", "add", namespace);
    const cable = this.#cable(seat.name);
    await ip("-n", this.#bridge, "link", "add", cable, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    await ip("-n", this.#bridge, "link", "set", cable, "master", "br0", "up");
    await ip("-n", namespace, "addr", "add", `${address}/24`, "dev", "eth0");
    await ip("-n", namespace, "link", "set", "lo", "up");
    await ip("-n", namespace, "link", "set", "eth0", "up");
    const path = join(this.#folder, `${seat.name}.sock`);
    const inside = { host: "127.0.0.1", port: seat.clientPort };
    const relay = new ProxyProcess(["ip", "netns", "exec", namespace]);
    await relay.listen({ path }, inside);
    const door = await TcpProxy.listen(inside, { path });
    if (this.#proxies !== undefined) {
      const proxy = `${SUBNET}.${PROXY_OFFSET + number}`;
      await ip("-n", this.#bridge, "addr", "add", `${proxy}/24`, "dev", "br0");
      await this.#proxies.listen({ host: proxy, port: seat.peerPort }, { host: address, port: seat.peerPort });
    }
    const host = { number, namespace, address, relay, door };
    this.#hosts.set(seat.name, host);
    return host;
  }

  async #filter(member: string, rule: string): Promise<void> {
    const { namespace } = this.#hosts.get(member)!;
    const inNamespace = ["netns", "exec", namespace, "nft"];
    await tool("ip", ...inNamespace, "add table inet walnut");
    await tool("ip", ...inNamespace, "add chain inet walnut in { type filter hook input priority 0; }");
    await tool("ip", ...inNamespace, `add rule inet walnut in ${rule}`);
  }
}

let networks = 0;

async function ip(...args: string[]): Promise<void> {
  await tool("ip", ...args);
}

async function tool(command: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run(command, args);
  if (code !== 0) throw new Error(`${command} ${args.join(" ")}: ${stderr.trim()}`);
  return stdout;
}

/** Takes away namespaces whose owner was killed before it could. */
function sweep(): void {
  const { stdout } = spawnSync("ip", ["netns", "list"], { encoding: "utf8" });
  const alive = new Set(readdirSync("/proc"));
  for (const line of stdout.split("\n")) {
    const [name = ""] = line.split(" ");
    const owner = new RegExp(`^${NAME}-(\\d+)-`).exec(name)?.[1];
    if (owner !== undefined && !alive.has(owner)) spawnSync("ip", ["netns", "del", name]);
  }
}
