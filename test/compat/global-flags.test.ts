/** etcdctl's global flags, faults of flags and commands, endpoints that are down, TLS and discovery: `walnut` does what etcdctl does. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import test, { before } from "node:test";
import { reference, skipReason, underTest, walnut } from "../support/binaries.js";
import { Stage } from "../support/servers.js";
import { run, skipWithout, type Output } from "../support/tools.js";

const skip = skipReason();

let ours: readonly string[] = [];
let theirs: readonly string[] = [];
before(() => {
  if (skip !== false) return;
  ours = walnut().command;
  theirs = [reference().etcdctl];
});

async function both(words: readonly string[], env: Readonly<Record<string, string>> = {}): Promise<[Output, Output]> {
  const [first, ...rest] = ours as [string, ...string[]];
  return Promise.all([
    run(theirs[0]!, words, { env: { ETCDCTL_API: "3", ...env } }),
    run(first, [...rest, ...words], { env }),
  ]);
}

/** What etcdctl says first, without its log; and what it prints, without its usage text. */
function shown({ code, stdout, stderr }: Output): string {
  const [told = ""] = stderr.split("\n").filter((line) => /^(Error|Failed|ignoring)|is unhealthy/.test(line));
  const printed = /^(NAME|Usage):/.test(stdout) ? "usage" : stdout;
  // What stands behind a fault of a flag is the usage.
  return `exit ${code}\n${told}\n${told.startsWith("Error") ? "" : printed}`
    .replace(/\b[\d.]+(ns|µs|ms|s)\b/g, "TIME")
    .replaceAll("etcdctl", "walnut");
}

async function compare(line: string, env?: Readonly<Record<string, string>>): Promise<void> {
  const [expected, found] = await both(line.split(" "), env);
  assert.equal(shown(found), shown(expected), line);
}

const FAULTS = [
  "get a --nuts",
  "get a --nuts=3",
  "get a -x",
  "get a --limit=nuts",
  "get --limit",
  "get a -w",
  "get a --prefix=nuts",
  "get a --hex=nuts",
  "get a --command-timeout=nuts",
  "get a --cacert=nofile",
  "get a --cert=nofile",
  "get a --cert=nofile --key=nofile",
  "get a --cacert=",
  "gett a",
  "xxxxxxxx",
  "downgrade validate 3.5",
  "endpoint",
  "endpoint nuts",
  "completion",
  "lease gran 5 6",
  "mem promote",
];

test("faults of flags and commands are told in etcdctl's words", { skip }, async () => {
  for (const line of FAULTS) await compare(line);
});

test("commands go by unique beginnings, and --debug shows the flags in force", { skip }, async (t) => {
  const stage = Stage.for(t);
  const { address } = await stage.start(underTest(), await stage.seat());
  for (const line of ["pu a 1", "ge a", "end heal", "mem li -w simple", "lea li"]) {
    await compare(line, { ETCDCTL_ENDPOINTS: address });
  }
  const env = { ETCDCTL_ENDPOINTS: `${address}, 127.0.0.1:1`, ETCDCTL_HEX: "1", ETCDCTL_DIAL_TIMEOUT: "1m30s" };
  const [expected, found] = await both(["get", "a", "--debug", "--user", "x:y", "-w", "fields"], env);
  const flags = ({ stderr }: Output): string[] => stderr.split("\n").filter((line) => line.startsWith("ETCDCTL_"));
  assert.ok(flags(expected).length > 10);
  assert.deepEqual(flags(found), flags(expected));
  const [their, our] = await both(["version"]);
  assert.deepEqual(our.stdout.split("\n").slice(0, 2), their.stdout.split("\n").slice(0, 2));
});

