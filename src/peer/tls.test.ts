/** TLS between members: who is let in, who is dialed, and how certificates are renewed. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import test from "node:test";
import * as tls from "node:tls";
import { silentLog } from "../platform/index.js";
import { SimClock, SimDisk } from "../../sim/index.js";
import { autoTls } from "./auto-tls.js";
import { makeCertificate } from "./certificates.js";
import { loadPeerTls, type PeerTlsSettings } from "./tls.js";
import { TestAuthority } from "./testing/authority.js";
import { PeerWorld } from "./testing/fixture.js";

const SECURE = ["https://127.0.0.1:0"];
const refusal = (detail: RegExp) => (error: unknown) =>
  (error as { code?: string }).code === "PEER_TLS_INVALID" && detail.test((error as Error).message);

/** Whether a member with the one's settings gives an answer to a member with the other's. */
async function answers(server: PeerTlsSettings, client: PeerTlsSettings): Promise<boolean> {
  const world = new PeerWorld();
  try {
    const listening = await world.seat(1n, { listenUrls: SECURE, tls: loadPeerTls(server, silentLog) });
    const dialing = await world.door({ listenUrls: [], tls: loadPeerTls(client, silentLog) });
    return (await dialing.fetchVersions([listening.url])) !== undefined;
  } finally {
    await world.clear();
  }
}

test("members with certificates of one authority open their streams and send a snapshot", async (t) => {
  const authority = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const settings = { ...authority.issue(), trustedAuthority, clientCertificateRequired: true };
  const options = { listenUrls: SECURE, tls: loadPeerTls(settings, silentLog) };
  const world = PeerWorld.for(t);
  const [a, b] = await world.couple(options);
  await world.connected(a, b);
  async function* database(): AsyncGenerator<Uint8Array> {
    for (let count = 0; count < 64; count++) yield new Uint8Array(65_536).fill(count);
  }
  a.peers.sendSnapshot(world.snapshotMessage(a, b, 5), { totalBytes: 64 * 65_536, chunks: database() });
  await a.member.until(() => a.member.snapshotsSent.length > 0, "the end of the snapshot");
  assert.deepEqual(a.member.snapshotsSent, [{ id: b.id, delivered: true }]);
  assert.equal(b.member.snapshots[0]?.bytes, 64 * 65_536);
});

test("a client's certificate is asked for, and must be of the trusted authority", async (t) => {
  const authority = TestAuthority.for(t);
  const stranger = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const server = { ...authority.issue(), trustedAuthority };
  assert.ok(await answers(server, { ...authority.issue(), trustedAuthority }));
  assert.ok(!(await answers(server, { ...stranger.issue(), trustedAuthority })));
});

test("whoever is dialed must show a certificate of the trusted authority for the host that is dialed", async (t) => {
  const authority = TestAuthority.for(t);
  const stranger = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const client = { ...authority.issue(), trustedAuthority };
  const open = { ...stranger.issue() }; // asks for no certificate
  assert.ok(!(await answers(open, client)));
  assert.ok(!(await answers(authority.issue({ hosts: ["10.0.0.1"] }), client)));
  assert.ok(!(await answers(authority.issue({ hosts: [], commonName: "127.0.0.1" }), client)));
  assert.ok(await answers(authority.issue(), client));
});

test("a common name or host name that is not allowed is turned away, by either side", async (t) => {
  const authority = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const good = authority.issue({ commonName: "member", hosts: ["127.0.0.1", "localhost"] });
  const bad = authority.issue({ commonName: "guest" });
  const byName = { trustedAuthority, allowedNames: ["member", "other"] };
  const byHost = { trustedAuthority, allowedHostnames: ["localhost"] };
  for (const rule of [byName, byHost]) {
    assert.ok(await answers({ ...good, ...rule }, { ...good, trustedAuthority }));
    assert.ok(!(await answers({ ...good, ...rule }, { ...bad, trustedAuthority })));
    assert.ok(!(await answers({ ...bad, trustedAuthority }, { ...good, ...rule })));
  }
});

