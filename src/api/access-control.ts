/**
 * Which HTTP requests the client port serves: etcd's `--cors` and `--host-whitelist`, and its refusal of certificates that name a user at the
 * gateway. gRPC does not come this way.
 */
import { type GateVerdict, type HttpGate, type HttpHead, plainAnswer } from "../grpc/index.js";

export interface AccessControl {
  /** Origins whose pages may ask, as `https://HOST:PORT`; `*` for all. */
  readonly cors: readonly string[];
  /** Names under which this server may be asked without TLS; `*` for all. Keeps pages from asking through a name of their own. */
  readonly hostWhitelist: readonly string[];
}

/** etcd's defaults. */
export const ACCESS_CONTROL_DEFAULTS: AccessControl = { cors: ["*"], hostWhitelist: ["*"] };

/** @param isNameTaken whether users are told by the names in their certificates now */
export function createGate({ cors, hostWhitelist }: AccessControl, isNameTaken: () => boolean): HttpGate {
  const allows = (list: readonly string[], value: string): boolean =>
    list.length === 0 || list.includes("*") || list.includes(value);
  return (head) => {
    const host = hostnameOf(head.header("host") ?? "");
    if (head.security === undefined && !allows(hostWhitelist, host)) return { headers: {}, answer: misdirected(host) };
    if (isNameTaken() && (head.security?.commonName ?? "") !== "" && /^\/v3(?:beta)?\//.test(head.path)) {
      const text = "CommonName of client sending a request against gateway will be ignored and not used as expected";
      return { headers: {}, answer: plainAnswer(400, text) };
    }
    const headers = crossOrigin(head, allows(cors, "*") ? "*" : undefined, (origin) => allows(cors, origin));
    if (head.method === "OPTIONS") return { headers, answer: { status: 200, body: "" } };
    return { headers };
  };
}

function crossOrigin(
  head: HttpHead,
  everyone: string | undefined,
  allows: (origin: string) => boolean,
): GateVerdict["headers"] {
  const origin = head.header("origin") ?? "";
  const allowed = everyone ?? (allows(origin) ? origin : undefined);
  if (allowed === undefined) return {};
  return {
    "access-control-allow-headers": "accept, content-type, authorization",
    "access-control-allow-methods": "POST, GET, OPTIONS, PUT, DELETE",
    "access-control-allow-origin": allowed,
  };
}

/** Without its port. */
function hostnameOf(host: string): string {
  const match = /^(?:\[([^\]]*)\]|([^:]*)):[^:]*$/.exec(host);
  return match === null ? host : (match[1] ?? match[2]!);
}

/** etcd's words to a client that asks under a foreign name. */
function misdirected(host: string): ReturnType<typeof plainAnswer> {
  const lines = [
    "",
    "etcd received your request, but the Host header was unrecognized.",
    "",
    "To fix this, choose one of the following options:",
    "- Enable TLS, then any HTTPS request will be allowed.",
    "- Add the hostname you want to use to the whitelist in settings.",
    `  - e.g. etcd --host-whitelist ${JSON.stringify(host)}`,
    "",
    'This requirement has been added to help prevent "DNS Rebinding" attacks (CVE-2018-5702).',
    "",
  ];
  return plainAnswer(421, lines.join("\n"));
}