test(
  "an endpoint that is down ends a command as it ends etcdctl's, or is passed over for another one",
  { skip },
  async (t) => {
    const down = "--endpoints=127.0.0.1:1 --command-timeout=400ms --dial-timeout=400ms";
    for (const line of [
      "put a b",
      "get a",
      "del a",
      "txn",
      "member list",
      "endpoint status",
      "endpoint health",
      "endpoint hashkv",
      "endpoint health --cluster",
      "lease grant 5",
      "compaction 3",
      "alarm list",
      "defrag",
      "auth enable",
      "move-leader 7",
      `snapshot save ${join(Stage.for(t).folder, "x.db")}`,
    ]) {
      await compare(`${line} ${down}`);
    }
    const stage = Stage.for(t);
    const { address } = await stage.start(underTest(), await stage.seat());
    for (const line of [
      "put a b",
      "get a",
      "lease revoke 7",
      "endpoint status --command-timeout=1s -w nuts",
      "endpoint health -w nuts",
    ]) {
      await compare(`${line} --endpoints=127.0.0.1:1,${address},127.0.0.1:2`);
    }
  },
);

test(
  "TLS: with https, without a scheme, with the client's certificate, and what is refused",
  { skip: skip || skipWithout("openssl", "openssl") },
  async (t) => {
    const stage = Stage.for(t);
    const file = (name: string): string => join(stage.folder, name);
    const openssl = (...words: string[]): void => {
      const { status, stderr } = spawnSync("openssl", words, { encoding: "utf8" });
      assert.equal(status, 0, stderr);
    };
    const certify = (name: string, usage: string): void => {
      writeFileSync(file("ext"), `subjectAltName=IP:127.0.0.1,DNS:localhost\nextendedKeyUsage=${usage}\n`);
      openssl(
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-subj",
        `/CN=${name}`,
        "-keyout",
        file(`${name}.key`),
        "-out",
        file("csr"),
      );
      const signed = ["-CA", file("ca.pem"), "-CAkey", file("ca.key"), "-CAcreateserial", "-extfile", file("ext")];
      openssl("x509", "-req", "-in", file("csr"), ...signed, "-days", "2", "-out", file(`${name}.pem`));
    };
    for (const name of ["ca", "stranger"]) {
      openssl(
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        `/CN=${name}`,
        "-keyout",
        file(`${name}.key`),
        "-out",
        file(`${name}.pem`),
      );
    }
    certify("server", "serverAuth");
    certify("client", "clientAuth");
    // Real etcd's port: what is judged here is the command.
    const seat = await stage.seat();
    const url = `https://127.0.0.1:${seat.clientPort}`;
    await stage.start(reference(), seat, {
      flags: [
        `--listen-client-urls=${url}`,
        `--advertise-client-urls=${url}`,
        "--client-cert-auth",
        `--cert-file=${file("server.pem")}`,
        `--key-file=${file("server.key")}`,
        `--trusted-ca-file=${file("ca.pem")}`,
      ],
    });
    const certificate = `--cert=${file("client.pem")} --key=${file("client.key")}`;
    const trust = `--cacert=${file("ca.pem")}`;
    const bare = `127.0.0.1:${seat.clientPort}`;
    const short = "--command-timeout=1500ms --dial-timeout=1500ms";
    for (const line of [
      `put a 1 --endpoints=${url} ${trust} ${certificate}`,
      `get a --endpoints=${bare} ${trust} ${certificate}`,
      `get a --endpoints=localhost:${seat.clientPort} ${trust} ${certificate}`,
      `get a --endpoints=${bare} ${certificate} --insecure-skip-tls-verify`,
      `endpoint health --cluster --endpoints=${bare} ${trust} ${certificate}`,
      `get a --endpoints=http://${bare} ${trust} ${certificate} ${short}`,
      `get a --endpoints=${bare} ${short}`,
      `get a --endpoints=${url} ${trust} ${short}`,
      `get a --endpoints=${url} ${certificate} --cacert=${file("stranger.pem")} ${short}`,
      `get a --endpoints=${url} --cert=${file("client.pem")} --key=nofile`,
      `put b 1 --endpoints=${url} --insecure-transport=false ${certificate} ${trust}`,
    ]) {
      await compare(line);
    }
  },
);

/** Priorities and ports by service. */
type Services = ReadonlyMap<string, readonly (readonly [priority: number, port: number])[]>;

const TYPE = { a: 1, srv: 33 } as const;
/** The one host that the name server knows, as it stands in a record. */
const HOST = Buffer.concat([
  Buffer.from([6]),
  Buffer.from("member"),
  Buffer.from([4]),
  Buffer.from("test"),
  Buffer.from([0]),
]);

