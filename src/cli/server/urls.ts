/** URLs as etcd takes them: a scheme, a host and a port, nothing behind. Each function answers what is wrong, or undefined. */
import { isIP } from "node:net";

export function splitUrls(text: string): string[] {
  return text.split(",").map((url) => url.trim());
}

export function faultInUrl(url: string): string | undefined {
  const match = /^(https?|unixs?):\/\/([^/?#]*)(.*)$/.exec(url);
  if (match === null) return "must start with http://, https://, unix:// or unixs://";
  const [, scheme, , rest] = match as unknown as [string, string, string, string];
  if (scheme.startsWith("unix")) return undefined;
  if (hostOf(url) === undefined) return "must have a host and a port, as http://127.0.0.1:2379";
  return rest === "" ? undefined : "must have nothing behind the port";
}

/** For a URL of good form that this process is to listen on. */
export function faultInBinding(url: string): string | undefined {
  const host = hostOf(url);
  if (host === undefined || host === "localhost" || isIP(host) !== 0) return undefined;
  return "must have an IP address of this machine (or localhost) to listen on; 0.0.0.0 is all of them";
}

/** For a URL of good form that others are told. */
export function faultInTelling(url: string): string | undefined {
  return hostOf(url) === "" ? "must name a host that others reach" : undefined;
}

/** Without the brackets of an IPv6 address; undefined where there is no host with a port. */
function hostOf(url: string): string | undefined {
  const match = /^https?:\/\/(?:\[([^\]]*)\]|([^:/?#]*)):(\d+)(?=$|[/?#])/.exec(url);
  return match === null || Number(match[3]) > 65_535 ? undefined : (match[1] ?? match[2]);
}
