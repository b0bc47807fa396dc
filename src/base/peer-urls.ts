/**
 * Lists of peer URLs as etcd takes them: a scheme, a host with a port, nothing behind it. The API's checks, the client that refuses
 * before it asks, and the flags of a restore share it.
 *
 * What is wrong is told in the words of Go's `net/url` and etcd's `types.NewURLs`, for etcdctl prints them.
 */

/** URLs without blanks around them, in ascending order; or what is wrong with the first bad one. */
export type PeerUrls = { readonly urls: readonly string[] } | { readonly fault: string };

export function parsePeerUrls(texts: readonly string[]): PeerUrls {
  if (texts.length === 0) return { fault: "no valid URLs given" };
  const urls: string[] = [];
  for (const text of texts) {
    const url = text.trim();
    const fault = faultIn(url);
    if (fault !== undefined) return { fault };
    urls.push(url.replace(/^[^:]*/, (scheme) => scheme.toLowerCase()));
  }
  return { urls: urls.sort() };
}

/** The scheme, and what comes after its colon; no scheme when the text begins otherwise. */
const SCHEME = /^([a-zA-Z][a-zA-Z0-9+.-]*):(.*)$/s;
/** The authority between `//` and what ends it, then a path, if there is one. */
const AUTHORITY = /^\/\/([^/?#]*)([^?#]*)/s;

function faultIn(url: string): string | undefined {
  const unparsable = (why: string): string => `parse ${JSON.stringify(url)}: ${why}`;
  // oxlint-disable-next-line no-control-regex -- these are what Go refuses
  if (/[\u0000-\u001f\u007f]/.test(url)) return unparsable("net/url: invalid control character in URL");
  const [, scheme, rest] = SCHEME.exec(url) ?? [undefined, "", url];
  if (scheme === "") {
    if (url.startsWith(":")) return unparsable("missing protocol scheme");
    if (/^[^/?]*:/.test(url)) return unparsable("first path segment in URL cannot contain colon");
  }
  const [, authority = "", path = ""] = AUTHORITY.exec(rest) ?? [];
  const host = authority.slice(authority.lastIndexOf("@") + 1);
  const port = host.startsWith("[") ? host.slice(host.lastIndexOf("]") + 1) : host.slice(hostEnd(host));
  if (port !== "" && !/^:\d*$/.test(port)) {
    return unparsable(`invalid port ${JSON.stringify(port)} after host`);
  }
  if (host.includes(" ")) return unparsable('invalid character " " in host name');
  switch (scheme.toLowerCase()) {
    case "http":
    case "https":
      if (!/^(\[[^\]]*\]|[^:[\]]*):\d*$/.test(host)) {
        return `URL address does not have the form "host:port": ${url}`;
      }
      return path === "" ? undefined : `URL must not contain a path: ${url}`;
    case "unix":
    case "unixs":
      return undefined;
    default:
      return `URL scheme must be http, https, unix, or unixs: ${url}`;
  }
}

/** Where the port of a host without brackets begins, with its colon. */
function hostEnd(host: string): number {
  const colon = host.lastIndexOf(":");
  return colon < 0 ? host.length : colon;
}
