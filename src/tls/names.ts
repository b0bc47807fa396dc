/** Whom a certificate is for: as Go judges it, for that is who else judges the same certificates. */
import type { X509Certificate } from "node:crypto";
import { lookup, lookupService } from "node:dns/promises";
import { isIP } from "node:net";
import type { TlsSettings } from "./settings.js";

/** Whether a name or an address is among those that the certificate is for. The subject is none of them, as in Go. */
export function isGoodFor(certificate: X509Certificate, host: string): boolean {
  if (isIP(host) !== 0) return certificate.checkIP(host) !== undefined;
  return certificate.checkHost(host, { subject: "never", partialWildcards: false }) !== undefined;
}

/** The last one, where a subject has several; empty where it has none. */
export function commonNameOf(certificate: X509Certificate): string {
  // The other form of the subject is one text, in which a name's own commas and backslashes are escaped.
  const { subject } = certificate.toLegacyObject() as { readonly subject?: { readonly CN?: string | string[] } };
  const names = subject?.CN ?? "";
  return typeof names === "string" ? names : (names.at(-1) ?? "");
}

/** Why the names that the settings allow leave this certificate out; undefined when they do not. */
export function whyNotAllowed(
  certificate: X509Certificate,
  { allowedNames = [], allowedHostnames = [] }: Pick<TlsSettings, "allowedNames" | "allowedHostnames">,
): string | undefined {
  const name = commonNameOf(certificate);
  const allowed =
    (allowedNames.length === 0 || allowedNames.includes(name)) &&
    (allowedHostnames.length === 0 || allowedHostnames.some((host) => isGoodFor(certificate, host)));
  return allowed ? undefined : `client certificate authentication failed: "${name}" is not allowed`;
}

/** The host names and addresses of a certificate. */
export function hostsOf(certificate: X509Certificate): {
  readonly names: readonly string[];
  readonly addresses: readonly string[];
} {
  // Node puts what could be taken for several entries into quotes; no host looks like that.
  const entries = (certificate.subjectAltName ?? "").match(/(?:[^,"]|"(?:\\.|[^"\\])*")+/g) ?? [];
  const plain = entries.map((entry) => entry.trim()).filter((entry) => !entry.includes('"'));
  const all = (kind: string): string[] =>
    plain.filter((entry) => entry.startsWith(kind)).map((entry) => entry.slice(kind.length));
  return { names: all("DNS:"), addresses: all("IP Address:") };
}

/**
 * Why a client's certificate does not belong to the address that it comes from; undefined when it does, or names none. A certificate that
 * names addresses must name this one; one that names hosts must name one that leads to it. At once where no name must be looked up.
 */
export function whyElsewhere(
  certificate: X509Certificate,
  address: string,
): string | undefined | Promise<string | undefined> {
  const { names, addresses } = hostsOf(certificate);
  if (names.length === 0 && addresses.length === 0) return undefined;
  if (addresses.length > 0 && certificate.checkIP(address) !== undefined) return undefined;
  if (names.length === 0) {
    return `x509: certificate is valid for ${addresses.join(", ")}, not ${address}`;
  }
  return leadsTo(names, address).then((leads) =>
    leads ? undefined : `tls: "${address}" does not match any of DNSNames "${names.join(" ")}"`,
  );
}

/** Whether the name of this address is among the hosts, or one of the hosts has this address. */
async function leadsTo(hosts: readonly string[], address: string): Promise<boolean> {
  const name = await lookupService(address, 0).then(
    ({ hostname }) => hostname.replace(/\.$/, ""),
    () => "",
  );
  const matches = (host: string): boolean => (host.startsWith("*.") ? name.endsWith(host.slice(1)) : host === name);
  if (name !== "" && hosts.some(matches)) return true;
  for (const host of hosts.filter((host) => !host.startsWith("*."))) {
    const found = await lookup(host, { all: true }).catch(() => []);
    if (found.some((entry) => entry.address === address)) return true;
  }
  return false;
}
