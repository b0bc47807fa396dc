/**
 * Endpoints that a domain's SRV records name: `_etcd-client-ssl._tcp.DOMAIN` for https, `_etcd-client._tcp.DOMAIN` for http, each with a
 * suffix `-NAME` behind the service where there is one.
 */
import { CommandFailure, ExitCode } from "./failure.js";
import type { World } from "./world.js";

const SERVICES = [
  { scheme: "https", service: "etcd-client-ssl" },
  { scheme: "http", service: "etcd-client" },
] as const;

/**
 * @param name the suffix, or nothing
 * @param insecure whether endpoints without TLS are taken
 * @returns URLs, those of the lowest priority number first; none where every endpoint was insecure and left out
 * @throws CommandFailure where neither service has records
 */
export async function discoverEndpoints(
  domain: string,
  name: string,
  insecure: boolean,
  world: Pick<World, "resolveSrv" | "err">,
): Promise<string[]> {
  const faults: string[] = [];
  const found: string[] = [];
  for (const { scheme, service } of SERVICES) {
    const record = `_${service}${name === "" ? "" : `-${name}`}._tcp.${domain}`;
    const answer = await world.resolveSrv(record);
    if (typeof answer === "string") {
      faults.push(answer);
      continue;
    }
    const byPriority = [...answer].sort((a, b) => a.priority - b.priority || b.weight - a.weight);
    found.push(...byPriority.map(({ target, port }) => `${scheme}://${target}.:${port}`));
  }
  if (faults.length === SERVICES.length) {
    throw new CommandFailure(ExitCode.error, `dns lookup errors: ${faults.join(" and ")}`);
  }
  if (insecure) return found;
  return found.filter((endpoint) => {
    const isSecure = endpoint.startsWith("https:");
    if (!isSecure) world.err(`ignoring discovered insecure endpoint ${JSON.stringify(endpoint)}\n`);
    return isSecure;
  });
}
