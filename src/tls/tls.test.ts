/** Certificates, what is refused of them, and the lists of revoked ones, without a port. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { silentLog } from "../platform/index.js";
import { makeCertificate } from "./certificates.js";
import { cipherList, whyNoHttp2 } from "./cipher-suites.js";
import { fieldsOf, integer, sequence, Tag, time, tlv } from "./der.js";
import { RenewedFiles } from "./files.js";
import { commonNameOf, hostsOf, isGoodFor, whyElsewhere, whyNotAllowed } from "./names.js";
import { revokedSerials, RevocationList } from "./revocations.js";
import { type TlsSettings, whyVersionsUnfit } from "./settings.js";
import { TestAuthority } from "./testing/authority.js";
import { loadTls } from "./tls.js";

const HOUR_MS = 3_600_000;
const refusal = (detail: RegExp) => (error: unknown) =>
  (error as { code?: string }).code === "TLS_INVALID" && detail.test((error as Error).message);

test("certificates that cannot be used are refused before anything is listened on", (t) => {
  const authority = TestAuthority.for(t);
  const one = authority.issue();
  const other = authority.issue();
  const load = (settings: TlsSettings): unknown => loadTls(settings, silentLog);
  assert.throws(() => load({ ...one, certificate: { path: "/nowhere/cert.pem" } }), refusal(/\/nowhere\/cert\.pem/));
  assert.throws(() => load({ ...one, key: other.key }), refusal(/no certificate with its key/));
  assert.throws(() => load({ ...one, certificate: { pem: "no certificate" } }), refusal(/the PEM text given/));
  assert.throws(() => load({ ...one, trustedAuthority: { path: "/nowhere/ca.pem" } }), refusal(/\/nowhere\/ca\.pem/));
  assert.throws(() => load({ ...one, clientCertificate: other.certificate }), refusal(/go together/));
  assert.throws(
    () => load({ ...one, clientCertificate: other.certificate, clientKey: one.key }),
    refusal(/no certificate with its key/),
  );
  assert.throws(() => load({ ...one, allowedNames: ["a"], allowedHostnames: ["b"] }), refusal(/exclude each other/));
  assert.throws(
    () => load({ ...one, minVersion: "TLS1.3", maxVersion: "TLS1.2" }),
    refusal(/greater than max version/),
  );
  assert.throws(() => load({ ...one, cipherSuites: ["TLS_NO_SUCH"] }), refusal(/unexpected TLS cipher suite/));
});

test("a certificate names what it was made for, in the forms that certificates have", () => {
  const hosts = ["127.0.0.1", "localhost", "*.example.com", "::1", "fe80::1:2", "2001:db8::"];
  const notAfter = Date.UTC(2051, 0, 2, 3, 4, 5);
  const made = makeCertificate({ commonName: "member", hosts, notBefore: 0, notAfter, uses: ["client", "server"] });
  const certificate = new X509Certificate(made.certificatePem);
  assert.equal(certificate.subject, "CN=member");
  assert.equal(new Date(certificate.validFrom).getTime(), 0);
  assert.equal(new Date(certificate.validTo).getTime(), notAfter);
  for (const host of ["localhost", "a.example.com"]) assert.notEqual(certificate.checkHost(host), undefined, host);
  for (const address of ["127.0.0.1", "::1", "fe80::1:2", "2001:db8::"]) {
    assert.notEqual(certificate.checkIP(address), undefined, address);
  }
  assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
});

function certificateOf(options: { commonName?: string; hosts?: readonly string[] }): X509Certificate {
  const now = Date.now();
  return new X509Certificate(
    makeCertificate({ ...options, notBefore: now, notAfter: now + HOUR_MS, uses: ["client"] }).certificatePem,
  );
}

test("a common name is read as it was written", () => {
  for (const commonName of ["root", "a,b+c", 'quote " and \\', "José", "#x", " padded ", "two\nCN=root", "<;=>"]) {
    assert.equal(commonNameOf(certificateOf({ commonName })), commonName);
  }
  assert.equal(commonNameOf(certificateOf({})), "");
});

test("a host is matched as Go matches it: the subject never counts, a star stands for one whole label", () => {
  const certificate = certificateOf({ commonName: "subject.example.com", hosts: ["*.example.com", "f*.other.com"] });
  assert.ok(isGoodFor(certificate, "a.example.com"));
  for (const host of ["example.com", "a.b.example.com", "foo.other.com", "127.0.0.1"]) {
    assert.ok(!isGoodFor(certificate, host), host);
  }
  assert.ok(!isGoodFor(certificateOf({ commonName: "subject.example.com" }), "subject.example.com"));
  const sly = certificateOf({ hosts: ["a.b", "x, DNS:good.example.com, IP Address:127.0.0.1", 'y", DNS:z', "c.d"] });
  assert.deepEqual(hostsOf(sly), { names: ["a.b", "c.d"], addresses: [] }, "one name stays one");
  assert.deepEqual(hostsOf(certificateOf({ hosts: ["a.b", "10.0.0.1"] })), { names: ["a.b"], addresses: ["10.0.0.1"] });
});

test("allowed names and hosts leave others out, and the refusal says whom", () => {
  const certificate = certificateOf({ commonName: "guest", hosts: ["a.b"] });
  assert.equal(whyNotAllowed(certificate, {}), undefined);
  assert.equal(whyNotAllowed(certificate, { allowedNames: ["member", "guest"] }), undefined);
  assert.equal(whyNotAllowed(certificate, { allowedHostnames: ["x.y", "a.b"] }), undefined);
  assert.match(
    whyNotAllowed(certificate, { allowedNames: ["member"] })!,
    /client certificate authentication failed.*guest/,
  );
  assert.match(whyNotAllowed(certificate, { allowedHostnames: ["guest"] })!, /authentication failed/);
});

test("only a certificate that names hosts has them looked up", async () => {
  assert.equal(whyElsewhere(certificateOf({}), "127.0.0.1"), undefined);
  assert.equal(whyElsewhere(certificateOf({ hosts: ["127.0.0.1"] }), "127.0.0.1"), undefined);
  const elsewhere = whyElsewhere(certificateOf({ hosts: ["10.0.0.1"] }), "127.0.0.1");
  assert.equal(elsewhere, "x509: certificate is valid for 10.0.0.1, not 127.0.0.1");
  assert.equal(await whyElsewhere(certificateOf({ hosts: ["localhost"] }), "127.0.0.1"), undefined);
  const why = await whyElsewhere(certificateOf({ hosts: ["walnut.invalid"] }), "127.0.0.1");
  assert.match(why!, /does not match any of DNSNames "walnut.invalid"/);
});

test("versions that etcd does not know, or that leave none, are refused in its words", () => {
  assert.equal(whyVersionsUnfit({}), undefined);
  assert.equal(whyVersionsUnfit({ minVersion: "TLS1.2", maxVersion: "TLS1.3" }), undefined);
  assert.equal(whyVersionsUnfit({ minVersion: "TLS1.3", maxVersion: "TLS1.3" }), undefined);
  const unknown = 'unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)';
  assert.equal(whyVersionsUnfit({ minVersion: "TLS1.1" }), unknown);
  assert.equal(whyVersionsUnfit({ maxVersion: "TLS1.1" }), unknown);
  assert.equal(
    whyVersionsUnfit({ minVersion: "TLS1.3", maxVersion: "TLS1.2" }),
    "min version (TLS1.3) is greater than max version (TLS1.2)",
  );
  assert.equal(
    whyVersionsUnfit({ minVersion: "TLS1.3", cipherSuites: ["x"] }),
    "cipher suites cannot be configured when only TLS1.3 is enabled",
  );
});

test("cipher suites have Go's names; those of TLS 1.3 are always there", () => {
  const tls13 = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
  const gcm = "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256";
  assert.equal(cipherList([gcm]), `${tls13}:ECDHE-RSA-AES128-GCM-SHA256`);
  assert.equal(cipherList(["TLS_AES_128_GCM_SHA256"]), tls13);
  assert.equal(cipherList(["TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]), `${tls13}:ECDHE-RSA-CHACHA20-POLY1305`);
  assert.equal(cipherList([]).split(":").length, 13);
  assert.throws(() => cipherList(["ECDHE-RSA-AES128-GCM-SHA256"]), refusal(/unexpected TLS cipher suite "ECDHE/));
  assert.throws(() => cipherList(["TLS_RSA_WITH_RC4_128_SHA"]), refusal(/not in this Node's OpenSSL: leave it out/));
  assert.equal(whyNoHttp2([]), undefined);
  assert.equal(whyNoHttp2([gcm]), undefined);
  assert.match(
    whyNoHttp2(["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"])!,
    /^http2: .* HTTP\/2-required AES_128_GCM_SHA256/,
  );
});

test("a list of revoked certificates is read from DER and PEM, and refused when it is none", (t) => {
  const authority = TestAuthority.for(t);
  const [one, two] = [authority.issue(), authority.issue()];
  const path = join(authority.folder, "crl");
  const serials = (...form: ["der" | "pem"]): string[] => {
    authority.revoke(path, [one, two], ...form);
    return [...revokedSerials(readFileSync(path))];
  };
  assert.equal(serials("der").length, 2);
  assert.deepEqual(serials("der"), serials("pem"));
  authority.revoke(path, []);
  assert.deepEqual([...revokedSerials(readFileSync(path))], []);
  authority.revoke(path, [one], "der");
  const whole = readFileSync(path);
  const none: Uint8Array[] = [
    Buffer.from("no list"),
    Buffer.from("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"),
    readFileSync(one.certificate.path),
    Buffer.concat([whole, Buffer.from([5, 0])]),
    sequence(sequence()),
    new Uint8Array(0),
  ];
  for (const bytes of none) assert.throws(() => revokedSerials(bytes), refusal(/./));
  for (let length = 0; length < whole.length; length++) {
    assert.throws(() => revokedSerials(whole.subarray(0, length)), refusal(/./), `${length} bytes of it`);
  }
});

test("in a list the version and the next update may be left out, and serial numbers have any length", () => {
  const algorithm = sequence(tlv(Tag.oid, Uint8Array.of(1)));
  const list = (...fields: readonly Uint8Array[]): ReadonlySet<string> =>
    revokedSerials(sequence(sequence(...fields), algorithm, tlv(Tag.bits, Uint8Array.of(0))));
  const entry = (...serial: readonly number[]): Uint8Array => sequence(integer(Uint8Array.from(serial)), time(0));
  const head = [algorithm, sequence(), time(0)];
  assert.deepEqual([...list(...head)], []);
  assert.deepEqual([...list(...head, time(1))], []);
  assert.deepEqual([...list(...head, tlv(Tag.explicit(0), new Uint8Array(0)))], []);
  assert.deepEqual([...list(...head, time(1), sequence(entry(0x0a), entry(0, 0xff, 1)))], ["0a", "ff01"]);
  assert.deepEqual([...list(integer(Uint8Array.of(1)), ...head, sequence(entry(7)))], ["07"]);
});

test("a revoked certificate is turned away as long as the list says so; nobody passes while it cannot be read", (t) => {
  const authority = TestAuthority.for(t);
  const [one, two] = [authority.issue(), authority.issue()];
  const certificate = ({ certificate: { path } }: { certificate: { path: string } }): X509Certificate =>
    new X509Certificate(readFileSync(path));
  const path = join(authority.folder, "crl.pem");
  const list = new RevocationList({ path });
  assert.match(list.whyRefused([certificate(one)])!, /crl\.pem cannot be read/);
  authority.revoke(path, [one]);
  const serial = certificate(one).serialNumber.toLowerCase();
  assert.equal(list.whyRefused([certificate(one)]), `transport: certificate serial ${serial} revoked`);
  assert.equal(
    list.whyRefused([certificate(two), certificate(one)]),
    `transport: certificate serial ${serial} revoked`,
  );
  assert.equal(list.whyRefused([certificate(two)]), undefined);
  authority.revoke(path, [two], "der");
  assert.equal(list.whyRefused([certificate(one)]), undefined);
  writeFileSync(path, "no list");
  assert.match(list.whyRefused([certificate(one)])!, /crl\.pem: .*/);
});