/** A name server, as far as two clients need one. */
async function nameServer(address: string, services: Services) {
  const socket = createSocket("udp4");
  socket.on("message", (query, { port, address: from }) => {
    let at = 12;
    const labels: string[] = [];
    for (let length = query[at]!; length !== 0; length = query[at]!) {
      labels.push(query.subarray(at + 1, at + 1 + length).toString());
      at += 1 + length;
    }
    const name = labels.join(".").toLowerCase();
    const type = query.readUInt16BE(at + 1);
    const isHost = name === "member.test";
    const answers = type === TYPE.a && isHost ? [record(type, Buffer.from([127, 0, 0, 1]))] : [];
    for (const numbers of (type === TYPE.srv ? services.get(name) : undefined) ?? []) {
      const [priority, servedAt] = numbers;
      const head = Buffer.alloc(6);
      head.writeUInt16BE(priority, 0);
      head.writeUInt16BE(servedAt, 4);
      answers.push(record(type, Buffer.concat([head, HOST])));
    }
    const header = Buffer.from(query.subarray(0, 12));
    header.writeUInt16BE(answers.length > 0 || isHost ? 0x8580 : 0x8583, 2);
    header.writeUInt16BE(1, 4);
    header.writeUInt16BE(answers.length, 6);
    header.writeUInt32BE(0, 8);
    socket.send(Buffer.concat([header, query.subarray(12, at + 5), ...answers]), port, from);
  });
  socket.bind(53, address);
  await once(socket, "listening");
  return socket;
}

/** An answer to what was asked. */
function record(type: number, data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeUInt16BE(0xc00c, 0); // the question's name
  head.writeUInt16BE(type, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt32BE(60, 6);
  head.writeUInt16BE(data.length, 10);
  return Buffer.concat([head, data]);
}

/** Changing where names are looked up takes a mount of this test's own. */
function skipMounts(): string | false {
  if (process.getuid?.() !== 0) return "discovery needs root, for a name server of its own: run the tests as root";
  return spawnSync("unshare", ["-m", "true"]).status === 0 ? false : "mounts of its own are not allowed here";
}

test("endpoints are found by SRV records, as etcdctl finds them", { skip: skip || skipMounts() }, async (t) => {
  const stage = Stage.for(t);
  const { seat } = await stage.start(underTest(), await stage.seat());
  const names = await nameServer(
    "127.0.53.53",
    new Map([
      [
        "_etcd-client._tcp.example.test",
        [
          [2, 1],
          [1, seat.clientPort],
        ],
      ],
      ["_etcd-client-west._tcp.example.test", [[1, seat.clientPort]]],
    ]),
  );
  t.after(() => names.close());
  const file = join(stage.folder, "resolv.conf");
  writeFileSync(file, "nameserver 127.0.53.53\noptions timeout:1 attempts:1\n");
  const looked = async (command: readonly string[], words: readonly string[]): Promise<Output> =>
    run("unshare", [
      "-m",
      "sh",
      "-c",
      `mount --bind ${file} /etc/resolv.conf && exec "$@"`,
      "sh",
      ...command,
      ...words,
    ]);
  for (const line of [
    "put a 1 --discovery-srv=example.test",
    "get a -d example.test --discovery-srv-name=west",
    "lease revoke 7 --discovery-srv=example.test --discovery-srv-name=west",
    "endpoint health --cluster -d example.test",
    "get a --discovery-srv=none.test",
    "get a --discovery-srv=example.test --discovery-srv-name=nuts",
    `get a -d example.test --insecure-discovery=false --endpoints=http://127.0.0.1:${seat.clientPort}`,
  ]) {
    const words = line.split(" ");
    const [expected, found] = [await looked(theirs, words), await looked(ours, words)];
    assert.equal(shown(found), shown(expected), line);
  }
  // etcdctl's commands for endpoints pass over what was discovered unless they ask all members.
  const { stdout } = await looked(ours, ["endpoint", "health", "-d", "example.test", "--discovery-srv-name=west"]);
  assert.match(stdout, new RegExp(`^http://member\\.test\\.:${seat.clientPort} is healthy`));
});
