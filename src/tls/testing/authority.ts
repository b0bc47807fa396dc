/** An authority of a test's own, and certificates and lists of revoked ones that it signs. */
import { sign, X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  type Certificate,
  type CertificateOptions,
  type Issuer,
  makeCertificate,
  SIGNATURE_ALGORITHM,
} from "../certificates.js";
import { bitString, integer, pem, sequence, time } from "../der.js";

/** What a test body needs of `node:test`'s context. */
interface Teardown {
  after(fn: () => unknown): void;
}

export interface CertificateFiles {
  readonly certificate: { readonly path: string };
  readonly key: { readonly path: string };
}

/** What a certificate of a test says otherwise than most: for 127.0.0.1, for servers and clients, good from a minute ago for an hour. */
export type IssueOptions = Partial<Omit<CertificateOptions, "issuer">>;

export class TestAuthority {
  readonly folder = mkdtempSync(join(tmpdir(), "walnut-tls-"));
  readonly trustedAuthority: { readonly path: string };
  readonly #authority: Certificate;
  #made = 0;

  private constructor() {
    this.#authority = makeCertificate({ commonName: "test authority", uses: ["authority"], ...validity() });
    this.trustedAuthority = { path: join(this.folder, "ca.pem") };
    writeFileSync(this.trustedAuthority.path, this.#authority.certificatePem);
  }

  static for(test: Teardown): TestAuthority {
    const authority = new TestAuthority();
    test.after(() => rmSync(authority.folder, { recursive: true, force: true }));
    return authority;
  }

  /** A certificate for servers and clients, in files. */
  issue(options: IssueOptions = {}): CertificateFiles {
    const files = this.#nextFiles();
    this.reissue(files, options);
    return files;
  }

  /** Puts a new certificate into the same files. */
  reissue(files: CertificateFiles, options: IssueOptions = {}): void {
    this.#write(files, this.#make(options, this.#authority.issuer));
  }

  /** A certificate that an authority below this one has signed, with that one's certificate behind it, or without. */
  issueBelow({ whole, ...options }: IssueOptions & { readonly whole: boolean }): CertificateFiles {
    const between = makeCertificate({
      commonName: "authority between",
      uses: ["authority"],
      issuer: this.#authority.issuer,
      ...validity(),
    });
    const made = this.#make(options, between.issuer);
    const files = this.#nextFiles();
    this.#write(files, {
      ...made,
      certificatePem: made.certificatePem + (whole ? between.certificatePem : ""),
    });
    return files;
  }

  /** A list that revokes these certificates: DER, or PEM. */
  revoke(path: string, certificates: readonly CertificateFiles[], form: "der" | "pem" = "pem"): void {
    const serials = certificates.map(({ certificate }) =>
      Buffer.from(new X509Certificate(readFileSync(certificate.path)).serialNumber, "hex"),
    );
    const list = revocationList(this.#authority.issuer, serials);
    writeFileSync(path, form === "der" ? list : pem("X509 CRL", list));
  }

  /** The authority's own certificate, with its key. */
  get itself(): CertificateFiles {
    const files = this.#nextFiles();
    this.#write(files, this.#authority);
    return files;
  }

  #nextFiles(): CertificateFiles {
    const number = ++this.#made;
    return {
      certificate: { path: join(this.folder, `${number}.pem`) },
      key: { path: join(this.folder, `${number}-key.pem`) },
    };
  }

  #make(options: IssueOptions, issuer: Issuer): Certificate {
    return makeCertificate({ hosts: ["127.0.0.1"], uses: ["server", "client"], issuer, ...validity(), ...options });
  }

  #write(files: CertificateFiles, { certificatePem, keyPem }: Certificate): void {
    writeFileSync(files.certificate.path, certificatePem);
    writeFileSync(files.key.path, keyPem, { mode: 0o600 });
  }
}

function validity(): { notBefore: number; notAfter: number } {
  const now = Date.now();
  return { notBefore: now - 60_000, notAfter: now + 3_600_000 };
}

function revocationList(issuer: Issuer, serials: readonly Uint8Array[]): Uint8Array {
  const now = Date.now();
  const revoked = serials.map((serial) => sequence(integer(serial), time(now)));
  const body = sequence(
    integer(Uint8Array.of(1)), // version 2
    SIGNATURE_ALGORITHM,
    issuer.name,
    time(now),
    ...(revoked.length === 0 ? [] : [sequence(...revoked)]),
  );
  return sequence(body, SIGNATURE_ALGORITHM, bitString(sign("sha512", body, issuer.key)));
}
