/** An authority of a test's own, and certificates that it signs. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Certificate, makeCertificate } from "../certificates.js";

/** What a test body needs of `node:test`'s context. */
interface Teardown {
  after(fn: () => unknown): void;
}

export interface CertificateFiles {
  readonly certificate: { readonly path: string };
  readonly key: { readonly path: string };
}

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
  issue(options: { readonly commonName?: string; readonly hosts?: readonly string[] } = {}): CertificateFiles {
    const number = ++this.#made;
    const files = {
      certificate: { path: join(this.folder, `${number}.pem`) },
      key: { path: join(this.folder, `${number}-key.pem`) },
    };
    this.reissue(files, options);
    return files;
  }

  /** Puts a new certificate into the same files. */
  reissue(
    files: CertificateFiles,
    options: { readonly commonName?: string; readonly hosts?: readonly string[] } = {},
  ): void {
    const { certificatePem, keyPem } = makeCertificate({
      hosts: ["127.0.0.1"],
      uses: ["server", "client"],
      issuer: this.#authority.issuer,
      ...validity(),
      ...options,
    });
    writeFileSync(files.certificate.path, certificatePem);
    writeFileSync(files.key.path, keyPem, { mode: 0o600 });
  }
}

function validity(): { notBefore: number; notAfter: number } {
  const now = Date.now();
  return { notBefore: now - 60_000, notAfter: now + 3_600_000 };
}
