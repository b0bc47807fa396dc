/**
 * Cipher suites by the names that Go, and so etcd, has for them.
 *
 * Without a choice Go offers ten for TLS 1.2, all with a key of their own for each connection; so does this room, in Go's order. The
 * three of TLS 1.3 cannot be chosen, neither in Go nor here.
 */
import { getCiphers } from "node:tls";
import { invalid } from "./errors.js";

const TLS13 = ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"];

/** OpenSSL's name of each suite below TLS 1.3 that Go knows, in the order in which Go prefers them, whatever was asked for. */
const BELOW_13: Readonly<Record<string, string>> = {
  TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256: "ECDHE-ECDSA-AES128-GCM-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256: "ECDHE-RSA-AES128-GCM-SHA256",
  TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384: "ECDHE-ECDSA-AES256-GCM-SHA384",
  TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384: "ECDHE-RSA-AES256-GCM-SHA384",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-ECDSA-CHACHA20-POLY1305",
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256: "ECDHE-RSA-CHACHA20-POLY1305",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA: "ECDHE-ECDSA-AES128-SHA",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA: "ECDHE-RSA-AES128-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA: "ECDHE-ECDSA-AES256-SHA",
  TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA: "ECDHE-RSA-AES256-SHA",
  TLS_RSA_WITH_AES_128_GCM_SHA256: "AES128-GCM-SHA256",
  TLS_RSA_WITH_AES_256_GCM_SHA384: "AES256-GCM-SHA384",
  TLS_RSA_WITH_AES_128_CBC_SHA: "AES128-SHA",
  TLS_RSA_WITH_AES_256_CBC_SHA: "AES256-SHA",
  TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA: "ECDHE-RSA-DES-CBC3-SHA",
  TLS_RSA_WITH_3DES_EDE_CBC_SHA: "DES-CBC3-SHA",
  TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256: "ECDHE-ECDSA-AES128-SHA256",
  TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256: "ECDHE-RSA-AES128-SHA256",
  TLS_RSA_WITH_AES_128_CBC_SHA256: "AES128-SHA256",
  TLS_ECDHE_ECDSA_WITH_RC4_128_SHA: "ECDHE-ECDSA-RC4-SHA",
  TLS_ECDHE_RSA_WITH_RC4_128_SHA: "ECDHE-RSA-RC4-SHA",
  TLS_RSA_WITH_RC4_128_SHA: "RC4-SHA",
};
const ORDER = Object.values(BELOW_13);
/** Go offers the first ones without being asked to. */
const OFFERED = ORDER.slice(0, 10);

/** Names that etcd knows besides. */
const ALIASES: Readonly<Record<string, string>> = {
  TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305: "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
  TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305: "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
};

const REQUIRED_BY_HTTP2 = ["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"];

/**
 * The `ciphers` of Node's TLS for these suites; for Go's own choice where there are none.
 *
 * @throws TlsError `TLS_INVALID` for a name that Go does not have, and for a suite that this Node does not have
 */
export function cipherList(suites: readonly string[]): string {
  const available = new Set(getCiphers());
  const chosen = new Set<string>();
  for (const name of suites.filter((name) => !TLS13.includes(name))) {
    const openssl = BELOW_13[ALIASES[name] ?? name];
    if (openssl === undefined) throw invalid(`unexpected TLS cipher suite "${name}"`);
    if (!available.has(openssl.toLowerCase())) {
      throw invalid(`cipher suite "${name}" is not in this Node's OpenSSL: leave it out`);
    }
    chosen.add(openssl);
  }
  const below13 = suites.length === 0 ? OFFERED : ORDER.filter((name) => chosen.has(name));
  return [...TLS13, ...below13].join(":");
}

/**
 * Why HTTP/2 cannot be spoken with these suites; undefined where it can. HTTP/2 asks every server of TLS 1.2 for one of two (RFC 9113,
 * 9.2.2), and Go's refuses to begin without. The words are Go's.
 */
export function whyNoHttp2(suites: readonly string[]): string | undefined {
  if (suites.length === 0 || suites.some((name) => REQUIRED_BY_HTTP2.includes(name))) return undefined;
  return `http2: TLSConfig.CipherSuites is missing an HTTP/2-required AES_128_GCM_SHA256 cipher (need at least one of ${REQUIRED_BY_HTTP2.join(" or ")})`;
}
