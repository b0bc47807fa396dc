/**
 * TLS on the client port: Walnut and real etcd start with the same flags and certificates, and the same clients knock at both. Who is served
 * by one is served by the other.
 */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import net from "node:net";
import { join } from "node:path";
import test from "node:test";
import * as grpc from "@grpc/grpc-js";
import { type CertificateFiles, TestAuthority } from "../../src/tls/testing/authority.js";
import { etcd, reference, type ServerBinary, skipReason, walnut } from "../support/binaries.js";
import { freePort } from "../support/ports.js";
import { type Seat, type Server, Stage, type StartOptions } from "../support/servers.js";
import { run } from "../support/tools.js";
import { runHere, shown } from "./command-lines.js";
import { approach, type Door, hear, type Knock, knock, type Served } from "../support/tls-client.js";

const skip = skipReason();

interface Pair {
  readonly walnut: Server;
  readonly etcd: Server;
}

/** Starts both, with flags that may name their seats. */
async function startBoth(
  stage: Stage,
  flags: (seat: Seat) => readonly string[] | Promise<readonly string[]>,
  options: StartOptions = {},
): Promise<Pair> {
  const start = async (binary: ServerBinary): Promise<Server> => {
    const seat = await stage.seat();
    return stage.start(binary, seat, { ...options, flags: await flags(seat) });
  };
  return { walnut: await start(walnut()), etcd: await start(etcd("newest")) };
}

const secureUrl = ({ clientPort }: Seat): string => `https://127.0.0.1:${clientPort}`;

/** The flags of a port that is secure, and nothing else. */
function secure(files: CertificateFiles, ...more: readonly string[]): (seat: Seat) => string[] {
  return (seat) => [
    `--listen-client-urls=${secureUrl(seat)}`,
    `--advertise-client-urls=${secureUrl(seat)}`,
    `--cert-file=${files.certificate.path}`,
    `--key-file=${files.key.path}`,
    ...more,
  ];
}

const doorOf = ({ seat }: Server): Door => ({ port: seat.clientPort });

/** Each knock at both; what is told of each is compared. */
async function compare(
  { walnut: ours, etcd: theirs }: Pair,
  knocks: Readonly<Record<string, Knock>>,
): Promise<Record<string, boolean>> {
  const outcomes: Record<string, boolean> = {};
  for (const [name, each] of Object.entries(knocks)) {
    const [our, their] = [await knock(doorOf(ours), each), await knock(doorOf(theirs), each)];
    const told = ({ version, cipher, names, status }: Served): object => ({ version, cipher, names, status });
    assert.deepEqual(our && told(our), their && told(their), name);
    outcomes[name] = our !== undefined;
  }
  return outcomes;
}

const HOUR_MS = 3_600_000;

test("versions, cipher suites and protocols: etcd's defaults", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const pair = await startBoth(stage, secure(authority.issue({ hosts: ["127.0.0.1", "localhost"] })));
  const outcomes = await compare(pair, {
    "whatever is newest": {},
    "TLS 1.0": { version: "TLSv1" },
    "TLS 1.1": { version: "TLSv1.1" },
    "TLS 1.2": { version: "TLSv1.2" },
    "TLS 1.3": { version: "TLSv1.3" },
    h2: { alpn: ["h2"] },
    "http/1.1": { alpn: ["http/1.1"] },
    "h2 after http/1.1": { alpn: ["http/1.1", "h2"] },
    "a protocol that nobody speaks": { alpn: ["spdy/3"] },
    "AES 128 GCM": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256" },
    "AES 256 GCM": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES256-GCM-SHA384" },
    ChaCha20: { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-CHACHA20-POLY1305" },
    "AES CBC": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA" },
    "AES CBC under h2": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA", alpn: ["h2"] },
    "AES GCM under h2": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-GCM-SHA256", alpn: ["h2"] },
    "AES CBC with SHA256": { version: "TLSv1.2", ciphers: "ECDHE-ECDSA-AES128-SHA256" },
    "a suite for RSA": { version: "TLSv1.2", ciphers: "ECDHE-RSA-AES128-GCM-SHA256" },
    "TLS 1.3's AES 256": { version: "TLSv1.3", ciphers: "TLS_AES_256_GCM_SHA384" },
    "TLS 1.3's ChaCha20": { version: "TLSv1.3", ciphers: "TLS_CHACHA20_POLY1305_SHA256" },
  });
  assert.deepEqual(
    Object.entries(outcomes).flatMap(([name, served]) => (served ? [] : [name])),
    [
      "TLS 1.0",
      "TLS 1.1",
      "a protocol that nobody speaks",
      "AES CBC under h2",
      "AES CBC with SHA256",
      "a suite for RSA",
    ],
  );
  await t.test("who speaks no TLS hears nothing from a port that does", async () => {
    for (const words of [
      "GET /version HTTP/1.1\r\nHost: x\r\n\r\n",
      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
      "nonsense\n",
    ]) {
      for (const server of [pair.walnut, pair.etcd]) assert.equal(await hear(doorOf(server), words), "", words);
    }
  });
});

