/**
 * Certificates that are made here. A member with `--peer-auto-tls` signs its own: it hides what is said, and proves nothing of who
 * says it. Tests make authorities, and what these sign.
 *
 * They are written in DER by hand: a certificate is a dozen nested fields, and Node signs it. Keys are P-521, as etcd makes them.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import { concatBytes } from "../base/bytes.js";
import { utf8FromText } from "../base/text.js";

export interface Certificate {
  readonly certificatePem: string;
  readonly keyPem: string;
  /** What it signs others with. */
  readonly issuer: Issuer;
}

export interface Issuer {
  /** The subject, encoded. */
  readonly name: Uint8Array;
  readonly key: KeyObject;
}

export interface CertificateOptions {
  readonly organization?: string;
  readonly commonName?: string;
  /** Host names and addresses that it is for. */
  readonly hosts?: readonly string[];
  /** Milliseconds since 1970. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly uses: readonly ("server" | "client" | "authority")[];
  /** Who signs it; itself when left out. */
  readonly issuer?: Issuer;
}

export function makeCertificate(options: CertificateOptions): Certificate {
  const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "secp521r1" });
  const name = nameOf(options);
  const issuer = options.issuer ?? { name, key: privateKey };
  const serial = randomBytes(16);
  serial[0] = (serial[0]! & 0x7f) | 0x01; // positive, and in its shortest form
  const body = sequence(
    tlv(Tag.explicit(0), integer(Uint8Array.of(2))), // version 3
    integer(serial),
    SIGNATURE_ALGORITHM,
    issuer.name,
    sequence(time(options.notBefore), time(options.notAfter)),
    name,
    new Uint8Array(publicKey.export({ type: "spki", format: "der" })),
    tlv(Tag.explicit(3), extensions(options)),
  );
  const signature = sign("sha512", body, issuer.key);
  return {
    certificatePem: pem("CERTIFICATE", sequence(body, SIGNATURE_ALGORITHM, bitString(signature))),
    keyPem: privateKey.export({ type: "sec1", format: "pem" }) as string,
    issuer: { name, key: privateKey },
  };
}

function nameOf({ organization, commonName }: CertificateOptions): Uint8Array {
  const part = (id: string, value: string | undefined): Uint8Array[] =>
    value === undefined ? [] : [set(sequence(oid(id), tlv(Tag.utf8, utf8FromText(value))))];
  return sequence(...part("2.5.4.10", organization), ...part("2.5.4.3", commonName));
}

function extensions({ hosts = [], uses }: CertificateOptions): Uint8Array {
  const authority = uses.includes("authority");
  // Bits from the left: 0 digital signature, 2 key encipherment, 5 signs certificates. The number before them counts unused bits.
  const usage = authority ? [2, 2, 0b0000_0100] : [2, 5, 0b1010_0000];
  const ids = [
    ...(uses.includes("server") ? ["1.3.6.1.5.5.7.3.1"] : []),
    ...(uses.includes("client") ? ["1.3.6.1.5.5.7.3.2"] : []),
  ];
  const names = hosts.map((host) =>
    isIP(host) === 0 ? tlv(Tag.context(2), utf8FromText(host)) : tlv(Tag.context(7), addressBytes(host)),
  );
  return sequence(
    extension("2.5.29.15", Uint8Array.of(Tag.bits, ...usage), true),
    ...(ids.length === 0 ? [] : [extension("2.5.29.37", sequence(...ids.map(oid)))]),
    extension("2.5.29.19", authority ? sequence(Uint8Array.of(Tag.boolean, 1, 0xff)) : sequence(), true),
    ...(names.length === 0 ? [] : [extension("2.5.29.17", sequence(...names))]),
  );
}

function extension(id: string, value: Uint8Array, critical = false): Uint8Array {
  const flag = critical ? [Uint8Array.of(Tag.boolean, 1, 0xff)] : [];
  return sequence(oid(id), ...flag, tlv(Tag.octets, value));
}

function addressBytes(address: string): Uint8Array {
  if (isIP(address) === 4) return Uint8Array.from(address.split("."), Number);
  // `URL` writes IPv6 in its one short form; the gap stands for zeros.
  const [head = "", tail] = new URL(`http://[${address}]`).hostname.slice(1, -1).split("::");
  const groups = (text: string): string[] => text.split(":").filter((group) => group !== "");
  const after = tail === undefined ? [] : groups(tail);
  const gap = Array<string>(8 - groups(head).length - after.length).fill("0");
  const all = [...groups(head), ...gap, ...after].map((group) => Number.parseInt(group, 16));
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]));
}

// ---- DER ----------------------------------------------------------------------------------------------------------

const Tag = {
  boolean: 0x01,
  integer: 0x02,
  bits: 0x03,
  octets: 0x04,
  oid: 0x06,
  utf8: 0x0c,
  time: 0x18,
  sequence: 0x30,
  set: 0x31,
  context: (number: number): number => 0x80 + number,
  explicit: (number: number): number => 0xa0 + number,
} as const;

const SIGNATURE_ALGORITHM = sequence(oid("1.2.840.10045.4.3.4")); // ECDSA with SHA-512

/** Tag, length, value. */
function tlv(tag: number, value: Uint8Array): Uint8Array {
  return concatBytes([Uint8Array.of(tag, ...lengthBytes(value.length)), value]);
}

function lengthBytes(length: number): number[] {
  if (length < 0x80) return [length];
  if (length < 0x100) return [0x81, length];
  return [0x82, length >> 8, length & 0xff];
}

function sequence(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(Tag.sequence, concatBytes(parts));
}

function set(...parts: readonly Uint8Array[]): Uint8Array {
  return tlv(Tag.set, concatBytes(parts));
}

function integer(bytes: Uint8Array): Uint8Array {
  return tlv(Tag.integer, bytes);
}

function bitString(bytes: Uint8Array): Uint8Array {
  return tlv(Tag.bits, concatBytes([Uint8Array.of(0), bytes]));
}

/** The first two numbers share a byte, the others are written in groups of 7 bits. */
function oid(text: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = text.split(".").map(Number);
  const groups = rest.flatMap((number) => {
    const bytes = [number & 0x7f];
    for (let left = number >> 7; left > 0; left >>= 7) bytes.unshift(0x80 | (left & 0x7f));
    return bytes;
  });
  return tlv(Tag.oid, Uint8Array.of(first * 40 + second, ...groups));
}

/** Before 2050 a certificate has two digits for the year, from then on four. */
function time(milliseconds: number): Uint8Array {
  const digits = new Date(milliseconds).toISOString().replace(/[-:T]|\.\d+/g, "");
  const long = Number(digits.slice(0, 4)) >= 2050;
  return tlv(long ? Tag.time : UTC_TIME, utf8FromText(long ? digits : digits.slice(2)));
}

const UTC_TIME = 0x17;

function pem(label: string, bytes: Uint8Array): string {
  const lines =
    Buffer.from(bytes)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join("\n")}\n-----END ${label}-----\n`;
}
