/**
 * TLS as etcd has it, for the ports of members and of clients: who shows which certificate, whose is good enough, and how certificates are
 * renewed while they are in use. Knows nothing of what is said over it.
 */
export { autoTls, type AutoTlsOptions } from "./auto-tls.js";
export { cipherList, whyNoHttp2 } from "./cipher-suites.js";
export type { ClientTls } from "./dialing.js";
export { TlsError } from "./errors.js";
export type { PemSource } from "./files.js";
export { logRefusal, type ServerTls } from "./listening.js";
export { isGoodFor } from "./names.js";
export { type TlsSettings, type TlsVersion, whyVersionsUnfit } from "./settings.js";
export { loadTls, type Tls } from "./tls.js";