test("who speaks TLS to a port that does not hears nothing", { skip }, async (t) => {
  const pair = await startBoth(Stage.for(t), () => []);
  assert.deepEqual(await compare(pair, { any: {}, h2: { alpn: ["h2"] } }), { any: false, h2: false });
  // etcd looks for the end of a line, and every client's hello has one: 10 is the number of an extension.
  const hello = Buffer.concat([Buffer.from([0x16, 3, 1, 2, 0]), Buffer.alloc(512, 10)]);
  for (const server of [pair.walnut, pair.etcd]) assert.equal(await hear(doorOf(server), hello), "");
});

test("versions and cipher suites as they are chosen", { skip }, async (t) => {
  const stage = Stage.for(t);
  const files = TestAuthority.for(t).issue();
  const ciphers = (name: string): Knock => ({ version: "TLSv1.2", ciphers: name });
  const settings: [flags: readonly string[], served: readonly string[]][] = [
    [["--tls-min-version=TLS1.3"], ["TLS 1.3"]],
    [["--tls-max-version=TLS1.2"], ["TLS 1.2", "AES 256", "ChaCha20", "CBC"]],
    [
      ["--tls-min-version=", "--tls-max-version="],
      ["TLS 1.2", "TLS 1.3", "AES 256", "ChaCha20", "CBC"],
    ],
    [
      ["--cipher-suites=TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
      ["TLS 1.2", "TLS 1.3", "ChaCha20"],
    ],
    [
      ["--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256,TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
      ["TLS 1.2", "TLS 1.3", "CBC with SHA256"],
    ],
  ];
  for (const [flags, expected] of settings) {
    const pair = await startBoth(stage, secure(files, ...flags));
    const outcomes = await compare(pair, {
      "TLS 1.2": { version: "TLSv1.2" },
      "TLS 1.3": { version: "TLSv1.3" },
      "AES 256": ciphers("ECDHE-ECDSA-AES256-GCM-SHA384"),
      ChaCha20: ciphers("ECDHE-ECDSA-CHACHA20-POLY1305"),
      CBC: ciphers("ECDHE-ECDSA-AES128-SHA"),
      "CBC with SHA256": ciphers("ECDHE-ECDSA-AES128-SHA256"),
    });
    assert.deepEqual(
      Object.keys(outcomes).filter((name) => outcomes[name]),
      expected,
      flags.join(" "),
    );
    await pair.walnut.stop();
    await pair.etcd.stop();
  }
});

/** Clients by what they show. */
function clients(authority: TestAuthority, stranger: TestAuthority): Record<string, Knock> {
  const now = Date.now();
  const shown: Record<string, CertificateFiles> = {
    "of the authority": authority.issue(),
    "of another one": stranger.issue(),
    "for another address": authority.issue({ hosts: ["10.0.0.1"] }),
    "for no address": authority.issue({ hosts: [], commonName: "alice" }),
    "for a name that is allowed": authority.issue({ hosts: ["good.example.com"] }),
    "for a star that is allowed": authority.issue({ hosts: ["*.example.com"] }),
    "for an address that is allowed": authority.issue({ hosts: ["10.0.0.2"] }),
    "whose subject would be allowed": authority.issue({ hosts: [], commonName: "good.example.com" }),
    "for clients alone": authority.issue({ uses: ["client"] }),
    "for servers alone": authority.issue({ uses: ["server"] }),
    "for no use": authority.issue({ uses: [] }),
    "that is over": authority.issue({ notAfter: now - 1_000 }),
    "that has not begun": authority.issue({ notBefore: now + HOUR_MS, notAfter: now + 2 * HOUR_MS }),
    "below another, with its chain": authority.issueBelow({ whole: true }),
    "below another, alone": authority.issueBelow({ whole: false }),
  };
  const knocks = Object.entries(shown).map(([name, certificate]): [string, Knock] => [name, { certificate }]);
  return { none: {}, ...Object.fromEntries(knocks) };
}

test("who must show a certificate, and which is good enough", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const files = authority.issue({ uses: ["server"] });
  const knocks = clients(authority, TestAuthority.for(t));
  const trusted = `--trusted-ca-file=${authority.trustedAuthority.path}`;
  const revoked = authority.issue({ hosts: [] });
  const crl = join(authority.folder, "crl.pem");
  authority.revoke(crl, [revoked]);
  const never = ["of another one", "for servers alone", "that is over", "that has not begun", "below another, alone"];
  const others = Object.keys(knocks).filter((name) => name !== "none" && !never.includes(name));
  const settings: [flags: readonly string[], served: readonly string[]][] = [
    [[], Object.keys(knocks)],
    [
      ["--client-cert-allowed-hostname=good.example.com", `--client-crl-file=${crl}`],
      [...Object.keys(knocks), "revoked"],
    ],
    [[trusted], others],
    [[trusted, "--client-cert-auth"], others],
    [["--client-cert-auth"], []],
    [
      [trusted, "--client-cert-auth", "--client-cert-allowed-hostname=good.example.com,10.0.0.2"],
      ["for a name that is allowed", "for a star that is allowed", "for an address that is allowed"],
    ],
    [[trusted, "--client-cert-auth", `--client-crl-file=${crl}`], others],
    [[trusted, "--client-cert-auth", `--client-crl-file=${join(authority.folder, "nowhere")}`], []],
    [[trusted, "--client-cert-auth", `--client-crl-file=${authority.trustedAuthority.path}`], []],
  ];
  for (const [flags, expected] of settings) {
    const pair = await startBoth(stage, secure(files, ...flags));
    const more = flags.some((flag) => flag.startsWith("--client-crl")) ? { revoked: { certificate: revoked } } : {};
    const outcomes = await compare(pair, { ...knocks, ...more });
    assert.deepEqual(
      Object.keys(outcomes).filter((name) => outcomes[name]),
      expected,
      flags.join(" "),
    );
    await pair.walnut.stop();
    await pair.etcd.stop();
  }
});

test(
  "an authority's file may name one that another has signed, or the client's own certificate",
  { skip },
  async (t) => {
    const stage = Stage.for(t);
    const authority = TestAuthority.for(t);
    const below = authority.issueBelow({ whole: true });
    const [leaf, between] = readFileSync(below.certificate.path, "utf8").split(/(?<=-----END CERTIFICATE-----\n)/);
    const path = join(authority.folder, "ca-between.pem");
    const own = authority.issue();
    for (const [text, certificate] of [
      [between!, below],
      [leaf!, below],
      [readFileSync(own.certificate.path, "utf8"), own],
    ] as const) {
      writeFileSync(path, text);
      const pair = await startBoth(stage, secure(authority.issue(), `--trusted-ca-file=${path}`));
      const outcomes = await compare(pair, {
        one: { certificate },
        "another of the root": { certificate: authority.issue() },
      });
      assert.deepEqual(outcomes, { one: true, "another of the root": false });
      await pair.walnut.stop();
      await pair.etcd.stop();
    }
  },
);

test("what is renewed counts from the next handshake on", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const files = authority.issue();
  const [one, two] = [authority.issue({ hosts: [] }), authority.issue({ hosts: [] })];
  const crl = join(authority.folder, "crl.pem");
  authority.revoke(crl, [one]);
  const flags = [`--trusted-ca-file=${authority.trustedAuthority.path}`, `--client-crl-file=${crl}`];
  const { walnut: ours, etcd: theirs } = await startBoth(stage, secure(files, ...flags));
  const seen = async (): Promise<object[]> => {
    const found: object[] = [];
    for (const server of [ours, theirs]) {
      const [first, second] = [
        await knock(doorOf(server), { certificate: one }),
        await knock(doorOf(server), { certificate: two }),
      ];
      found.push({ one: first?.serial, two: second?.serial });
    }
    assert.deepEqual(found[0], found[1]);
    return found;
  };
  const [before] = (await seen()) as [{ one?: string; two?: string }];
  assert.equal(before.one, undefined);
  for (let count = 0; count < 3; count++) {
    authority.reissue(files);
    authority.revoke(crl, [count % 2 === 0 ? two : one], count === 1 ? "der" : "pem");
    const [after] = (await seen()) as [{ one?: string; two?: string }];
    const serial = count % 2 === 0 ? after.one : after.two;
    assert.ok(serial !== undefined && serial !== before.two, "a new certificate");
    assert.equal(count % 2 === 0 ? after.two : after.one, undefined, "another one is revoked");
  }
  await t.test("a connection that was open already sees it, if it had not shaken hands", async () => {
    const shown: (string | undefined)[] = [];
    const opened = [ours, theirs].map(({ seat }) => net.connect(seat.clientPort, "127.0.0.1"));
    // Whoever answers a later connection has taken this one.
    for (const server of [ours, theirs]) await knock(doorOf(server), { certificate: two });
    authority.revoke(crl, []);
    authority.reissue(files);
    for (const [i, server] of [ours, theirs].entries()) {
      shown.push((await knock(doorOf(server), { certificate: one, over: opened[i]! }))?.serial);
    }
    const newest = new X509Certificate(readFileSync(files.certificate.path)).serialNumber;
    assert.deepEqual(shown, [newest, newest]);
  });
  await t.test(
    "Walnut goes on with the old one while the files are in the midst of a change; etcd refuses",
    async () => {
      const serial = (await knock(doorOf(ours), { certificate: one }))!.serial;
      const key = readFileSync(files.key.path);
      writeFileSync(files.key.path, "no key");
      assert.equal((await knock(doorOf(ours), { certificate: one }))?.serial, serial);
      assert.equal(await knock(doorOf(theirs), { certificate: one }), undefined);
      rmSync(files.key.path);
      assert.equal((await knock(doorOf(ours), { certificate: one }))?.serial, serial);
      writeFileSync(files.key.path, key);
      for (const server of [ours, theirs]) assert.ok(await knock(doorOf(server), { certificate: one }));
      const told = ours.log.filter((line) => line.includes("failed to renew certificates"));
      assert.equal(told.length, 2, "each of the two faults once");
    },
  );
});

