/**
 * The listening side of TLS, with etcd's rules.
 *
 * - It shows its certificate. With a trusted authority, or where client certificates are asked for, whoever connects must show one that
 *   the authority (one of Node's own, where none is given) has signed for clients.
 * - Where the settings ask for it, a client's certificate that names addresses or hosts must name the one it comes from.
 * - Allowed names and host names are asked of the client's certificate; none that it sends may be revoked.
 *
 * Laws:
 * - A connection sees what the files hold when it begins to shake hands.
 * - Where certificates are asked for no session is resumed: each connection shows its own, and is judged by the files as they are then.
 */
import { constants, type X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { createSecureContext, type SecureContextOptions, type Server, type TlsOptions, type TLSSocket } from "node:tls";
import type { Log } from "../platform/index.js";
import { cipherList } from "./cipher-suites.js";
import { type CertificateFiles, type Material } from "./files.js";
import { handshakeFailure } from "./handshake-failure.js";
import { commonNameOf, hostsOf, whyElsewhere, whyNotAllowed } from "./names.js";
import { RevocationList } from "./revocations.js";
import type { TlsSettings } from "./settings.js";

/** What the listening side needs of TLS. */
export interface ServerTls {
  options(): TlsOptions;
  /** Takes over renewed files, before a connection shakes hands. */
  refresh(server: Server): void;
  /** Why the other side's certificate will not do; undefined when it does. At once where no name must be looked up. */
  whyRefused(socket: TLSSocket): string | undefined | Promise<string | undefined>;
  /** The common name of the certificate that the client showed; undefined where none was asked for. */
  commonName(socket: TLSSocket): string | undefined;
}

/** Node's names of them. Older ones are never spoken, as in etcd. */
export function versionsOf({
  minVersion,
  maxVersion,
}: TlsSettings): Pick<SecureContextOptions, "minVersion" | "maxVersion"> {
  const node = { "TLS1.2": "TLSv1.2", "TLS1.3": "TLSv1.3" } as const;
  return {
    minVersion: node[minVersion ?? "TLS1.2"],
    ...(maxVersion === undefined ? {} : { maxVersion: node[maxVersion] }),
  };
}

/** Go takes every certificate of the authority's file at its word, also one that another has signed. */
export const TRUST = { allowPartialTrustChain: true };

/**
 * Node takes this option for a context, and no server of Node's hands it on. So the server is given a context that was made with it, by the
 * name under which servers keep theirs; where a later Node has another name such an authority is not trusted, which harms nobody.
 */
function trustPartialChains(server: Server, context: SecureContextOptions): void {
  if (context.ca === undefined || !("_sharedCreds" in server)) return;
  (server as { _sharedCreds: unknown })._sharedCreds = createSecureContext({ ...context, sessionIdContext: "walnut" });
}

export class ListeningSide implements ServerTls {
  readonly #settings: TlsSettings;
  readonly #files: CertificateFiles;
  readonly #revoked: RevocationList | undefined;
  /** In use by each server. */
  readonly #used = new WeakMap<Server, Material>();

  constructor(settings: TlsSettings, files: CertificateFiles, log: Log) {
    this.#settings = settings;
    this.#files = files;
    if (settings.revocationList === undefined) return;
    this.#revoked = new RevocationList(settings.revocationList);
    const why = this.#revoked.whyRefused([]);
    if (why !== undefined) log.warn("no client with a certificate is served until this can be read", { error: why });
  }

  get #asksForCertificates(): boolean {
    const { clientCertificateRequired = false, trustedAuthority } = this.#settings;
    return clientCertificateRequired || trustedAuthority !== undefined;
  }

  options(): TlsOptions {
    const required = this.#asksForCertificates;
    return { ...this.#context(this.#files.current()), requestCert: required, rejectUnauthorized: required };
  }

  #context({ server, ca }: Material): SecureContextOptions {
    return {
      ...server,
      ...(ca === undefined ? {} : { ca, ...TRUST }),
      ...versionsOf(this.#settings),
      ciphers: cipherList(this.#settings.cipherSuites ?? []),
      honorCipherOrder: true,
      ...(this.#asksForCertificates ? { secureOptions: constants.SSL_OP_NO_TICKET } : {}),
    };
  }

  refresh(server: Server): void {
    const material = this.#files.current();
    if (this.#used.get(server) === material) return;
    this.#used.set(server, material);
    const context = this.#context(material);
    server.setSecureContext(context);
    trustPartialChains(server, context);
  }

  whyRefused(socket: TLSSocket): string | undefined | Promise<string | undefined> {
    const certificate = this.#certificateOf(socket);
    if (certificate === undefined) return undefined; // none was asked for, or the handshake would have failed
    const why = whyNotAllowed(certificate, this.#settings);
    if (why !== undefined) return why;
    const elsewhere =
      this.#settings.anyClientAddress === true ? undefined : whyElsewhere(certificate, addressOf(socket));
    if (elsewhere instanceof Promise) return elsewhere.then((why) => why ?? this.#whyRevoked(certificate));
    return elsewhere ?? this.#whyRevoked(certificate);
  }

  /** A certificate that nobody asked for is no certificate. */
  #certificateOf(socket: TLSSocket): X509Certificate | undefined {
    return this.#asksForCertificates ? socket.getPeerX509Certificate() : undefined;
  }

  #whyRevoked(certificate: X509Certificate): string | undefined {
    return this.#revoked?.whyRefused(chainOf(certificate));
  }

  commonName(socket: TLSSocket): string | undefined {
    const certificate = this.#certificateOf(socket);
    return certificate === undefined ? undefined : commonNameOf(certificate);
  }
}

/** The certificates that a client sent: its own, and those of who signed it. */
function chainOf(certificate: X509Certificate): X509Certificate[] {
  const chain = [certificate];
  for (let issuer = certificate.issuerCertificate; issuer !== undefined; issuer = issuer.issuerCertificate) {
    if (chain.some(({ fingerprint256 }) => fingerprint256 === issuer?.fingerprint256)) break;
    chain.push(issuer);
  }
  return chain;
}

function addressOf(socket: TLSSocket): string {
  return (socket.remoteAddress ?? "").replace(/^::ffff:/, "");
}

/**
 * Tells the log of a client that was turned away, with etcd's fields.
 *
 * @param error of the handshake, or why its certificate will not do
 */
export function logRefusal(log: Log, message: string, socket: TLSSocket, error: Error | string): void {
  const { text, wentAway } =
    typeof error === "string" ? { text: error, wentAway: false } : handshakeFailure(error, socket);
  const certificate = socket.destroyed ? undefined : socket.getPeerX509Certificate();
  const { servername } = socket as { readonly servername?: string | false | null };
  const hosts = certificate === undefined ? undefined : hostsOf(certificate);
  const fields = {
    "remote-addr": remoteOf(socket),
    "server-name": typeof servername === "string" ? servername : "",
    ...(hosts === undefined ? {} : { "ip-addresses": hosts.addresses, "dns-names": hosts.names }),
    error: text,
  };
  if (wentAway) log.debug(message, fields);
  else log.warn(message, fields);
}

/** A TLS socket that Node has closed has forgotten where it came from; the one below it has not, if it was asked before. */
function remoteOf(socket: TLSSocket): string {
  const below = (socket as { readonly _parent?: Socket | null })._parent ?? socket;
  return below.remoteAddress === undefined ? "" : `${below.remoteAddress}:${below.remotePort ?? 0}`;
}
