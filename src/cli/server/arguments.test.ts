import assert from "node:assert/strict";
import { test } from "node:test";
import { ArgumentError, parseArguments, parseEnvironment } from "./arguments.js";
import { parseConfigFile } from "./config-file.js";
import { SERVER_FLAGS, type FlagName } from "./flags.js";
import { parseDuration, parseGoBoolean, parseGoInteger } from "./go-values.js";

const given = (...args: string[]): Record<string, string> => Object.fromEntries(parseArguments(args).given);
const file = (text: string): Record<string, string> => Object.fromEntries(parseConfigFile(text, "etcd.yml").given);

function refuses(run: () => unknown, code: ArgumentError["code"], exitCode: 1 | 2, sentence: RegExp): void {
  assert.throws(run, (error: unknown) => {
    assert.ok(error instanceof ArgumentError, String(error));
    assert.equal(error.code, code, error.message);
    assert.equal(error.exitCode, exitCode, error.message);
    assert.match(error.detail, sentence);
    return true;
  });
}

test("one dash or two, with = or a space: the same flag, and the last one counts", () => {
  for (const args of [["--name=m1"], ["-name=m1"], ["--name", "m1"], ["-name", "m1"], ["--name=x", "-name", "m1"]]) {
    assert.deepEqual(given(...args), { name: "m1" }, args.join(" "));
  }
  assert.deepEqual(given("--initial-cluster=a=http://b:1,c=http://d:2"), {
    "initial-cluster": "a=http://b:1,c=http://d:2",
  });
  assert.deepEqual(given("--name="), { name: "" }, "an empty value is a value");
  assert.deepEqual(given("--name", "--data-dir"), { name: "--data-dir" }, "as Go: what follows is the value");
  assert.deepEqual(given("--name=m1", "--"), { name: "m1" }, "-- ends the flags");
});

test("a boolean stands alone or has its value behind =, in Go's spellings only", () => {
  assert.deepEqual(given("--pre-vote"), { "pre-vote": "true" });
  for (const yes of ["1", "t", "T", "TRUE", "true", "True"])
    assert.equal(given(`-pre-vote=${yes}`)["pre-vote"], "true");
  for (const no of ["0", "f", "F", "FALSE", "false", "False"])
    assert.equal(given(`-pre-vote=${no}`)["pre-vote"], "false");
  refuses(() => given("--pre-vote=tRuE"), "FLAG_INVALID", 2, /--pre-vote: "tRuE" is not true or false/);
  refuses(() => given("--pre-vote", "false"), "ARGUMENT_UNEXPECTED", 1, /"false" is not a flag/);
});

test("numbers are Go's: grouped, in any base, unsigned where etcd's are", () => {
  assert.deepEqual(given("--snapshot-count=0x10", "--max-wals=1_000", "--quota-backend-bytes=-1"), {
    "snapshot-count": "16",
    "max-wals": "1000",
    "quota-backend-bytes": "-1",
  });
  for (const bad of ["abc", "-1", "+1", "1e9", "1.5", "", "09", "0x", "1__0", "9007199254740993"]) {
    refuses(() => given(`--snapshot-count=${bad}`), "FLAG_INVALID", 2, /is not a whole number from 0 on/);
  }
  assert.equal(parseGoInteger("0b101"), 5);
  assert.equal(parseGoInteger("0o17"), 15);
  assert.equal(parseGoInteger("017"), 15);
  assert.equal(parseGoInteger("-0"), 0);
  assert.equal(parseGoBoolean("yes"), undefined);
});

test("durations are Go's", () => {
  const cases: [string, number | undefined][] = [
    ["100ms", 100],
    ["1h2m3s", 3_723_000],
    [".5s", 500],
    ["1.s", 1000],
    ["-1s", -1000],
    ["0", 0],
    ["2µs", 0.002],
    ["7ns", 0.000_007],
    ["5", undefined],
    ["s", undefined],
    ["1s 2s", undefined],
    ["", undefined],
  ];
  for (const [text, milliseconds] of cases) assert.equal(parseDuration(text), milliseconds, text);
  refuses(() => given("--backend-batch-interval=5"), "FLAG_INVALID", 2, /"5" is not a duration/);
});