test("plain and secure URLs, unix sockets, HTTP and metrics on ports of their own", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const files = authority.issue({ hosts: ["127.0.0.1", "localhost"] });
  const pairs = [`--cert-file=${files.certificate.path}`, `--key-file=${files.key.path}`];
  const get = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
  const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\u0004\0\0\0\0\0";
  const traitOf = (name: string, served: Served | undefined): string[] =>
    served === undefined ? [] : [served.status === 200 ? name : `${name} ${served.status}`];
  /** What a port serves: plain HTTP, plain HTTP/2, and HTTP over TLS with either protocol. */
  const traits = async (door: Door, path = "/version"): Promise<string[]> => {
    const asked = get.replace("/version", path);
    const plain = (await hear(door, asked)).startsWith("HTTP/1.1 200");
    const http2 = await speaksHttp2(door, preface);
    const secure = await knock(door);
    const secureHttp2 = await knock(door, { alpn: ["h2"] });
    return [
      ...(plain ? ["http"] : []),
      ...(http2 ? ["http2"] : []),
      ...traitOf("https", secure),
      ...traitOf("https2", secureHttp2),
    ];
  };
  await t.test("the same address as http and https serves both, and looks at the first byte", async () => {
    const pair = await startBoth(stage, (seat) => [
      `--listen-client-urls=http://127.0.0.1:${seat.clientPort},${secureUrl(seat)}`,
      `--advertise-client-urls=${secureUrl(seat)}`,
      ...pairs,
    ]);
    for (const server of [pair.walnut, pair.etcd]) {
      assert.deepEqual(await traits(doorOf(server)), ["http", "http2", "https", "https2"], server.binary.name);
      const told = server.log
        .filter((line) => line.includes("serving client traffic"))
        .map((line) => JSON.parse(line) as Record<string, string>);
      assert.deepEqual(
        told.map(({ msg, traffic, address }) => [msg, traffic, address]),
        [
          ["serving client traffic insecurely; this is strongly discouraged!", "grpc+http", server.address],
          ["serving client traffic securely", "grpc+http", server.address],
        ],
      );
    }
  });
  await t.test("unix sockets with TLS and without", async () => {
    const paths = (seat: Seat): { plain: string; secure: string } => ({
      plain: join(stage.folder, `${seat.clientPort}.plain`),
      secure: join(stage.folder, `localhost:${seat.clientPort}`),
    });
    const pair = await startBoth(stage, (seat) => [
      `--listen-client-urls=unix://${paths(seat).plain},unixs://${paths(seat).secure}`,
      `--advertise-client-urls=unix://localhost:1`,
      ...pairs,
    ]);
    for (const server of [pair.walnut, pair.etcd]) {
      const { plain, secure: hidden } = paths(server.seat);
      assert.deepEqual(await traits({ path: plain }), ["http", "http2"], server.binary.name);
      assert.deepEqual(await traits({ path: hidden }), ["https", "https2"], server.binary.name);
    }
  });
  await t.test("HTTP apart from gRPC, and metrics apart from both", async () => {
    const ports = new Map<Seat, readonly number[]>();
    const pair = await startBoth(stage, async (seat) => {
      const [http, https, metrics, secureMetrics] = [
        await freePort(),
        await freePort(),
        await freePort(),
        await freePort(),
      ];
      ports.set(seat, [http, https, metrics, secureMetrics]);
      return [
        `--listen-client-http-urls=http://127.0.0.1:${http},https://127.0.0.1:${https}`,
        `--listen-metrics-urls=http://127.0.0.1:${metrics},https://127.0.0.1:${secureMetrics}`,
        ...pairs,
      ];
    });
    for (const server of [pair.walnut, pair.etcd]) {
      const servesMetrics = (): boolean => server.log.filter((line) => line.includes('"serving metrics"')).length === 2;
      // etcd may say that it is ready before it listens here; Walnut may not.
      if (server.binary.family === "etcd") await until(() => servesMetrics() || undefined);
      assert.ok(servesMetrics(), server.binary.name);
      const [http, https, metrics, secureMetrics] = ports.get(server.seat)!.map((port) => ({ port })) as [
        Door,
        Door,
        Door,
        Door,
      ];
      const { name } = server.binary;
      assert.deepEqual(await traits(doorOf(server)), ["http2"], name);
      assert.deepEqual(await traits(http), ["http"], name);
      assert.deepEqual(await traits(https), ["https", "https2"], name);
      for (const path of ["/metrics", "/health", "/livez", "/readyz"]) {
        assert.deepEqual(await traits(metrics, path), ["http"], `${name} ${path}`);
      }
      assert.deepEqual(await traits(secureMetrics), ["https 404", "https2 404"], name);
      assert.match(await hear(metrics, get), /^HTTP\/1\.1 404/, name);
      assert.doesNotMatch(await hear(metrics, get.replace("/version", "/health")), /access-control/i, name);
    }
  });
});

