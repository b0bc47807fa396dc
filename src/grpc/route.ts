/**
 * What a request's field lines ask for. Made once for each block of lines that a connection's decoder gives, so calls of the same
 * client and method share it.
 *
 * Refusals are in grpc-go's words, as etcd 3.5.30 gives them.
 */
import { type FieldBlock, type OutgoingField, OutgoingFields } from "../http2/index.js";
import { parseTimeout } from "./framing.js";
import type { Handler, HandlerTable } from "./handler.js";
import { GrpcError, GrpcStatus } from "./status.js";

export interface Route {
  readonly path: string;
  readonly isGrpc: boolean;
  readonly handler: Handler | undefined;
  /** Why the call fails before it is begun. */
  readonly refusal: GrpcError | undefined;
  /** Whether messages of the client may be compressed, and those to it are. */
  readonly gzip: boolean;
  /** What the client gives the call, from when it came. */
  readonly timeoutMs: number | undefined;
  /** The first lines of an answer, and those of one that is a status alone. */
  readonly head: OutgoingFields;
  readonly headAlone: readonly OutgoingField[];
}

const GRPC = "application/grpc";
const HEAD = OutgoingFields.constant([":status", "200"], ["content-type", GRPC]);
const GZIP_HEAD = OutgoingFields.constant([":status", "200"], ["content-type", GRPC], ["grpc-encoding", "gzip"]);

/** A timeout under this has passed before anything can be done; etcd answers so to a nanosecond. */
const TIMEOUT_MS_MIN = 0.01;

export class Router {
  readonly #handlers: HandlerTable;
  readonly #gzip: boolean;
  readonly #services: ReadonlySet<string>;

  /** `gzip`: whether compressed messages are taken. */
  constructor(handlers: HandlerTable, gzip: boolean) {
    this.#handlers = handlers;
    this.#gzip = gzip;
    this.#services = new Set([...handlers.keys()].map((path) => path.slice(1, path.lastIndexOf("/"))));
  }

  routeOf(fields: FieldBlock): Route {
    return (fields.memo ??= this.#make(fields)) as Route;
  }

  #make(fields: FieldBlock): Route {
    const path = fields.get(":path") ?? "";
    const subtype = subtypeOf(fields.get("content-type"));
    const handler = this.#handlers.get(path);
    const encoding = fields.get("grpc-encoding") ?? "identity";
    const timeout = fields.get("grpc-timeout");
    const timeoutMs = timeout === undefined ? undefined : parseTimeout(timeout);
    const gzip = this.#gzip && encoding === "gzip";
    const early = earlyRefusal(fields.get(":method") ?? "", timeoutMs);
    const type = subtype === undefined || subtype === "" ? GRPC : `${GRPC}+${subtype}`;
    return {
      path,
      isGrpc: subtype !== undefined,
      handler,
      refusal: early?.error ?? this.#refusal(path, handler, gzip ? "identity" : encoding, timeoutMs),
      gzip,
      timeoutMs: typeof timeoutMs === "number" ? timeoutMs : undefined,
      head: headOf(type, gzip),
      headAlone: [
        { name: ":status", value: String(early?.httpStatus ?? 200), reused: early === undefined },
        { name: "content-type", value: type, reused: type === GRPC },
      ],
    };
  }

  #refusal(
    path: string,
    handler: Handler | undefined,
    encoding: string,
    timeoutMs: number | GrpcError | undefined,
  ): GrpcError | undefined {
    if (handler === undefined) return this.#unknown(path);
    if (encoding !== "identity") {
      const text = `grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(encoding)}`;
      return new GrpcError(GrpcStatus.unimplemented, text);
    }
    if (typeof timeoutMs === "number" && timeoutMs < TIMEOUT_MS_MIN) {
      return new GrpcError(GrpcStatus.deadlineExceeded, "context deadline exceeded");
    }
    return undefined;
  }

  #unknown(path: string): GrpcError {
    const slash = path.lastIndexOf("/");
    const service = path.slice(1, slash);
    const method = path.slice(slash + 1);
    const text =
      slash < 1
        ? `malformed method name: ${JSON.stringify(path)}`
        : this.#services.has(service)
          ? `unknown method ${method} for service ${service}`
          : `unknown service ${service}`;
    return new GrpcError(GrpcStatus.unimplemented, text);
  }
}

/** What is refused by HTTP's status as well. */
function earlyRefusal(
  method: string,
  timeoutMs: number | GrpcError | undefined,
): { readonly error: GrpcError; readonly httpStatus: number } | undefined {
  if (method !== "POST") {
    const text = `Received a HEADERS frame with :method ${JSON.stringify(method)} which should be POST`;
    return { error: new GrpcError(GrpcStatus.internal, text), httpStatus: 405 };
  }
  return timeoutMs instanceof GrpcError ? { error: timeoutMs, httpStatus: 400 } : undefined;
}

function headOf(type: string, gzip: boolean): OutgoingFields {
  if (type === GRPC) return gzip ? GZIP_HEAD : HEAD;
  const encoding = gzip ? [{ name: "grpc-encoding", value: "gzip" }] : [];
  return OutgoingFields.of({ name: ":status", value: "200" }, { name: "content-type", value: type }, ...encoding);
}

/** What stands behind `application/grpc`: a format (`+proto`) or parameters, which answers repeat; undefined for other types. */
function subtypeOf(type: string | undefined): string | undefined {
  return /^application\/grpc(?:$|[+;](.*)$)/s.exec(type?.toLowerCase() ?? "")?.map((part) => part ?? "")[1];
}
