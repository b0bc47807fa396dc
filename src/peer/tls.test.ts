/** TLS between members: who is let in, who is dialed, and how certificates are renewed. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import * as tls from "node:tls";
import { silentLog } from "../platform/index.js";
import { SimClock, SimDisk } from "../../sim/index.js";
import { autoTls, loadTls, type TlsSettings } from "../tls/index.js";
import { TestAuthority } from "../tls/testing/authority.js";
import { PeerWorld } from "./testing/fixture.js";

const SECURE = ["https://127.0.0.1:0"];
const refusal = (detail: RegExp) => (error: unknown) =>
  (error as { code?: string }).code === "PEER_TLS_INVALID" && detail.test((error as Error).message);

/** Whether a member with the one's settings gives an answer to a member with the other's. */
async function answers(server: TlsSettings, client: TlsSettings): Promise<boolean> {
  const world = new PeerWorld();
  try {
    const listening = await world.seat(1n, { listenUrls: SECURE, tls: loadTls(server, silentLog) });
    const dialing = await world.door({ listenUrls: [], tls: loadTls(client, silentLog) });
    return (await dialing.fetchVersions([listening.url])) !== undefined;
  } finally {
    await world.clear();
  }
}

test("members with certificates of one authority open their streams and send a snapshot", async (t) => {
  const authority = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const settings = { ...authority.issue(), trustedAuthority, clientCertificateRequired: true };
  const options = { listenUrls: SECURE, tls: loadTls(settings, silentLog) };
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
  const client = (hosts: readonly string[]): TlsSettings => {
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

test("a peer whose certificate is revoked is turned away as long as the list says so", async (t) => {
  const authority = TestAuthority.for(t);
  const { trustedAuthority } = authority;
  const path = join(authority.folder, "crl.pem");
  const [one, two] = [authority.issue(), authority.issue()];
  const server = { ...authority.issue(), trustedAuthority, revocationList: { path } };
  const asked = async (): Promise<boolean[]> => [
    await answers(server, { ...one, trustedAuthority }),
    await answers(server, { ...two, trustedAuthority }),
  ];
  assert.deepEqual(await asked(), [false, false], "nobody, while there is no list");
  authority.revoke(path, [one]);
  assert.deepEqual(await asked(), [false, true]);
  authority.revoke(path, [two]);
  assert.deepEqual(await asked(), [true, false]);
});

test("renewed files are used by the next connection, bad ones are not", async (t) => {
  const authority = TestAuthority.for(t);
  const files = authority.issue();
  const world = PeerWorld.for(t);
  const { url } = await world.seat(1n, { listenUrls: SECURE, tls: loadTls(files, silentLog) });
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
  const made = await autoTls({ dataDir: "/data", port: "peer", hosts: ["127.0.0.1"] }, { disk, clock });
  const again = await autoTls({ dataDir: "/data", port: "peer", hosts: ["127.0.0.1"] }, { disk, clock });
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

test("https without certificates is refused by name", async (t) => {
  const world = PeerWorld.for(t);
  await assert.rejects(world.door({ listenUrls: SECURE }), refusal(/--peer-cert-file/));
});
