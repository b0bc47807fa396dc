/**
 * Settings for a member that makes its certificate itself. Certificate and key lie in the data directory, where etcd keeps its own
 * (`fixtures/client` and `fixtures/peer`), and are used again by the next start, even when their time is over, as in etcd.
 *
 * Nobody's certificate is checked then: whoever reaches the port may talk, but nobody listens in.
 */
import { isIP } from "node:net";
import { utf8FromText } from "../base/text.js";
import { type Clock, type Disk, joinPath, publishFile } from "../platform/index.js";
import { makeCertificate } from "./certificates.js";
import { invalid } from "./errors.js";
import type { TlsSettings } from "./settings.js";

const YEAR_MS = 365 * 24 * 3_600_000;

export interface AutoTlsOptions {
  /** The data directory; it exists. */
  readonly dataDir: string;
  readonly port: "client" | "peer";
  /** Host names and addresses that the certificate is for. */
  readonly hosts: readonly string[];
  /** etcd's `--self-signed-cert-validity`: 1 when left out. */
  readonly validityYears?: number | undefined;
}

/** @throws DiskError, TlsError `TLS_INVALID` for a validity of no time */
export async function autoTls(
  { dataDir, port, hosts, validityYears = 1 }: AutoTlsOptions,
  { disk, clock }: { readonly disk: Disk; readonly clock: Clock },
): Promise<TlsSettings> {
  if (validityYears <= 0) throw invalid("--self-signed-cert-validity must be greater than 0 (years)");
  const fixtures = joinPath(dataDir, "fixtures");
  const folder = joinPath(fixtures, port);
  const certificate = { path: joinPath(folder, "cert.pem") };
  const key = { path: joinPath(folder, "key.pem") };
  const present = (await disk.stat(certificate.path)) !== undefined && (await disk.stat(key.path)) !== undefined;
  if (!present) {
    const now = clock.wallNow();
    const made = makeCertificate({
      organization: "etcd",
      hosts: [...new Set(hosts)].sort((a, b) => isIP(a) - isIP(b)), // names come first, as Go writes them
      notBefore: now,
      notAfter: now + validityYears * YEAR_MS,
      uses: ["server"],
    });
    await disk.makeFolder(fixtures);
    await disk.makeFolder(folder);
    // The key first: a certificate without its key, left by a crash, would be made again, too.
    for (const [{ path }, text] of [
      [key, made.keyPem],
      [certificate, made.certificatePem],
    ] as const) {
      await publishFile(disk, `${path}.tmp`, path, (file) => file.write([utf8FromText(text)], 0));
    }
    await disk.syncFolder(fixtures);
    await disk.syncFolder(dataDir);
  }
  return { certificate, key, unverified: true };
}
