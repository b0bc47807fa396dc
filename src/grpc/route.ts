/**
 * What a request's field lines ask for. Made once for each block of lines that a connection's decoder gives, so calls of the same
 * client and method share it.
 */
import type { FieldBlock } from "../http2/index.js";
import { parseTimeout } from "./framing.js";
import type { Handler, HandlerTable } from "./handler.js";
import { GrpcError, GrpcStatus } from "./status.js";

export interface Route {
  readonly path: string;
  /** POST, and of gRPC's content type. */
  readonly isGrpc: boolean;
  readonly handler: Handler | undefined;
  /** Why the call fails before it is begun. */
  readonly refusal: GrpcError | undefined;
  /** Whether messages of the client may be compressed, and those to it are. */
  readonly gzip: boolean;
  /** What the client gives the call, from when it came. */
  readonly timeoutMs: number | undefined;
}

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
    const isGrpc = fields.get(":method") === "POST" && isGrpcType(fields.get("content-type"));
    const handler = this.#handlers.get(path);
    const encoding = fields.get("grpc-encoding") ?? "identity";
    const gzip = this.#gzip && encoding === "gzip";
    const timeout = fields.get("grpc-timeout");
    const timeoutMs = timeout === undefined ? undefined : parseTimeout(timeout);
    let refusal: GrpcError | undefined;
    if (handler === undefined) refusal = this.#unknown(path);
    else if (encoding !== "identity" && !gzip) {
      const text = `grpc: Decompressor is not installed for grpc-encoding ${JSON.stringify(encoding)}`;
      refusal = new GrpcError(GrpcStatus.unimplemented, text);
    } else if (timeout !== undefined && timeoutMs === undefined) {
      refusal = new GrpcError(GrpcStatus.internal, `malformed grpc-timeout: ${JSON.stringify(timeout)}`);
    }
    return { path, isGrpc, handler, refusal, gzip, timeoutMs };
  }

  /** grpc-go's answers. */
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

/** `application/grpc`, alone or with a format or parameters behind it. */
function isGrpcType(type: string | undefined): boolean {
  return type !== undefined && /^application\/grpc(?:$|[+;])/.test(type);
}