test("a client's certificate for other addresses is turned away, unless any address will do", async (t) => {
  const authority = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const server = { ...authority.issue(), trustedAuthority };
  const client = (hosts: readonly string[]): PeerTlsSettings => {
    const { certificate, key } = authority.issue({ hosts });
    return { ...authority.issue(), trustedAuthority, clientCertificate: certificate, clientKey: key };
  };
  assert.ok(!(await answers(server, client(["10.0.0.1"]))));
  assert.ok(await answers({ ...server, anyClientAddress: true }, client(["10.0.0.1"])));
  assert.ok(await answers(server, client(["10.0.0.1", "127.0.0.1"])));
  assert.ok(await answers(server, client(["localhost"])));
  assert.ok(!(await answers(server, client(["walnut.invalid"]))));
  assert.ok(await answers(server, client([])));
});

test("renewed files are used by the next connection, bad ones are not", async (t) => {
  const authority = TestAuthority.for(t);
  const files = authority.issue();
  const world = PeerWorld.for(t);
  const { url } = await world.seat(1n, { listenUrls: SECURE, tls: loadPeerTls(files, silentLog) });
  const before = await serialShownBy(url);
  assert.equal(await serialShownBy(url), before);
  authority.reissue(files);
  const after = await serialShownBy(url);
  assert.notEqual(after, before);
  writeFileSync(files.certificate.path, "no certificate");
  assert.equal(await serialShownBy(url), after);
});

function serialShownBy(url: string): Promise<string> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const socket = tls.connect({ host: hostname, port: Number(port), rejectUnauthorized: false }, () => {
      resolve(socket.getPeerCertificate().serialNumber);
      socket.destroy();
    });
    socket.on("error", reject);
  });
}

test("members that make their certificates themselves talk, and use them again after a restart", async () => {
  const clock = new SimClock(Date.now() - 1000);
  const disk = new SimDisk();
  await disk.makeFolder("/data");
  const made = await autoTls({ dataDir: "/data", listenUrls: SECURE }, { disk, clock });
  const again = await autoTls({ dataDir: "/data", listenUrls: SECURE }, { disk, clock });
  assert.deepEqual(again, made);
  const pem = (name: string): { pem: string } => ({
    pem: new TextDecoder().decode(disk.readAll(`/data/fixtures/peer/${name}.pem`)),
  });
  const settings = { certificate: pem("cert"), key: pem("key"), unverified: true };
  const certificate = new X509Certificate(settings.certificate.pem);
  assert.equal(certificate.subject, "O=etcd");
  assert.equal(certificate.subjectAltName, "IP Address:127.0.0.1");
  assert.ok(certificate.verify(certificate.publicKey));
  assert.ok(await answers(settings, settings));
});

test("certificates that cannot be used are refused before anything is listened on", (t) => {
  const authority = TestAuthority.for(t);
  const one = authority.issue();
  const other = authority.issue();
  const load = (settings: PeerTlsSettings): unknown => loadPeerTls(settings, silentLog);
  assert.throws(() => load({ ...one, certificate: { path: "/nowhere/cert.pem" } }), refusal(/\/nowhere\/cert\.pem/));
  assert.throws(() => load({ ...one, key: other.key }), refusal(/no certificate with its key/));
  assert.throws(() => load({ ...one, certificate: { pem: "no certificate" } }), refusal(/the PEM text given/));
  assert.throws(() => load({ ...one, trustedAuthority: { path: "/nowhere/ca.pem" } }), refusal(/\/nowhere\/ca\.pem/));
  assert.throws(() => load({ ...one, clientCertificate: other.certificate }), refusal(/go together/));
  assert.throws(() => load({ ...one, allowedNames: ["a"], allowedHostnames: ["b"] }), refusal(/exclude each other/));
});

test("https without certificates is refused by name", async (t) => {
  const world = PeerWorld.for(t);
  await assert.rejects(world.door({ listenUrls: SECURE }), refusal(/--peer-cert-file/));
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
