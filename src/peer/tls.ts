/**
 * TLS between members, with etcd's rules.
 *
 * - The listening side shows its certificate. With a trusted authority, or where client certificates are asked for, whoever
 *   connects must show one that the authority (the system's, where none is given) has signed.
 * - A client's certificate that names addresses must name the one that it comes from; one that names hosts must name one that
 *   leads to that address.
 * - Allowed names and host names are asked of the certificate of the other side, whichever side that is.
 * - The dialing side checks the host of the URL against the names in the certificate; the subject does not count as one.
 *
 * Files are read again when they have changed, so that certificates can be renewed while the member runs. A renewed pair that
 * cannot be read or does not fit is told in the log, and the old one stays in use.
 */
import { X509Certificate } from "node:crypto";
import { lookup, lookupService } from "node:dns/promises";
import { readFileSync, statSync } from "node:fs";
import type { Server, ServerOptions } from "node:https";
import { isIP } from "node:net";
import {
  type ConnectionOptions,
  createSecureContext,
  type SecureContextOptions,
  type SecureVersion,
  type TLSSocket,
} from "node:tls";
import { describeError } from "../base/errors.js";
import type { Log } from "../platform/index.js";
import { PeerError } from "./errors.js";

/** A file, or what would be in it. */
export type PemSource = { readonly path: string } | { readonly pem: string };

export interface PeerTlsSettings {
  /** Shown to those who connect; also to those who are dialed, unless there is a client's. */
  readonly certificate: PemSource;
  readonly key: PemSource;
  readonly clientCertificate?: PemSource;
  readonly clientKey?: PemSource;
  readonly trustedAuthority?: PemSource;
  /** Whether those who connect must show a certificate. A trusted authority asks for it, too. */
  readonly clientCertificateRequired?: boolean;
  /** The other side's certificate must have one of these common names. Not together with `allowedHostnames`. */
  readonly allowedNames?: readonly string[];
  /** The other side's certificate must be good for one of these hosts or addresses. */
  readonly allowedHostnames?: readonly string[];
  /** Lets a client's certificate name other addresses than the one it comes from. */
  readonly anyClientAddress?: boolean;
  /** Dials without looking at the other side's certificate: for certificates that members made themselves. */
  readonly unverified?: boolean;
  readonly minVersion?: SecureVersion;
  readonly maxVersion?: SecureVersion;
}

/** What the dialing side needs of TLS. */
export interface ClientTls {
  /** For a connection to this host. */
  options(host: string): ConnectionOptions;
  /** Looks at the certificate of a connection that stands; destroys the socket when it will not do. */
  verify(socket: TLSSocket): void;
}

/** What the listening side needs of TLS. */
export interface ServerTls {
  options(): ServerOptions;
  /** Takes over renewed files, before a connection shakes hands. */
  refresh(server: Server): void;
  /** Why the other side's certificate will not do; undefined when it does. */
  whyRefused(socket: TLSSocket): Promise<string | undefined>;
}

export interface PeerTls {
  readonly server: ServerTls;
  readonly client: ClientTls;
}

/** @throws PeerError PEER_TLS_INVALID: a file that cannot be read, a key that does not fit, settings that contradict each other */
export function loadPeerTls(settings: PeerTlsSettings, log: Log): PeerTls {
  assertConsistent(settings);
  const files = new TlsFiles(settings, log);
  return { server: new ListeningSide(settings, files), client: new DialingSide(settings, files) };
}

function assertConsistent({ allowedNames, allowedHostnames, clientCertificate, clientKey }: PeerTlsSettings): void {
  if ((allowedNames?.length ?? 0) > 0 && (allowedHostnames?.length ?? 0) > 0) {
    throw invalid("--peer-cert-allowed-cn and --peer-cert-allowed-hostname exclude each other: give one of them");
  }
  if ((clientCertificate === undefined) !== (clientKey === undefined)) {
    throw invalid("--peer-client-cert-file and --peer-client-key-file go together: give both or neither");
  }
}

