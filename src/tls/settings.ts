/** What one side of TLS can be told: etcd's `TLSInfo`, and what of it contradicts itself. */
import { cipherList } from "./cipher-suites.js";
import { invalid } from "./errors.js";
import type { PemSource } from "./files.js";

/** As etcd's flags name them. */
export type TlsVersion = "TLS1.2" | "TLS1.3";

export interface TlsSettings {
  /** Shown to those who connect; also to those who are dialed, unless there is a client's. */
  readonly certificate: PemSource;
  readonly key: PemSource;
  readonly clientCertificate?: PemSource;
  readonly clientKey?: PemSource;
  readonly trustedAuthority?: PemSource;
  /** Whether those who connect must show a certificate. A trusted authority asks for it, too. */
  readonly clientCertificateRequired?: boolean;
  /** Revoked certificates, DER or PEM; who shows one of them is turned away. */
  readonly revocationList?: PemSource;
  /** The other side's certificate must have one of these common names. Not together with `allowedHostnames`. */
  readonly allowedNames?: readonly string[];
  /** The other side's certificate must be good for one of these hosts or addresses. */
  readonly allowedHostnames?: readonly string[];
  /** Lets a client's certificate name other addresses than the one it comes from. */
  readonly anyClientAddress?: boolean;
  /** Dials without looking at the other side's certificate: for certificates that members made themselves. */
  readonly unverified?: boolean;
  /** Go's names; Go's own choice when empty. TLS 1.3 has its three, whatever this says. */
  readonly cipherSuites?: readonly string[];
  /** TLS 1.2 when left out. */
  readonly minVersion?: TlsVersion;
  readonly maxVersion?: TlsVersion;
}

/** @throws TlsError `TLS_INVALID` */
export function assertConsistent(settings: TlsSettings): void {
  const { allowedNames, allowedHostnames, clientCertificate, clientKey, cipherSuites = [] } = settings;
  if ((allowedNames?.length ?? 0) > 0 && (allowedHostnames?.length ?? 0) > 0) {
    throw invalid("allowed common names and allowed host names exclude each other: give one of them");
  }
  if ((clientCertificate === undefined) !== (clientKey === undefined)) {
    throw invalid("a client's certificate and its key go together: give both or neither");
  }
  cipherList(cipherSuites);
  const why = whyVersionsUnfit(settings);
  if (why !== undefined) throw invalid(why);
}

/** What etcd refuses of versions, in its words; undefined where they fit. */
export function whyVersionsUnfit({
  minVersion = "",
  maxVersion = "",
  cipherSuites = [],
}: {
  readonly minVersion?: string | undefined;
  readonly maxVersion?: string | undefined;
  readonly cipherSuites?: readonly string[] | undefined;
}): string | undefined {
  const unknown = [minVersion, maxVersion].find((version) => !["", "TLS1.2", "TLS1.3"].includes(version));
  if (unknown !== undefined) return `unexpected TLS version "${unknown}" (must be one of: TLS1.2, TLS1.3)`;
  if (maxVersion !== "" && minVersion > maxVersion) {
    return `min version (${minVersion}) is greater than max version (${maxVersion})`;
  }
  if (minVersion === "TLS1.3" && cipherSuites.length > 0) {
    return "cipher suites cannot be configured when only TLS1.3 is enabled";
  }
  return undefined;
}