test("a certificate of the member's own making is etcd's: the same files, names and life", { skip }, async (t) => {
  const stage = Stage.for(t);
  const flags = (seat: Seat): string[] => [
    `--listen-client-urls=${secureUrl(seat)},https://localhost:${seat.peerPort + 1_000}`,
    `--advertise-client-urls=${secureUrl(seat)}`,
    "--auto-tls",
    "--self-signed-cert-validity=3",
    "--client-cert-auth", // means nothing then
  ];
  const seats = [await stage.seat(), await stage.seat()] as const;
  const serials: string[] = [];
  // Each makes its own, then uses what the other has made.
  for (const binaries of [[walnut(), etcd("newest")] as const, [etcd("newest"), walnut()] as const]) {
    for (const [i, binary] of binaries.entries()) {
      const seat = seats[i]!;
      const server = await stage.start(binary, seat, { flags: flags(seat) });
      const served = (await knock(doorOf(server)))!;
      assert.equal(served.names, "DNS:localhost, IP Address:127.0.0.1");
      const file = (name: string): string => join(seat.dataDir, "fixtures", "client", name);
      const certificate = new X509Certificate(readFileSync(file("cert.pem")));
      assert.equal(served.serial, certificate.serialNumber);
      assert.equal(certificate.subject, "O=etcd");
      assert.deepEqual(certificate.keyUsage, ["1.3.6.1.5.5.7.3.1"]);
      const lifeMs = Date.parse(certificate.validTo) - Date.parse(certificate.validFrom);
      assert.equal(lifeMs, 3 * 365 * 24 * HOUR_MS);
      assert.equal(statSync(file("key.pem")).mode & 0o777, 0o600);
      serials.push(served.serial);
      await server.stop();
    }
  }
  assert.deepEqual(serials.slice(2), serials.slice(0, 2));
});