function invalid(detail: string, cause?: unknown): PeerError {
  return new PeerError("PEER_TLS_INVALID", detail, cause === undefined ? undefined : { cause });
}

// ---- files --------------------------------------------------------------------------------------------------------

interface Pair {
  readonly cert: string;
  readonly key: string;
}

interface Material {
  readonly server: Pair;
  readonly client: Pair;
  readonly ca: string | undefined;
}

class TlsFiles {
  readonly #settings: PeerTlsSettings;
  readonly #log: Log;
  #stamp: string;
  #material: Material;

  constructor(settings: PeerTlsSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.#stamp = this.#stampNow();
    this.#material = this.#read();
  }

  /** What the files hold now. The same object while they do not change. */
  current(): Material {
    const stamp = this.#stampNow();
    if (stamp === this.#stamp) return this.#material;
    this.#stamp = stamp; // a bad file is told once, not at every connection
    try {
      this.#material = this.#read();
      this.#log.info("renewed peer certificates");
    } catch (error) {
      this.#log.warn("failed to renew peer certificates; the old ones stay in use", { error: describeError(error) });
    }
    return this.#material;
  }

  #stampNow(): string {
    const { certificate, key, clientCertificate, clientKey, trustedAuthority } = this.#settings;
    return [certificate, key, clientCertificate, clientKey, trustedAuthority].map(stampOf).join(" ");
  }

  #read(): Material {
    const { certificate, key, clientCertificate, clientKey, trustedAuthority } = this.#settings;
    const ca = trustedAuthority === undefined ? undefined : readPem(trustedAuthority);
    const server = readPair(certificate, key);
    const client =
      clientCertificate === undefined || clientKey === undefined ? server : readPair(clientCertificate, clientKey);
    if (ca !== undefined) {
      try {
        createSecureContext({ ca });
      } catch (cause) {
        throw invalid(
          `${nameOf(trustedAuthority!)} holds no certificate of an authority: ${describeError(cause)}`,
          cause,
        );
      }
    }
    return { server, client, ca };
  }
}

/** Changes when the file does. */
function stampOf(source: PemSource | undefined): string {
  if (source === undefined || "pem" in source) return "-";
  const stat = statSync(source.path, { throwIfNoEntry: false });
  return stat === undefined ? "gone" : `${stat.mtimeMs}/${stat.size}/${stat.ino}`;
}

function readPair(certificate: PemSource, key: PemSource): Pair {
  const pair = { cert: readPem(certificate), key: readPem(key) };
  try {
    createSecureContext(pair);
    return pair;
  } catch (cause) {
    throw invalid(
      `${nameOf(certificate)} and ${nameOf(key)} are no certificate with its key: ${describeError(cause)}`,
      cause,
    );
  }
}

function readPem(source: PemSource): string {
  if ("pem" in source) return source.pem;
  try {
    return readFileSync(source.path, "utf8");
  } catch (cause) {
    throw invalid(`${source.path} cannot be read: ${describeError(cause)}`, cause);
  }
}

function nameOf(source: PemSource): string {
  return "pem" in source ? "the PEM text given" : source.path;
}

// ---- the two sides ------------------------------------------------------------------------------------------------

class ListeningSide implements ServerTls {
  readonly #settings: PeerTlsSettings;
  readonly #files: TlsFiles;
  /** In use by each server. */
  readonly #used = new WeakMap<Server, Material>();

  constructor(settings: PeerTlsSettings, files: TlsFiles) {
    this.#settings = settings;
    this.#files = files;
  }

