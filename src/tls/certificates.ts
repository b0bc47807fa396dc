/**
 * Certificates that are made here. A member with `--auto-tls` or `--peer-auto-tls` signs its own: it hides what is said, and proves
 * nothing of who says it. Tests make authorities, and what these sign.
 *
 * They are written in DER by hand: a certificate is a dozen nested fields, and Node signs it. Keys are P-521, as etcd makes them.
 */
import { generateKeyPairSync, type KeyObject, randomBytes, sign } from "node:crypto";
import { isIP } from "node:net";
import { utf8FromText } from "../base/text.js";
import { bitString, integer, oid, pem, sequence, set, Tag, time, tlv } from "./der.js";

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

/** In every signature made here. */
export const SIGNATURE_ALGORITHM = sequence(oid("1.2.840.10045.4.3.4")); // ECDSA with SHA-512

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