test("a configuration file has the same settings", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const files = authority.issue();
  const pair = await startBoth(stage, (seat) => {
    const path = join(stage.folder, `${seat.clientPort}.yml`);
    const peer = `http://127.0.0.1:${seat.peerPort}`;
    const text = [
      `name: ${seat.name}`,
      `data-dir: ${seat.dataDir}`,
      `listen-client-urls: ${secureUrl(seat)}`,
      `advertise-client-urls: ${secureUrl(seat)}`,
      `listen-peer-urls: ${peer}`,
      `initial-advertise-peer-urls: ${peer}`,
      `initial-cluster: ${seat.name}=${peer}`,
      "tls-min-version: TLS1.3",
      "client-transport-security:",
      `  cert-file: ${files.certificate.path}`,
      `  key-file: ${files.key.path}`,
      `  trusted-ca-file: ${authority.trustedAuthority.path}`,
      "  client-cert-auth: true",
      "  allowed-hostname: [good.example.com]",
    ];
    writeFileSync(path, text.join("\n"));
    return [`--config-file=${path}`];
  });
  const good = authority.issue({ hosts: ["good.example.com"] });
  const outcomes = await compare(pair, {
    none: {},
    good: { certificate: good },
    "good with TLS 1.2": { certificate: good, version: "TLSv1.2" },
    other: { certificate: authority.issue() },
  });
  assert.deepEqual(outcomes, { none: false, good: true, "good with TLS 1.2": false, other: false });
});

