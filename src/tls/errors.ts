/** What goes wrong with certificates, and with who shows them. */
import { CodedError } from "../base/errors.js";

/**
 * - `TLS_INVALID`: certificates, keys or lists of revoked ones that cannot be used, or settings that contradict each other
 * - `TLS_REFUSED`: the other side's certificate will not do
 */
export class TlsError extends CodedError<"TLS_INVALID" | "TLS_REFUSED"> {
  override readonly name = "TlsError";
}

/** A file or a setting that cannot be used. */
export function invalid(detail: string, cause?: unknown): TlsError {
  return new TlsError("TLS_INVALID", detail, cause === undefined ? undefined : { cause });
}