  options(): ServerOptions {
    const { clientCertificateRequired = false, trustedAuthority } = this.#settings;
    const required = clientCertificateRequired || trustedAuthority !== undefined;
    return { ...this.#context(this.#files.current()), requestCert: required, rejectUnauthorized: required };
  }

  #context({ server, ca }: Material): SecureContextOptions {
    return { ...server, ...(ca === undefined ? {} : { ca }), ...versionsOf(this.#settings) };
  }

  refresh(server: Server): void {
    const material = this.#files.current();
    if (this.#used.get(server) === material) return;
    this.#used.set(server, material);
    server.setSecureContext(this.#context(material));
  }

  async whyRefused(socket: TLSSocket): Promise<string | undefined> {
    const certificate = socket.getPeerX509Certificate();
    if (certificate === undefined) return undefined; // none was asked for, or the handshake would have failed
    const why = whyNotAllowed(certificate, this.#settings);
    if (why !== undefined || this.#settings.anyClientAddress === true) return why;
    return whyElsewhere(certificate, (socket.remoteAddress ?? "").replace(/^::ffff:/, ""));
  }
}

class DialingSide implements ClientTls {
  readonly #settings: PeerTlsSettings;
  readonly #files: TlsFiles;

  constructor(settings: PeerTlsSettings, files: TlsFiles) {
    this.#settings = settings;
    this.#files = files;
  }

  options(_host: string): ConnectionOptions {
    const { client, ca } = this.#files.current();
    return {
      ...client,
      ...(ca === undefined ? {} : { ca }),
      ...versionsOf(this.#settings),
      rejectUnauthorized: this.#settings.unverified !== true,
      checkServerIdentity: (name, { raw }) =>
        isGoodFor(new X509Certificate(raw), name)
          ? undefined
          : new PeerError("PEER_REFUSED", `the certificate of ${name} is not for that host`),
    };
  }

  verify(socket: TLSSocket): void {
    if (this.#settings.unverified === true) return;
    const certificate = socket.getPeerX509Certificate();
    const why = certificate === undefined ? "no certificate" : whyNotAllowed(certificate, this.#settings);
    if (why !== undefined) socket.destroy(new PeerError("PEER_REFUSED", `the other member's certificate: ${why}`));
  }
}

function versionsOf({ minVersion = "TLSv1.2", maxVersion }: PeerTlsSettings): SecureContextOptions {
  return maxVersion === undefined ? { minVersion } : { minVersion, maxVersion };
}

// ---- certificates -------------------------------------------------------------------------------------------------

/** Whether a name or an address is among those that the certificate is for. The subject is none of them, as in Go. */
function isGoodFor(certificate: X509Certificate, host: string): boolean {
  if (isIP(host) !== 0) return certificate.checkIP(host) !== undefined;
  return certificate.checkHost(host, { subject: "never" }) !== undefined;
}

function whyNotAllowed(certificate: X509Certificate, settings: PeerTlsSettings): string | undefined {
  const { allowedNames = [], allowedHostnames = [] } = settings;
  const name = commonNameOf(certificate);
  const allowed =
    (allowedNames.length === 0 || allowedNames.includes(name)) &&
    (allowedHostnames.length === 0 || allowedHostnames.some((host) => isGoodFor(certificate, host)));
  return allowed ? undefined : `client certificate authentication failed: "${name}" is not allowed`;
}

function commonNameOf(certificate: X509Certificate): string {
  const subject = certificate.subject as string | undefined; // Node's types do not know of an empty one
  const lines = (subject ?? "").split("\n").filter((line) => line.startsWith("CN="));
  return lines.at(-1)?.slice("CN=".length) ?? "";
}

/** Why a client's certificate does not belong to the address that it comes from; undefined when it does, or names none. */
async function whyElsewhere(certificate: X509Certificate, address: string): Promise<string | undefined> {
  const names = (certificate.subjectAltName ?? "").split(", ").filter((name) => name !== "");
  const hosts = names.filter((name) => name.startsWith("DNS:")).map((name) => name.slice("DNS:".length));
  const hasAddresses = names.some((name) => name.startsWith("IP Address:"));
  if (hosts.length === 0 && !hasAddresses) return undefined;
  if (hasAddresses && certificate.checkIP(address) !== undefined) return undefined;
  if (hosts.length === 0) return `the certificate is for ${names.join(", ")}, and comes from ${address}`;
  if (await leadsTo(hosts, address)) return undefined;
  return `tls: "${address}" does not match any of DNSNames "${hosts.join(" ")}"`;
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
