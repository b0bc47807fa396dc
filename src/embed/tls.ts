/** TLS of a port, as a program or the flags ask for it: which files, and what of it is refused before anything is opened. */
import { autoTls, cipherList, type TlsSettings, type TlsVersion, whyVersionsUnfit } from "../tls/index.js";
import type { Platform } from "../platform/index.js";
import { makeFolderWithParents, MemberError } from "../server/index.js";

/** TLS of a port; paths of PEM files. */
export interface PortTlsOptions {
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
  /** For connections to others; the certificate and key of the port when left out. */
  readonly clientCertFile?: string | undefined;
  readonly clientKeyFile?: string | undefined;
  /** Certificates that others' are checked against; Node's own list when left out. With it whoever connects must show a certificate. */
  readonly trustedCaFile?: string | undefined;
  /** Whether whoever connects must show a certificate. */
  readonly clientCertAuth?: boolean;
  /** A list of revoked certificates, PEM or DER. */
  readonly crlFile?: string | undefined;
  /** Host names or addresses, for one of which the other side's certificate must be good; any when empty. */
  readonly allowedHostnames?: readonly string[];
  /** A certificate of this member's own making, below the data directory. Others' certificates are not checked then. */
  readonly auto?: boolean;
  /** Years that such a certificate is good for; 1 when left out. */
  readonly selfSignedValidityYears?: number;
  /** Cipher suites for TLS 1.2 by Go's names; Go's own choice when empty. */
  readonly cipherSuites?: readonly string[];
  /** TLS1.2 when left out. */
  readonly minVersion?: TlsVersion | undefined;
  readonly maxVersion?: TlsVersion | undefined;
}

/** TLS for clients. With `clientCertAuth` the common name of a client's certificate is its user's, unless it sends a token. */
export type ClientTls = PortTlsOptions;

/** TLS between members. */
export interface PeerTls extends PortTlsOptions {
  /** Common names, one of which a peer's certificate must have; any when empty. Not together with host names. */
  readonly allowedCommonNames?: readonly string[];
  /** Lets a peer's certificate name other addresses than the one it comes from. */
  readonly anyClientAddress?: boolean;
}

/** Whether the member makes the port's certificate itself: files that are given win. */
export function makesItsOwn({ auto, certFile, keyFile }: PortTlsOptions): boolean {
  return auto === true && certFile === undefined && keyFile === undefined;
}

/**
 * @param hosts what a certificate of the member's own making is for
 * @throws TlsError, DiskError
 */
export async function tlsSettings(
  tls: PeerTls,
  own: { readonly dataDir: string; readonly port: "client" | "peer"; readonly hosts: readonly string[] },
  platform: Platform,
): Promise<TlsSettings> {
  const { minVersion, maxVersion } = tls;
  const common = {
    cipherSuites: tls.cipherSuites ?? [],
    ...(minVersion === undefined ? {} : { minVersion }),
    ...(maxVersion === undefined ? {} : { maxVersion }),
  };
  if (makesItsOwn(tls)) {
    await makeFolderWithParents(platform.disk, own.dataDir);
    // Of all else that was asked for etcd passes over the rest, too: nobody is known by certificates that prove nothing.
    return { ...common, ...(await autoTls({ ...own, validityYears: tls.selfSignedValidityYears }, platform)) };
  }
  const file = <Name extends string>(name: Name, path: string | undefined): Partial<Record<Name, { path: string }>> =>
    path === undefined ? {} : ({ [name]: { path } } as Record<Name, { path: string }>);
  return {
    ...common,
    certificate: { path: tls.certFile! },
    key: { path: tls.keyFile! },
    ...file("clientCertificate", tls.clientCertFile),
    ...file("clientKey", tls.clientKeyFile),
    ...file("trustedAuthority", tls.trustedCaFile),
    ...file("revocationList", tls.crlFile),
    clientCertificateRequired: tls.clientCertAuth ?? false,
    allowedNames: tls.allowedCommonNames ?? [],
    allowedHostnames: tls.allowedHostnames ?? [],
    anyClientAddress: tls.anyClientAddress ?? false,
  };
}

/** A start that is refused for what it was told. */
export function refuseOptions(detail: string): never {
  throw new MemberError("OPTIONS_INVALID", detail);
}

/**
 * What etcd refuses at its start whatever a port speaks: of versions, cipher suites, and certificates of its own making.
 *
 * @throws MemberError `OPTIONS_INVALID`, TlsError `TLS_INVALID`
 */
export function checkCommon(tls: PortTlsOptions): void {
  const why = whyVersionsUnfit(tls);
  if (why !== undefined) refuseOptions(`${why}: look at --tls-min-version, --tls-max-version and --cipher-suites`);
  cipherList(tls.cipherSuites ?? []);
  if (makesItsOwn(tls) && (tls.selfSignedValidityYears ?? 1) <= 0) {
    refuseOptions("--self-signed-cert-validity must be greater than 0 (years)");
  }
}
