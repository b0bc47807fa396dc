/**
 * A server's JSON gateway, asked byte by byte: what was sent is in the test's hands (methods, targets and headers that no client makes), and what
 * came back is told so that two servers' answers can be compared.
 */
import http from "node:http";

export interface GatewayRequest {
  readonly path: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

export interface GatewayAnswer {
  readonly status: number;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
  /** The connection ended in the midst of the body, or this side left. */
  readonly isCut: boolean;
}

/** A server that says nothing for so long does not answer, which is told as status 0. */
const SILENCE_MS = 5_000;

/** @param leaveAfter lines of the body after which this side hangs up, for answers that do not end */
export async function askGateway(
  address: string,
  { path, method = "POST", headers = {}, body = "" }: GatewayRequest,
  leaveAfter = Infinity,
): Promise<GatewayAnswer> {
  const [host, port] = address.split(":");
  return new Promise((resolve, reject) => {
    const request = http.request({ host, port, path, method, headers, agent: false });
    request.on("error", (error) => reject(new Error(`${method} ${path} to ${address}: ${error.message}`)));
    request.on("response", (response) => {
      let text = "";
      const done = (isCut: boolean): void => {
        resolve({ status: response.statusCode!, headers: response.headers, body: text, isCut });
        request.destroy();
      };
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
        if (text.split("\n").length > leaveAfter) done(true);
      });
      response.on("end", () => done(!response.complete));
      response.on("error", () => done(true));
    });
    request.setTimeout(SILENCE_MS, () => {
      resolve({ status: 0, headers: {}, body: "", isCut: true });
      request.destroy();
    });
    request.end(body);
  });
}

/** Headers that clients and browsers look at. */
const TOLD_HEADERS = [
  "content-type",
  "grpc-metadata-content-type",
  "location",
  "allow",
  "x-content-type-options",
  "access-control-allow-origin",
  "access-control-allow-methods",
  "access-control-allow-headers",
];

/** Fields that tell of one member, one moment or chance: they must be there on both sides, or on neither. */
const MASKED = new Set(
  (
    "cluster_id member_id raft_term raftTerm raftIndex raftAppliedIndex leader dbSize dbSizeInUse memberID peerURLs clientURLs token hash " +
    "remaining_bytes blob"
  ).split(" "),
);
/** Fields of answers that the reference does not have: etcd 3.6 added them. */
const ADDED = new Set(["hash_revision", "storageVersion", "dbSizeQuota", "downgradeInfo"]);

/**
 * An answer as text, for comparison: its status, the headers above, and its JSON with the order of its fields. What `docs/gateway.md` says of
 * differences is evened out: `error` in a refusal, which must say what `message` does, and spaces.
 *
 * @param masked more fields to mask
 */
export function describeGatewayAnswer(
  { status, headers, body }: GatewayAnswer,
  masked: readonly string[] = [],
): string {
  const told = TOLD_HEADERS.filter((name) => headers[name] !== undefined).map(
    (name) => `${name}: ${String(headers[name])}`,
  );
  const isJson = headers["content-type"]?.startsWith("application/json") === true;
  const lines = isJson ? body.split("\n").map((line) => (line === "" ? "" : describeJson(line, masked))) : [body];
  return [status, ...told, ...lines].join("\n");
}

/** One line of JSON, evened out. */
export function describeJson(line: string, masked: readonly string[] = []): string {
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch {
    return `no JSON: ${line}`;
  }
  return JSON.stringify(evened(value, new Set([...MASKED, ...masked]))).replaceAll("\u00a0", " ");
}

function evened(value: unknown, masked: ReadonlySet<string>): unknown {
  if (Array.isArray(value)) return value.map((item) => evened(item, masked));
  if (typeof value !== "object" || value === null) return value;
  const fields = Object.entries(value).filter(([name]) => !ADDED.has(name));
  if (isRefusal(value)) return { code: value.code, message: value.message };
  return Object.fromEntries(
    fields.map(([name, found]) => [name, masked.has(name) ? "masked" : evened(found, masked)] as const),
  );
}

/** `error` and what older gateways have in a stream's error may stand beside these, and must say the same. */
function isRefusal(value: object): value is { readonly code: number; readonly message: string } {
  const { code, message, error = message, grpc_code = code, http_code: _, ...rest } = value as Record<string, unknown>;
  return (
    typeof code === "number" &&
    typeof message === "string" &&
    error === message &&
    grpc_code === code &&
    Object.keys(rest).length === 0
  );
}
