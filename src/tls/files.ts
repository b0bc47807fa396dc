/**
 * Files that may be renewed while they are in use.
 *
 * Whoever needs their content looks first whether they have changed: one `stat` of each. They are read only then, so a handshake costs no
 * read. A stamp that is as young as the reading proves nothing, for a file system's clock has steps, and a second write within one
 * changes neither time nor length: such a file is read again until its stamp has come of age.
 */
import { readFileSync, type Stats, statSync } from "node:fs";
import { createSecureContext } from "node:tls";
import { describeError } from "../base/errors.js";
import type { Log } from "../platform/index.js";
import { invalid, type TlsError } from "./errors.js";
import type { TlsSettings } from "./settings.js";

/** A file, or what would be in it. */
export type PemSource = { readonly path: string } | { readonly pem: string };

/** Longer than a step of any file system's clock. */
const COMING_OF_AGE_MS = 2_000;

type Outcome = { readonly texts: readonly Buffer[] } | { readonly error: TlsError };

/** The contents of some files, as they are now. */
export class RenewedFiles {
  readonly #sources: readonly PemSource[];
  #stamp: string | undefined;
  /** When the newest of them was changed, by their clock; milliseconds since 1970. */
  #changedAt = 0;
  #readAt = 0;
  #outcome: Outcome = { texts: [] };

  constructor(sources: readonly PemSource[]) {
    this.#sources = sources;
  }

  /**
   * The same array as long as the contents are the same.
   *
   * @throws TlsError `TLS_INVALID` when one of them cannot be read
   */
  current(): readonly Buffer[] {
    const stamp = this.#look();
    const isOfAge = Math.abs(this.#readAt - this.#changedAt) > COMING_OF_AGE_MS;
    if (stamp !== this.#stamp || !isOfAge) {
      this.#stamp = stamp;
      this.#readAt = Date.now();
      this.#outcome = sameOr(this.#outcome, this.#read());
    }
    if ("error" in this.#outcome) throw this.#outcome.error;
    return this.#outcome.texts;
  }

  #look(): string {
    this.#changedAt = 0;
    return this.#sources
      .map((source) => {
        const stat = "pem" in source ? undefined : statOf(source.path);
        if (stat === undefined) return "none";
        this.#changedAt = Math.max(this.#changedAt, stat.ctimeMs);
        return `${stat.mtimeMs}/${stat.ctimeMs}/${stat.size}/${stat.ino}`;
      })
      .join(" ");
  }

  #read(): Outcome {
    try {
      return { texts: this.#sources.map(contentOf) };
    } catch (error) {
      return { error: error as TlsError };
    }
  }
}

/** What cannot be looked at is found out when it is read. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

function contentOf(source: PemSource): Buffer {
  if ("pem" in source) return Buffer.from(source.pem);
  try {
    return readFileSync(source.path);
  } catch (cause) {
    throw invalid(`${source.path} cannot be read: ${describeError(cause)}`, cause);
  }
}

function sameOr(before: Outcome, after: Outcome): Outcome {
  if ("error" in before || "error" in after) {
    const same = "error" in before && "error" in after && before.error.message === after.error.message;
    return same ? before : after;
  }
  const same =
    before.texts.length === after.texts.length && before.texts.every((text, i) => text.equals(after.texts[i]!));
  return same ? before : after;
}

export function nameOf(source: PemSource): string {
  return "pem" in source ? "the PEM text given" : source.path;
}

// ---- certificates and their keys ----------------------------------------------------------------------------------

export interface Pair {
  readonly cert: string;
  readonly key: string;
}

/** What the files of a side hold. */
export interface Material {
  /** Shown to those who connect. */
  readonly server: Pair;
  /** Shown to those who are dialed. */
  readonly client: Pair;
  readonly ca: string | undefined;
}

/** The certificates of a side. A renewed pair that cannot be read or does not fit is told in the log, and the old one stays in use. */
export class CertificateFiles {
  readonly #settings: TlsSettings;
  readonly #log: Log;
  readonly #files: RenewedFiles;
  #texts: readonly Buffer[];
  #material: Material;
  /** A bad file is told once, not at every connection. */
  #told: string | undefined;

  /** @throws TlsError `TLS_INVALID`: a file that cannot be read, a key that does not fit */
  constructor(settings: TlsSettings, log: Log) {
    this.#settings = settings;
    this.#log = log;
    this.#files = new RenewedFiles(this.#sources);
    this.#texts = this.#files.current();
    this.#material = materialOf(settings, this.#texts);
  }

  get #sources(): readonly PemSource[] {
    const { certificate, key, clientCertificate, clientKey, trustedAuthority } = this.#settings;
    return [certificate, key, clientCertificate, clientKey, trustedAuthority].filter((source) => source !== undefined);
  }

  /** What the files hold now. The same object while they do not change. */
  current(): Material {
    try {
      const texts = this.#files.current();
      if (texts === this.#texts) return this.#material;
      this.#texts = texts;
      this.#material = materialOf(this.#settings, texts);
      this.#told = undefined;
      this.#log.info("renewed certificates", { "cert-file": nameOf(this.#settings.certificate) });
    } catch (error) {
      const { certificate, key } = this.#settings;
      const why = describeError(error);
      if (why !== this.#told) {
        this.#log.warn("failed to renew certificates; the old ones stay in use", {
          "cert-file": nameOf(certificate),
          "key-file": nameOf(key),
          error: why,
        });
      }
      this.#told = why;
    }
    return this.#material;
  }
}

/** @param texts of the settings' files, in the order of certificate, key, the client's, and the authority */
function materialOf(settings: TlsSettings, texts: readonly Buffer[]): Material {
  const { certificate, key, clientCertificate, clientKey, trustedAuthority } = settings;
  const left = texts.map(String);
  const server = pairOf(certificate, key, left.splice(0, 2));
  const client =
    clientCertificate === undefined || clientKey === undefined
      ? server
      : pairOf(clientCertificate, clientKey, left.splice(0, 2));
  const [ca] = left;
  if (ca !== undefined) {
    try {
      createSecureContext({ ca });
    } catch (cause) {
      const why = describeError(cause);
      throw invalid(`${nameOf(trustedAuthority!)} holds no certificate of an authority: ${why}`, cause);
    }
  }
  return { server, client, ca };
}

function pairOf(certificate: PemSource, key: PemSource, [certText = "", keyText = ""]: readonly string[]): Pair {
  const pair = { cert: certText, key: keyText };
  try {
    createSecureContext(pair);
    return pair;
  } catch (cause) {
    const names = `${nameOf(certificate)} and ${nameOf(key)}`;
    throw invalid(`${names} are no certificate with its key: ${describeError(cause)}`, cause);
  }
}
