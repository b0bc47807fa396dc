/** What `import ... from "walnut"` gives: a member that runs inside a Node program. */
export type { PeerTimeouts, PeerTls } from "./peer-port.js";
export { Walnut, type WalnutOptions } from "./walnut.js";
export { MemberError, RequestError, SERVED_VERSION, type MemberOptions, type MemberService } from "../server/index.js";
export { VERSION } from "./version.js";