test(
  "a common name is a user's: with client-cert-auth, without a token, and not for the gateway",
  { skip },
  async (t) => {
    const stage = Stage.for(t);
    const authority = TestAuthority.for(t);
    const show = (commonName?: string): CertificateFiles =>
      authority.issue({ hosts: [], ...(commonName === undefined ? {} : { commonName }) });
    const people = { root: show("root"), alice: show("alice"), bob: show("bob"), nobody: show() };
    const trusted = `--trusted-ca-file=${authority.trustedAuthority.path}`;
    const etcdctl = reference().etcdctl;
    const ask = async (server: Server, who: keyof typeof people, text: string): Promise<string> => {
      const { certificate, key } = people[who];
      const access = [
        `--endpoints=127.0.0.1:${server.seat.clientPort}`,
        `--cacert=${authority.trustedAuthority.path}`,
        `--cert=${certificate.path}`,
        `--key=${key.path}`,
      ];
      return shown(await run(etcdctl, [...access, ...text.split(" ")]));
    };
    const setup = [
      "user add root:secret",
      "user grant-role root root",
      "user add alice --no-password",
      "user add carol:secret",
      "role add reader",
      "role grant-permission reader read a",
      "role grant-permission reader readwrite b c",
      "user grant-role alice reader",
      "user grant-role carol reader",
      "put a 1",
      "auth enable",
    ];
    const asked: [who: keyof typeof people, text: string][] = [
      ["root", "user list"],
      ["root", "put x 1"],
      ["root", "auth status"],
      ["alice", "get a"],
      ["alice", "put a 2"],
      ["alice", "put b1 2"],
      ["alice", "get b c"],
      ["alice", "get x"],
      ["alice", "del b1"],
      ["alice", "user list"],
      ["alice", "user get alice"],
      ["alice", "lease grant 1000"],
      ["alice", "compaction 2"],
      ["alice", "--user root:secret put x 2"],
      ["alice", "--user carol:secret put x 2"],
      ["alice", "--user carol:wrong get a"],
      ["root", "--user carol:secret put x 3"],
      ["bob", "get a"],
      ["bob", "put a 3"],
      ["bob", "user list"],
      ["nobody", "get a"],
      ["nobody", "put a 3"],
      ["root", "get ~ --prefix".replace("~", "a")],
      ["root", "role revoke-permission reader a"],
      ["alice", "get a"],
      ["root", "auth disable"],
      ["bob", "get a"],
    ];
    for (const flags of [["--client-cert-auth"], []]) {
      const lines = flags.length > 0 ? asked : asked.filter(([who]) => who === "root").slice(0, 2);
      const pair = await startBoth(stage, secure(authority.issue(), trusted, ...flags));
      for (const text of setup) {
        for (const server of [pair.walnut, pair.etcd]) assert.match(await ask(server, "root", text), /^exit 0\n/, text);
      }
      const results: string[] = [];
      for (const [who, text] of lines) {
        const [ours, theirs] = [await ask(pair.walnut, who, text), await ask(pair.etcd, who, text)];
        assert.equal(ours, theirs, `${who}: ${text} ${flags.join(" ")}`);
        results.push(`${who}: ${text}: ${ours}`);
      }
      const told = results.join("\n");
      if (flags.length > 0) {
        assert.match(told, /alice: put b1 2: exit 0/);
        assert.match(told, /alice: put a 2: exit 1[^]*permission denied/);
      } else assert.match(told, /root: put x 1: exit 1[^]*user name is empty/);
      const [ours, theirs] = [await askAsGateway(pair.walnut, people.root), await askAsGateway(pair.etcd, people.root)];
      assert.deepEqual(ours, theirs);
      await pair.walnut.stop();
      await pair.etcd.stop();
    }
  },
);

