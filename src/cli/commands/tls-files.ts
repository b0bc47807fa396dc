/** Certificates and keys of a client, from the files that flags name. */
import { readFileSync } from "node:fs";
import { createSecureContext, type SecureContextOptions } from "node:tls";
import type { ClientOptions } from "../../client/index.js";
import { CommandFailure, ExitCode } from "./failure.js";

type Tls = NonNullable<ClientOptions["tls"]>;

export interface TlsFlags {
  /** Paths; empty where none is given. */
  readonly files: { readonly cert: string; readonly key: string; readonly cacert: string };
  /** Whether an endpoint without a scheme is spoken to in the clear when no file is given. */
  readonly isOffByDefault: boolean;
  readonly anyServer: boolean;
  /** What servers' certificates must be for; empty for the endpoint's own name. */
  readonly serverName: string;
}

/**
 * Undefined where no flag asks for TLS: https endpoints are checked by Node's own authorities then, and `--insecure-skip-tls-verify` alone does
 * nothing, as in etcdctl.
 *
 * @throws CommandFailure for files that cannot be read, or are not what they should be
 */
export function readTls({ files, isOffByDefault, anyServer, serverName }: TlsFlags): Tls | undefined {
  const { cert, key, cacert } = files;
  const asked = cert !== "" || key !== "" || cacert !== "" || serverName !== "" || !isOffByDefault;
  if (!asked) return undefined;
  if ((cert === "") !== (key === "")) {
    throw badArguments(`KeyFile and CertFile must both be present[key: ${key}, cert: ${cert}]`);
  }
  const pair = cert === "" ? {} : { cert: read(cert), key: read(key) };
  assertUsable(pair, key);
  const ca = cacert === "" ? {} : { ca: read(cacert) };
  assertUsable(ca, cacert);
  return { anyServer, ...pair, ...ca, ...(serverName === "" ? {} : { serverName }) };
}

/** Refuses now what no connection could use. */
function assertUsable(context: SecureContextOptions, path: string): void {
  try {
    createSecureContext(context);
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException;
    if (code === "ERR_OSSL_X509_KEY_VALUES_MISMATCH") {
      throw badArguments("tls: private key does not match public key", { cause });
    }
    throw badArguments(`tls: ${path} cannot be used: ${message}`, { cause });
  }
}

/** Go's words for a file that cannot be read. */
const FILE_FAULTS: Readonly<Record<string, string>> = {
  ENOENT: "no such file or directory",
  EACCES: "permission denied",
};

function read(path: string): Buffer {
  try {
    return readFileSync(path);
  } catch (cause) {
    const { code = "", message } = cause as NodeJS.ErrnoException;
    if (code === "EISDIR") throw badArguments(`read ${path}: is a directory`, { cause });
    throw badArguments(`open ${path}: ${FILE_FAULTS[code] ?? message}`, { cause });
  }
}

function badArguments(sentence: string, options?: ErrorOptions): CommandFailure {
  return new CommandFailure(ExitCode.badArguments, sentence, options);
}