test("what is no flag is refused with etcd's exit code", () => {
  refuses(() => given("--nosuch"), "FLAG_UNKNOWN", 2, /--nosuch is not a flag of etcd 3.5.*walnut --help/);
  refuses(() => given("--nosuch=3"), "FLAG_UNKNOWN", 2, /--nosuch/);
  refuses(() => given("--constructor"), "FLAG_UNKNOWN", 2, /--constructor/);
  refuses(() => given("extra"), "ARGUMENT_UNEXPECTED", 1, /"extra"/);
  refuses(() => given("-"), "ARGUMENT_UNEXPECTED", 1, /"-"/);
  refuses(() => given("--", "x"), "ARGUMENT_UNEXPECTED", 1, /"x"/);
  refuses(() => given("---name=x"), "ARGUMENT_UNEXPECTED", 2, /"---name=x"/);
  refuses(() => given("--=x"), "ARGUMENT_UNEXPECTED", 2, /"--=x"/);
  refuses(() => given("--name"), "FLAG_INVALID", 2, /--name needs a value/);
});

test("help wins where it stands; the version waits for the rest of the line", () => {
  assert.equal(parseArguments(["--help"]).asked, "help");
  assert.equal(parseArguments(["--name=x", "-h", "--nosuch"]).asked, "help");
  assert.equal(parseArguments(["--name=x", "-version"]).asked, "version");
  assert.equal(parseArguments(["--version=false"]).asked, undefined);
  refuses(() => parseArguments(["--version", "--nosuch"]), "FLAG_UNKNOWN", 2, /--nosuch/);
});

test("every flag may be given with its default; one that does nothing here is refused with another value", () => {
  const other: Record<string, string> = { boolean: "", number: "7", integer: "7", duration: "7s", urls: "http://a:7" };
  for (const name of Object.keys(SERVER_FLAGS) as FlagName[]) {
    const flag: { kind: string; default: string; help?: string; refusal?: string } = SERVER_FLAGS[name];
    if (flag.default !== "" || flag.kind === "text") {
      assert.doesNotThrow(() => given(`--${name}=${flag.default}`), `--${name}=${flag.default}`);
    }
    if (flag.help !== undefined || "accepted" in flag) continue;
    const value = flag.kind === "boolean" ? String(flag.default !== "true") : (other[flag.kind] ?? "another");
    refuses(() => given(`--${name}=${value}`), "FLAG_UNSUPPORTED", 1, /known, but .*; leave it out/);
  }
  refuses(
    () => given("--enable-v2"),
    "FLAG_UNSUPPORTED",
    1,
    /the v2 API is not served .*; use clients of v3; leave it out/,
  );
  assert.doesNotThrow(() => given("--grpc-keepalive-min-time=5000ms"), "the default in other words");
});

test("a variable is its flag's name in capitals; what no flag has and what is empty is told and passed over", () => {
  const { given: flags, warnings } = parseEnvironment({
    ETCD_NAME: "m1",
    ETCD_SNAPSHOT_COUNT: "0x10",
    ETCD_PRE_VOTE: "f",
    ETCD_NOSUCH: "1",
    ETCD_DATA_DIR: "",
    ETCD_UNSUPPORTED_ARCH: "arm64",
    ETCDCTL_API: "3",
    HOME: "/root",
  });
  assert.deepEqual(Object.fromEntries(flags), { name: "m1", "snapshot-count": "16", "pre-vote": "false" });
  assert.deepEqual(
    warnings.map(({ message, fields }) => `${message} ${fields["environment-variable"]}`),
    ["ETCD_NOSUCH=1", "ETCD_DATA_DIR=", "ETCD_UNSUPPORTED_ARCH=arm64"].map(
      (text) => `unrecognized environment variable ${text}`,
    ),
  );
});

test("a bad variable is refused by its own name, and so is one whose flag was given, too", () => {
  const snapshots = { ETCD_SNAPSHOT_COUNT: "abc" };
  refuses(() => parseEnvironment(snapshots), "FLAG_INVALID", 1, /ETCD_SNAPSHOT_COUNT: "abc" is not a whole number/);
  refuses(() => parseEnvironment({ ETCD_ENABLE_V2: "true" }), "FLAG_UNSUPPORTED", 1, /ETCD_ENABLE_V2/);
  const { given: flags } = parseArguments(["--name=m1"]);
  const both = /ETCD_NAME is set and --name is given: unset the variable/;
  refuses(() => parseEnvironment({ ETCD_NAME: "m1" }, flags), "FLAG_INVALID", 1, both);
});