/** What a call gets that says it comes from the JSON gateway, over a connection whose certificate is the root user's. */
async function askAsGateway(server: Server, { certificate, key }: CertificateFiles): Promise<object> {
  const client = new grpc.Client(
    server.address,
    grpc.credentials.createSsl(null, readFileSync(key.path), readFileSync(certificate.path), {
      rejectUnauthorized: false,
    }),
  );
  const same = (bytes: Buffer): Buffer => bytes;
  const ask = (metadata: grpc.Metadata): Promise<object> =>
    new Promise((resolve) => {
      client.makeUnaryRequest("/etcdserverpb.Auth/UserList", same, same, Buffer.alloc(0), metadata, {}, (error) =>
        resolve({ code: error?.code, text: error?.details }),
      );
    });
  try {
    const gateway = new grpc.Metadata();
    gateway.set("grpcgateway-accept", "*/*");
    return { plain: await ask(new grpc.Metadata()), gateway: await ask(gateway) };
  } finally {
    client.close();
  }
}

test("Walnut's commands take etcdctl's flags for TLS, with its output and its refusals", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const stranger = TestAuthority.for(t);
  const files = authority.issue({ hosts: ["127.0.0.1", "localhost"] });
  const elsewhere = authority.issue({ hosts: ["10.0.0.1"], commonName: "127.0.0.1" });
  const [alice, bob] = [authority.issue({ hosts: [] }), authority.issue({ hosts: [] })];
  const paths = (seat: Seat): string => join(stage.folder, `localhost:${seat.clientPort}`);
  const start = async (pair: CertificateFiles, ...more: readonly string[]): Promise<Server> => {
    const seat = await stage.seat();
    const urls = `${secureUrl(seat)},unixs://${paths(seat)}`;
    const flags = [...secure(pair, ...more)(seat), `--listen-client-urls=${urls}`];
    return stage.start(etcd("newest"), seat, { flags });
  };
  const trusted = `--trusted-ca-file=${authority.trustedAuthority.path}`;
  const servers = {
    open: await start(files),
    asking: await start(files, trusted),
    elsewhere: await start(elsewhere),
  };
  const ca = `--cacert=${authority.trustedAuthority.path}`;
  const show = (pair: CertificateFiles, key = pair): string[] => [
    `--cert=${pair.certificate.path}`,
    `--key=${key.key.path}`,
  ];
  const at = (server: Server, scheme = ""): string => `--endpoints=${scheme}${server.address}`;
  const none = `--cert=${join(authority.folder, "nowhere")}`;
  const environment = (...given: readonly string[]): Record<string, string> =>
    Object.fromEntries(
      given.map((flag) => {
        const [name, value] = flag.slice(2).split(/=(.*)/s) as [string, string];
        return [`ETCDCTL_${name.toUpperCase().replaceAll("-", "_")}`, value];
      }),
    );
  const cases: { readonly flags: readonly string[]; readonly env?: Record<string, string> }[] = [
    { flags: [at(servers.open, "https://"), ca] },
    { flags: [at(servers.open), ca] },
    { flags: [at(servers.open, "http://"), ca] },
    { flags: [at(servers.open, "https://")] },
    { flags: [at(servers.open)] },
    { flags: [at(servers.open, "https://"), "--insecure-skip-tls-verify"] },
    { flags: [at(servers.open), "--insecure-skip-tls-verify"] },
    { flags: [at(servers.open), "--insecure-skip-tls-verify", "--insecure-transport=false"] },
    { flags: [at(servers.open), "--insecure-transport=false"] },
    { flags: [at(servers.open, "https://"), `--cacert=${stranger.trustedAuthority.path}`] },
    {
      flags: [at(servers.open, "https://"), `--cacert=${stranger.trustedAuthority.path}`, "--insecure-skip-tls-verify"],
    },
    { flags: [at(servers.open, "https://"), ca, ...show(alice)] },
    { flags: [`--endpoints=https://localhost:${servers.open.seat.clientPort}`, ca] },
    { flags: [`--endpoints=unixs://${paths(servers.open.seat)}`, ca] },
    { flags: [`--endpoints=unix://${paths(servers.open.seat)}`, ca] },
    { flags: [at(servers.asking, "https://"), ca, ...show(alice)] },
    { flags: [at(servers.asking, "https://"), ca] },
    { flags: [at(servers.asking, "https://"), ca, ...show(stranger.issue())] },
    { flags: [at(servers.elsewhere, "https://"), ca] },
    { flags: [at(servers.elsewhere, "https://"), ca, "--insecure-skip-tls-verify"] },
    { flags: [at(servers.open), "--cacert=/nowhere"] },
    { flags: [at(servers.open, "http://"), "--cacert=/nowhere"] },
    { flags: [at(servers.open), "--cacert="] },
    { flags: [at(servers.open), ...show(alice).slice(0, 1)] },
    { flags: [at(servers.open), ...show(alice).slice(1)] },
    { flags: [at(servers.open), ...show(alice, bob)] },
    { flags: [at(servers.open), none, ...show(bob).slice(1)] },
    { flags: [at(servers.open), "--cert="] },
    { flags: [at(servers.open)], env: environment(ca) },
    { flags: [], env: environment(at(servers.asking, "https://"), ca, ...show(alice)) },
  ];
  const patience = ["--command-timeout=1500ms", "--dial-timeout=1s"];
  let served = 0;
  for (const { flags: given, env = {} } of cases) {
    const args = [...patience, ...given, "put", "a", "1"];
    const both = await Promise.all([runHere({ args, env }), run(reference().etcdctl, args, { env })]);
    const [ours, theirs] = both.map(shown) as [string, string];
    assert.equal(ours, theirs, given.join(" "));
    if (theirs.startsWith("exit 0")) served++;
  }
  assert.equal(served, 12, "as many as are meant to be served");
});