test("a file's content is the newest, also when it was written twice in one step of the clock and in the same length", (t) => {
  const authority = TestAuthority.for(t);
  const path = join(authority.folder, "text");
  writeFileSync(path, "0");
  const files = new RenewedFiles([{ path }, { pem: "constant" }]);
  for (let count = 1; count < 50; count++) {
    writeFileSync(path, String(count % 10));
    assert.deepEqual(files.current().map(String), [String(count % 10), "constant"]);
  }
  const before = files.current();
  assert.equal(files.current(), before, "the same object while nothing changes");
  writeFileSync(path, String(before[0]));
  assert.equal(files.current(), before, "nor when the same is written again");
});

test("what is no DER is refused with the place", () => {
  assert.throws(() => fieldsOf(Uint8Array.of(0x30, 3, 1)), refusal(/a field of 3 bytes at 0 has 1/));
  assert.throws(() => fieldsOf(Uint8Array.of(0x30, 0x80)), refusal(/a length of 0 bytes at 1/));
  assert.throws(() => fieldsOf(Uint8Array.of(0x30)), refusal(/a length of 0 bytes at 1/));
  assert.throws(() => fieldsOf(Uint8Array.of(0x30, 0x85, 1, 1, 1, 1, 1)), refusal(/a length of 5 bytes/));
  assert.deepEqual(
    fieldsOf(tlv(Tag.octets, new Uint8Array(300))).map(({ tag, value }) => [tag, value.length]),
    [[4, 300]],
  );
});
