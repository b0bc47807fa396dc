/**
 * A list of revoked certificates (RFC 5280, 5), read as etcd reads it: the serial numbers count, whoever signed the list, whatever it says
 * of its age, and whoever issued the certificates.
 */
import type { X509Certificate } from "node:crypto";
import { fieldsOf, type DerField, Tag } from "./der.js";
import { describeError } from "../base/errors.js";
import { invalid } from "./errors.js";
import { nameOf, type PemSource, RenewedFiles } from "./files.js";

const PEM = /^-----BEGIN X509 CRL-----\s([A-Za-z0-9+/=\s]*)-----END X509 CRL-----/;

/** The serial numbers in a list, DER or PEM, as `serialOf` writes them. @throws TlsError `TLS_INVALID` for bytes that are none */
export function revokedSerials(bytes: Uint8Array): ReadonlySet<string> {
  const text = PEM.exec(Buffer.from(bytes).toString("latin1"))?.[1];
  const [list, ...behind] = fieldsOf(text === undefined ? bytes : Buffer.from(text, "base64"));
  const [body] = list?.tag === Tag.sequence ? fieldsOf(list.value) : [];
  if (body?.tag !== Tag.sequence || behind.length > 0) throw invalid("this is no list of revoked certificates");
  // Version, algorithm, issuer and times come before the entries, extensions behind them; two of these may be left out.
  const fields = fieldsOf(body.value);
  if (fields[0]?.tag === Tag.integer) fields.shift();
  const [algorithm, issuer, thisUpdate, ...rest] = fields;
  if (algorithm?.tag !== Tag.sequence || issuer?.tag !== Tag.sequence || !isTime(thisUpdate)) {
    throw invalid("this is no list of revoked certificates");
  }
  if (isTime(rest[0])) rest.shift();
  const [entries] = rest;
  if (entries?.tag !== Tag.sequence) return new Set();
  return new Set(fieldsOf(entries.value).map(serialOfEntry));
}

const isTime = (field: DerField | undefined): boolean => field?.tag === Tag.utcTime || field?.tag === Tag.time;

function serialOfEntry({ tag, value }: DerField): string {
  const [serial] = tag === Tag.sequence ? fieldsOf(value) : [];
  if (serial?.tag !== Tag.integer) throw invalid("an entry of the list of revoked certificates has no serial number");
  return hexOf(Buffer.from(serial.value).toString("hex"));
}

/** Pairs of lower-case digits, without zeros in front. */
function hexOf(digits: string): string {
  const number = digits.toLowerCase().replace(/^-?(00)*/, "");
  return number.length % 2 === 0 ? number : `0${number}`;
}

function serialOf(certificate: X509Certificate): string {
  const digits = certificate.serialNumber;
  return hexOf(digits.length % 2 === 0 ? digits : `0${digits}`);
}

/** The list of a file, as it is at each look. */
export class RevocationList {
  readonly #source: PemSource;
  readonly #files: RenewedFiles;
  #texts: readonly Buffer[] | undefined;
  #serials: ReadonlySet<string> = new Set();

  constructor(source: PemSource) {
    this.#source = source;
    this.#files = new RenewedFiles([source]);
  }

  /** Why a client that showed these certificates is turned away; undefined where none of them is revoked. */
  whyRefused(certificates: readonly X509Certificate[]): string | undefined {
    try {
      this.#renew();
    } catch (error) {
      return describeError(error); // a list that cannot be read may name any certificate
    }
    const revoked = certificates.map(serialOf).find((serial) => this.#serials.has(serial));
    return revoked === undefined ? undefined : `transport: certificate serial ${revoked} revoked`;
  }

  #renew(): void {
    const texts = this.#files.current();
    if (texts === this.#texts) return;
    this.#texts = undefined;
    try {
      this.#serials = revokedSerials(texts[0]!);
    } catch (cause) {
      throw invalid(`${nameOf(this.#source)}: ${describeError(cause)}`, cause);
    }
    this.#texts = texts;
  }
}