test("who is turned away is told in the log, in etcd's words", { skip }, async (t) => {
  const stage = Stage.for(t);
  const authority = TestAuthority.for(t);
  const stranger = TestAuthority.for(t);
  const revoked = authority.issue({ hosts: ["good.example.com", "10.0.0.1"] });
  const crl = join(authority.folder, "crl.pem");
  authority.revoke(crl, [revoked]);
  const pair = await startBoth(
    stage,
    secure(
      authority.issue(),
      `--trusted-ca-file=${authority.trustedAuthority.path}`,
      `--client-crl-file=${crl}`,
      "--client-cert-allowed-hostname=good.example.com",
    ),
  );
  const knocks: Record<string, Knock | string> = {
    "no TLS": "GET / HTTP/1.1\r\n\r\n",
    "an old version": { version: "TLSv1.1" },
    "a protocol": { alpn: ["spdy/3"] },
    "no cipher": { version: "TLSv1.2", ciphers: "AES128-SHA" },
    "no certificate": {},
    "a strange one": { certificate: stranger.issue() },
    "an old one": { certificate: authority.issue({ notAfter: Date.now() - 1_000 }) },
    "one for servers": { certificate: authority.issue({ uses: ["server"] }) },
    "one that is revoked": { certificate: revoked },
    "one that is not allowed": { certificate: authority.issue({ hosts: ["a.b"] }) },
  };
  for (const [name, words] of Object.entries(knocks)) {
    const told = async (server: Server): Promise<Record<string, unknown>> => {
      const over = await approach(doorOf(server));
      // By its port: etcd's own gateway knocks here as well, again and again, and is turned away as it shows the server's certificate.
      const from = `"remote-addr":"127.0.0.1:${over.localPort}"`;
      await (typeof words === "string" ? hear(over, words) : knock(doorOf(server), { ...words, over }));
      const line = await until(() =>
        server.log.find((text) => text.includes("rejected connection") && text.includes(from)),
      );
      return JSON.parse(line) as Record<string, unknown>;
    };
    const [ours, theirs] = [await told(pair.walnut), await told(pair.etcd)];
    assert.equal(ours["msg"], "rejected connection on client endpoint");
    assert.equal(ours["msg"], theirs["msg"]);
    assert.equal(ours["level"], theirs["level"], name);
    assert.equal(ours["server-name"], theirs["server-name"], name);
    // Go adds what it found or what it offers; Walnut, whom it does not know.
    const [our, their] = [String(ours["error"]), String(theirs["error"])];
    assert.ok(their.startsWith(our) || our.startsWith(`${their}: `), `${name}: ${our} / ${their}`);
    if (name === "one that is revoked") {
      for (const field of ["ip-addresses", "dns-names"]) assert.deepEqual(ours[field], theirs[field], field);
    }
  }
});

async function until<Found>(look: () => Found | undefined): Promise<Found> {
  for (let attempt = 0; attempt < 2_000; attempt++) {
    const found = look();
    if (found !== undefined) return found;
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  throw new Error("nothing came within ten seconds");
}

async function speaksHttp2(door: Door, preface: string): Promise<boolean> {
  const socket = net.connect("port" in door ? { ...door, host: "127.0.0.1" } : door);
  socket.write(preface, "latin1");
  const heard = await new Promise<Buffer>((resolve) => {
    socket.once("data", resolve);
    socket.once("close", () => resolve(Buffer.alloc(0)));
    socket.on("error", () => resolve(Buffer.alloc(0)));
  });
  socket.destroy();
  return heard[3] === 4; // SETTINGS
}