test("a configuration file gives the same flags", () => {
  const text = [
    "# a comment",
    "name: 'm1'",
    "data-dir:",
    "snapshot-count: 10000",
    "backend-batch-interval: 5000000",
    "listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2",
    "initial-cluster:",
    "strict-reconfig-check: no",
    "log-outputs: [stderr, out.log]",
    "experimental-snapshot-catch-up-entries: 7",
    "proxy: 'off'",
    "cors: ''",
    "client-transport-security:",
    "  cert-file:",
    "  key-file: k.pem",
    "  client-cert-auth: false",
    "  allowed-hostname: [c, d]",
    "  auto-tls: true",
    "peer-transport-security:",
    "  cert-file: a.pem",
    "  client-cert-auth: true",
    "  allowed-hostname: [a, b]",
    "  auto-tls: false",
  ].join("\n");
  assert.deepEqual(file(text), {
    name: "m1",
    "snapshot-count": "10000",
    "backend-batch-interval": "5000000ns",
    "listen-client-urls": "http://127.0.0.1:1,http://127.0.0.1:2",
    "strict-reconfig-check": "false",
    "log-outputs": "stderr,out.log",
    "experimental-snapshot-catchup-entries": "7",
    proxy: "off",
    "key-file": "k.pem",
    "client-cert-auth": "false",
    "client-cert-allowed-hostname": "c,d",
    "auto-tls": "true",
    "peer-cert-file": "a.pem",
    "peer-client-cert-auth": "true",
    "peer-cert-allowed-hostname": "a,b",
    "peer-auto-tls": "false",
  });
  assert.deepEqual(file(""), {});
  assert.deepEqual(file("# nothing\n"), {});
});

test("a value in a configuration file has the type that etcd asks for", () => {
  refuses(() => file("snapshot-count: '5'"), "FLAG_INVALID", 1, /snapshot-count in etcd.yml is "5": .*without quotes/);
  refuses(() => file("snapshot-count: abc"), "FLAG_INVALID", 1, /must be a number/);
  refuses(() => file("snapshot-count: -5"), "FLAG_INVALID", 1, /whole number from 0 on/);
  refuses(() => file("snapshot-count: 1.5"), "FLAG_INVALID", 1, /whole number from 0 on/);
  refuses(() => file("backend-batch-interval: 1s"), "FLAG_INVALID", 1, /nanoseconds/);
  refuses(() => file("pre-vote: 'yes'"), "FLAG_INVALID", 1, /must be true or false/);
  refuses(() => file("listen-client-urls: [http://127.0.0.1:1]"), "FLAG_INVALID", 1, /must be a text/);
  refuses(() => file("log-outputs: stderr"), "FLAG_INVALID", 1, /must be a list/);
  refuses(() => file("name: y"), "FLAG_INVALID", 1, /must be a text/);
  refuses(() => file("enable-v2: true"), "FLAG_UNSUPPORTED", 1, /enable-v2 in etcd.yml/);
  refuses(
    () => file("client-transport-security:\n  cert-file: 1"),
    "FLAG_INVALID",
    1,
    /security.cert-file in .* a text/,
  );
  refuses(() => file("client-transport-security:\n  allowed-hostname: a"), "FLAG_INVALID", 1, /must be a list/);
  refuses(() => file("peer-transport-security:\n  cert-file: 1"), "FLAG_INVALID", 1, /security.cert-file in .* a text/);
  refuses(() => file("socket-options:\n  reuse-port: true"), "FLAG_UNSUPPORTED", 1, /socket-options.reuse-port/);
});

test("a configuration file that is none is refused; keys that no flag has are told and passed over", () => {
  refuses(() => file("- 1"), "CONFIG_FILE_INVALID", 1, /etcd.yml holds no mapping/);
  refuses(() => file("just text"), "CONFIG_FILE_INVALID", 1, /no mapping/);
  refuses(() => file(": : :"), "CONFIG_FILE_INVALID", 1, /is not YAML/);
  refuses(() => file("name: 'a"), "CONFIG_FILE_INVALID", 1, /is not YAML/);
  const text = "nosuch: 1\nname: m1\ncert-file: a\nclient-transport-security: { allowed-cn: [a] }";
  const { given: flags, warnings } = parseConfigFile(text, "etcd.yml");
  assert.deepEqual([...flags], [["name", "m1"]]);
  assert.deepEqual(
    warnings,
    ["nosuch", "cert-file", "client-transport-security.allowed-cn"].map((key) => ({
      message: "unrecognized key in the configuration file",
      fields: { key, path: "etcd.yml" },
    })),
  );
});
