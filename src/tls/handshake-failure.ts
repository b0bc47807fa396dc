/** Why a handshake came to nothing, in Go's words: whoever watches etcd's log looks for them. */
import type { TLSSocket } from "node:tls";

/** By the code that OpenSSL or Node gives. */
const WORDS: Readonly<Record<string, string>> = {
  ERR_SSL_HTTP_REQUEST: "tls: first record does not look like a TLS handshake",
  ERR_SSL_WRONG_VERSION_NUMBER: "tls: first record does not look like a TLS handshake",
  ERR_SSL_UNSUPPORTED_PROTOCOL: "tls: client offered only unsupported versions",
  ERR_SSL_NO_SHARED_CIPHER: "tls: no cipher suite supported by both client and server",
  ERR_SSL_NO_APPLICATION_PROTOCOL: "tls: client requested unsupported application protocols",
  ERR_SSL_PEER_DID_NOT_RETURN_A_CERTIFICATE: "tls: client didn't provide a certificate",
};

/** Why a certificate will not do, by Node's code. */
const UNFIT: Readonly<Record<string, string>> = {
  CERT_HAS_EXPIRED: "certificate has expired or is not yet valid",
  CERT_NOT_YET_VALID: "certificate has expired or is not yet valid",
  INVALID_PURPOSE: "certificate specifies an incompatible key usage",
  CERT_SIGNATURE_FAILURE: "certificate signed by unknown authority",
  DEPTH_ZERO_SELF_SIGNED_CERT: "certificate signed by unknown authority",
  SELF_SIGNED_CERT_IN_CHAIN: "certificate signed by unknown authority",
  UNABLE_TO_GET_ISSUER_CERT: "certificate signed by unknown authority",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "certificate signed by unknown authority",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "certificate signed by unknown authority",
};

export interface HandshakeFailure {
  readonly text: string;
  /** The client went away before it had said enough: what probes of a load balancer do all day. */
  readonly wentAway: boolean;
}

/** @param error of the server's `tlsClientError` @param socket whose handshake it was */
export function handshakeFailure(error: Error, socket: TLSSocket): HandshakeFailure {
  // Node tells of a certificate that will not do by closing the connection, and leaves the reason beside it.
  const unfit = socket.authorizationError as unknown;
  if (unfit !== null && unfit !== undefined) {
    const code = typeof unfit === "string" ? unfit : ((unfit as NodeJS.ErrnoException).code ?? "");
    return { text: `tls: failed to verify certificate: x509: ${UNFIT[code] ?? code}`, wentAway: false };
  }
  const { code = "", message, reason = message } = error as NodeJS.ErrnoException & { readonly reason?: string };
  if (code === "ECONNRESET" || code === "EPIPE") return { text: "EOF", wentAway: true };
  const alert = /(?:TLSV1|SSLV3)_ALERT_(.+)$/.exec(code)?.[1];
  if (alert !== undefined) return { text: `remote error: tls: ${alertName(alert)}`, wentAway: false };
  return { text: WORDS[code] ?? `tls: ${reason}`, wentAway: false };
}

function alertName(alert: string): string {
  const text = alert.toLowerCase().replaceAll("_", " ");
  return text === "unknown ca" ? "unknown certificate authority" : text;
}
