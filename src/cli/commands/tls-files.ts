/** Certificates and keys of a client, from the files that flags name. */
import { readFileSync } from "node:fs";
import { createSecureContext } from "node:tls";
import type { ClientOptions } from "../../client/index.js";
import { CommandFailure, ExitCode } from "./failure.js";

type Tls = NonNullable<ClientOptions["tls"]>;

export interface TlsFlags {
  /** Paths; empty where none is given. */
  readonly files: { readonly cert: string; readonly key: string; readonly cacert: string };
  readonly endpoints: readonly string[];
  /** Whether an endpoint without a scheme is spoken to in the clear when no file is given. */
  readonly isOffByDefault: boolean;
  readonly anyServer: boolean;
  /** What servers' certificates must be for; empty for the endpoint's own name. */
  readonly serverName: string;
}

/** @throws CommandFailure for files that cannot be read, or are not what they should be; undefined where nothing asks for TLS */
export function readTls({ files, endpoints, isOffByDefault, anyServer, serverName }: TlsFlags): Tls | undefined {
  const { cert, key, cacert } = files;
  const asked = cert !== "" || key !== "" || cacert !== "" || serverName !== "" || !isOffByDefault;
  if (!asked && !endpoints.some((endpoint) => /^(https|unixs):/.test(endpoint))) return undefined;
  if ((cert === "") !== (key === "")) {
    throw badArguments(`KeyFile and CertFile must both be present[key: ${key}, cert: ${cert}]`);
  }
  const tls: Tls = {
    anyServer,
    ...(cert === "" ? {} : { cert: read(cert), key: read(key) }),
    ...(cacert === "" ? {} : { ca: read(cacert) }),
    ...(serverName === "" ? {} : { serverName }),
  };
  try {
    const pem = (bytes: Uint8Array | undefined): Buffer | undefined => bytes && Buffer.from(bytes);
    createSecureContext({ ca: pem(tls.ca), cert: pem(tls.cert), key: pem(tls.key) });
  } catch (cause) {
    const named = [cert, key, cacert].filter((path) => path !== "").join(", ");
    throw badArguments(`${named}: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
  return tls;
}

function read(path: string): Uint8Array {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    const why = { ENOENT: "no such file or directory", EACCES: "permission denied" }[code] ?? message;
    throw badArguments(`open ${path}: ${why}`, { cause });
  }
}

function badArguments(sentence: string, options?: ErrorOptions): CommandFailure {
  return new CommandFailure(ExitCode.badArguments, sentence, options);
}
