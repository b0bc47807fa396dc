/**
 * The dialing side of TLS, with etcd's rules: the host of the URL must be among the names of the certificate that is shown (the subject
 * does not count as one), and allowed names are asked of that side, too.
 */
import { X509Certificate } from "node:crypto";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { cipherList } from "./cipher-suites.js";
import { TlsError } from "./errors.js";
import type { CertificateFiles } from "./files.js";
import { TRUST, versionsOf } from "./listening.js";
import { isGoodFor, whyNotAllowed } from "./names.js";
import type { TlsSettings } from "./settings.js";

/** What the dialing side needs of TLS. */
export interface ClientTls {
  /** For a connection to this host. */
  options(host: string): ConnectionOptions;
  /** Looks at the certificate of a connection that stands; destroys the socket when it will not do. */
  verify(socket: TLSSocket): void;
}

export class DialingSide implements ClientTls {
  readonly #settings: TlsSettings;
  readonly #files: CertificateFiles;

  constructor(settings: TlsSettings, files: CertificateFiles) {
    this.#settings = settings;
    this.#files = files;
  }

  options(_host: string): ConnectionOptions {
    const { client, ca } = this.#files.current();
    return {
      ...client,
      ...(ca === undefined ? {} : { ca, ...TRUST }),
      ...versionsOf(this.#settings),
      ciphers: cipherList(this.#settings.cipherSuites ?? []),
      rejectUnauthorized: this.#settings.unverified !== true,
      checkServerIdentity: (name, { raw }) => whyNotServer(new X509Certificate(raw), name),
    };
  }

  verify(socket: TLSSocket): void {
    if (this.#settings.unverified === true) return;
    const certificate = socket.getPeerX509Certificate();
    const why = certificate === undefined ? "no certificate" : whyNotAllowed(certificate, this.#settings);
    if (why !== undefined) socket.destroy(new TlsError("TLS_REFUSED", `the other member's certificate: ${why}`));
  }
}

function whyNotServer(certificate: X509Certificate, host: string): TlsError | undefined {
  if (isGoodFor(certificate, host)) return undefined;
  return new TlsError("TLS_REFUSED", `the certificate of ${host} is not for that host`);
}
