/** What `import ... from "walnut"` gives: a member that runs inside a Node program. */
export type { ClientLimits } from "./client-ports.js";
export type { PeerTimeouts } from "./peer-port.js";
export type { ClientTls, PeerTls, PortTlsOptions } from "./tls.js";
export { Walnut, type WalnutOptions } from "./walnut.js";
export { MemberError, RequestError, SERVED_VERSION, type MemberOptions, type MemberService } from "../server/index.js";
export { VERSION } from "./version.js";
