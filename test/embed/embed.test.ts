/** Walnut as another program uses it: the package as it is published, the examples of `docs/embedding.md`, members in this process. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { spawnSync } from "node:child_process";
import test, { type TestContext } from "node:test";
import { type ClientTls, Walnut, type WalnutOptions } from "../../src/embed/index.js";
import { nodePlatform } from "../../src/platform/node/index.js";
import { silentLog } from "../../src/platform/log.js";
import { TestAuthority } from "../../src/tls/testing/authority.js";
import { PROJECT } from "../support/binaries.js";
import { EtcdClient } from "../support/client.js";
import { hear, knock } from "../support/tls-client.js";
import { fingerprint } from "../support/tree.js";

function folderFor(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), "walnut-embed-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

async function started(t: TestContext, options: WalnutOptions): Promise<Walnut> {
  const walnut = await Walnut.start(options);
  t.after(() => walnut.stop());
  return walnut;
}

const clientOf = (walnut: Walnut): EtcdClient => new EtcdClient(walnut.clientUrls[0]!.replace("http://", ""));

// ---- the package --------------------------------------------------------------------------------------------------

interface Example {
  readonly title: string;
  readonly code: string;
  readonly output: string;
}

function examples(): Example[] {
  const page = readFileSync(join(PROJECT, "docs", "embedding.md"), "utf8");
  return page
    .split(/^## /m)
    .slice(1)
    .map((section) => ({
      title: section.slice(0, section.indexOf("\n")),
      code: /```js\n([^]*?)```/.exec(section)![1]!,
      output: /```text\n([^]*?)```/.exec(section)![1]!,
    }));
}

interface Description {
  readonly exports: Readonly<Record<string, { readonly types: string; readonly default: string }>>;
  readonly dependencies: Readonly<Record<string, string>>;
  readonly bin: Readonly<Record<string, string>>;
}

/** A program's folder in which `walnut` is installed from what `npm pack` publishes; its dependencies are this project's. */
function installed(folder: string): Description {
  const pack = spawnSync("npm", ["pack", "--ignore-scripts", "--silent", "--pack-destination", folder], {
    cwd: PROJECT,
    encoding: "utf8",
  });
  assert.equal(pack.status, 0, pack.stderr);
  const target = join(folder, "node_modules", "walnut");
  mkdirSync(target, { recursive: true });
  const archive = join(folder, pack.stdout.trim().split("\n").at(-1)!);
  const unpacked = spawnSync("tar", ["-xzf", archive, "--strip-components=1", "-C", target]);
  assert.equal(unpacked.status, 0, String(unpacked.stderr));
  const description = JSON.parse(readFileSync(join(target, "package.json"), "utf8")) as Description;
  for (const name of Object.keys(description.dependencies)) {
    const link = join(folder, "node_modules", name);
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(join(PROJECT, "node_modules", name), link);
  }
  return description;
}

test("the package as it is published has every export, its types and its command; the examples run on it", async (t) => {
  const folder = folderFor(t);
  const { exports, bin } = installed(folder);
  for (const [name, { types, default: code }] of Object.entries(exports)) {
    for (const file of [types, code])
      assert.ok(existsSync(join(folder, "node_modules/walnut", file)), `${name}: ${file}`);
  }
  const version = spawnSync(process.execPath, [join(folder, "node_modules/walnut", bin["walnut"]!), "--version"], {
    encoding: "utf8",
  });
  assert.match(version.stdout, /^etcd Version: 3\.5\.30\n/);

  const all = examples();
  const code = all.map((example) => example.code).join("\n");
  for (const name of Object.keys(exports)) {
    const path = name.replace(/^\./, "walnut");
    assert.ok(code.includes(`from "${path}"`), `docs/embedding.md has no example of ${path}`);
  }
  for (const [i, example] of all.entries()) {
    await t.test(`docs/embedding.md: ${example.title}`, () => {
      const cwd = join(folder, `example-${i}`);
      mkdirSync(cwd);
      const file = join(folder, `example-${i}.mjs`);
      writeFileSync(file, example.code);
      // A process that does not end by itself has left a handle open.
      const run = spawnSync(process.execPath, [file], { cwd, encoding: "utf8", timeout: 60_000 });
      assert.deepEqual([run.status, run.stdout, run.stderr], [0, example.output, ""], example.title);
    });
  }
});

// ---- members in this process --------------------------------------------------------------------------------------

test("two members in one process know nothing of each other, and start again on their folders", async (t) => {
  const folder = folderFor(t);
  const options = (name: string): WalnutOptions => ({ dataDir: join(folder, name), member: { name } });
  for (const round of [1, 2]) {
    const both = [await started(t, options("one")), await started(t, options("two"))] as const;
    assert.notEqual(both[0].clientUrls[0], both[1].clientUrls[0]);
    for (const walnut of both) {
      const client = clientOf(walnut);
      const { name } = walnut.member;
      assert.equal(await client.put("name", `${name} in round ${round}`), 1 + round);
      const values: string[] = [];
      for await (const { value } of client.keys()) values.push(Buffer.from(value).toString());
      assert.deepEqual(values, [`${name} in round ${round}`]);
      const [member] = (await walnut.member.memberList(false)).members;
      assert.deepEqual(member!.clientUrls, walnut.clientUrls, "the port that the system chose is what others are told");
      client.close();
    }
    await Promise.all(both.map((walnut) => walnut.stop()));
    await both[0].stop(); // a second time is no harm
  }
});

test("a process with a member that was stopped ends by itself; one with a member that runs does not", (t) => {
  const folder = folderFor(t);
  const main = JSON.stringify(join(PROJECT, "dist/src/embed/index.js"));
  const program = (end: string): string =>
    `import { Walnut } from ${main}; const walnut = await Walnut.start({ dataDir: ${JSON.stringify(folder)} }); ${end}`;
  const run = (end: string, timeout: number): ReturnType<typeof spawnSync> =>
    spawnSync(process.execPath, ["--input-type=module", "-e", program(end)], { timeout, encoding: "utf8" });
  const stopped = run("await walnut.stop(); console.log(process.getActiveResourcesInfo().join())", 60_000);
  assert.deepEqual([stopped.status, stopped.stderr], [0, ""]);
  const running = run("setTimeout(() => process.exit(7), 500).unref()", 60_000);
  assert.equal(running.status, 7, "the unreferenced timer came, for the member kept the process");
});

test("a start that is refused leaves nothing open and nothing behind", async (t) => {
  const folder = folderFor(t);
  const first = await started(t, { dataDir: join(folder, "one") });
  const port = { dataDir: join(folder, "two"), listenClientUrls: ["http://127.0.0.1:0", first.clientUrls[0]!] };
  await assert.rejects(Walnut.start(port), { code: "PORT_IN_USE" });
  assert.equal(existsSync(join(folder, "two")), false);
  await assert.rejects(Walnut.start({ dataDir: join(folder, "one") }), { code: "DATA_DIR_LOCKED" });
  await assert.rejects(Walnut.start({ dataDir: join(folder, "three"), member: { heartbeatMs: 0 } }), {
    code: "OPTIONS_INVALID",
  });
  await assert.rejects(Walnut.start({ dataDir: folder, listenClientUrls: ["https://127.0.0.1:0"] }), {
    code: "OPTIONS_INVALID",
  });
  assert.equal(await clientOf(first).put("still", "served"), 2);
  await first.stop();
  const before = fingerprint(join(folder, "one"));
  const again = { dataDir: join(folder, "one"), listenClientUrls: ["http://127.0.0.1:1"] };
  if (process.getuid?.() !== 0) await assert.rejects(Walnut.start(again), { code: "PORT_UNUSABLE" });
  assert.deepEqual(fingerprint(join(folder, "one")), before);
});

test("a program's member serves clients over TLS, with certificates or with one that it makes", async (t) => {
  const folder = folderFor(t);
  const authority = TestAuthority.for(t);
  const { certificate, key } = authority.issue({ hosts: ["localhost", "127.0.0.1"] });
  const walnut = await started(t, {
    dataDir: join(folder, "given"),
    listenClientUrls: ["https://localhost:0", `unixs://${join(folder, "s")}`, "http://127.0.0.1:0"],
    listenMetricsUrls: ["https://127.0.0.1:0"],
    clientTls: {
      certFile: certificate.path,
      keyFile: key.path,
      trustedCaFile: authority.trustedAuthority.path,
      clientCertAuth: true,
      allowedHostnames: ["127.0.0.1"],
      minVersion: "TLS1.3",
    },
    clientLimits: { maxConcurrentStreams: 3, keepAliveMinMs: 0 },
  });
  const [secure = "", unix, plain = ""] = walnut.clientUrls;
  assert.match(secure, /^https:\/\/127\.0\.0\.1:\d+$/);
  assert.equal(unix, `unixs://${join(folder, "s")}`);
  assert.match(plain, /^http:\/\/127\.0\.0\.1:\d+$/);
  assert.deepEqual(walnut.clientHttpUrls, []);
  const show = { certificate: { certificate, key } };
  const portOf = (url: string): { port: number } => ({ port: Number(new URL(url).port) });
  assert.equal((await knock(portOf(secure), show))?.version, "TLSv1.3");
  assert.equal((await knock({ path: join(folder, "s") }, show))?.status, 200);
  assert.equal((await knock(portOf(walnut.metricsUrls[0]!), show))?.status, 404, "no version there");
  assert.equal(await knock(portOf(secure), { ...show, version: "TLSv1.2" }), undefined);
  assert.equal(await knock(portOf(secure)), undefined, "no certificate");
  assert.match(
    await hear(portOf(plain), "GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"),
    /"health":"true"/,
  );
  const own = await started(t, {
    dataDir: join(folder, "own"),
    listenClientUrls: ["https://127.0.0.1:0"],
    clientTls: { auto: true },
  });
  assert.equal((await knock(portOf(own.clientUrls[0]!)))?.names, "IP Address:127.0.0.1");
});

test("TLS that cannot be is refused before anything is opened or made", async (t) => {
  const folder = folderFor(t);
  const { certificate, key } = TestAuthority.for(t).issue();
  const pair: ClientTls = { certFile: certificate.path, keyFile: key.path };
  const start = (clientTls: ClientTls, options: Partial<WalnutOptions> = {}): Promise<Walnut> =>
    Walnut.start({ dataDir: join(folder, "never"), listenClientUrls: ["https://127.0.0.1:0"], clientTls, ...options });
  const refused: [start: () => Promise<Walnut>, code: string, detail: RegExp][] = [
    [() => start({}), "OPTIONS_INVALID", /--cert-file, --key-file\) must be provided for client url https:/],
    [() => start({ certFile: certificate.path }), "OPTIONS_INVALID", /--cert-file and --key-file go together/],
    [() => start({ ...pair, clientKeyFile: key.path }), "OPTIONS_INVALID", /--client-cert-file and --client-key-file/],
    [() => start({ ...pair, cipherSuites: ["TLS_AES_128_GCM_SHA256"] }), "OPTIONS_INVALID", /HTTP\/2-required/],
    [
      () => start({ ...pair, minVersion: "TLS1.3", maxVersion: "TLS1.2" }),
      "OPTIONS_INVALID",
      /greater than max version/,
    ],
    [() => start({ ...pair, cipherSuites: ["x"] }), "TLS_INVALID", /unexpected TLS cipher suite "x"/],
    [() => start({ ...pair, certFile: key.path }), "TLS_INVALID", /no certificate with its key/],
    [() => start({ ...pair, trustedCaFile: join(folder, "ca") }), "TLS_INVALID", /ca cannot be read/],
    [() => start({ auto: true, selfSignedValidityYears: 0 }), "OPTIONS_INVALID", /must be greater than 0/],
    [() => start(pair, { listenClientHttpUrls: ["ftp://x"] }), "OPTIONS_INVALID", /--listen-client-http-urls: "ftp:/],
    [
      () => start(pair, { listenClientUrls: ["http://127.0.0.1:1"], listenClientHttpUrls: ["https://127.0.0.1:1"] }),
      "OPTIONS_INVALID",
      /cannot bind both --listen-client-urls and --listen-client-http-urls/,
    ],
    [
      () => start({}, { listenClientUrls: [], listenMetricsUrls: ["https://127.0.0.1:0"] }),
      "OPTIONS_INVALID",
      /metrics/,
    ],
  ];
  for (const [starting, code, detail] of refused) {
    await assert.rejects(starting(), (error: { code?: string; message?: string }) => {
      assert.equal(error.code, code, error.message);
      assert.match(error.message!, detail);
      return true;
    });
  }
  assert.equal(existsSync(join(folder, "never")), false);
});

test("a disk that fails is told once, and the member acknowledges nothing more", async (t) => {
  const folder = folderFor(t);
  const real = nodePlatform();
  const state = { broken: false };
  const disk: typeof real.disk = Object.create(real.disk, {
    open: {
      value: async (...args: Parameters<typeof real.disk.open>) => {
        const file = await real.disk.open(...args);
        return new Proxy(file, {
          get: (target, name) => {
            const found: unknown = Reflect.get(target, name, target);
            if (typeof found !== "function") return found;
            if (state.broken && (name === "writeDurably" || name === "datasync" || name === "write")) {
              return () => Promise.reject(new Error("the disk is gone"));
            }
            return found.bind(target) as unknown;
          },
        });
      },
    },
  }) as typeof real.disk;
  const failures: unknown[] = [];
  const walnut = await started(t, {
    dataDir: join(folder, "data"),
    platform: { ...real, disk, log: silentLog },
    onFailure: (error) => failures.push(error),
  });
  const client = clientOf(walnut);
  assert.equal(await client.put("a", "1"), 2);
  state.broken = true;
  await assert.rejects(client.put("a", "2"));
  await assert.rejects(client.put("a", "3"));
  assert.equal(failures.length, 1);
  assert.match(String(failures[0]), /the disk is gone/);
  client.close();
  await walnut.stop().catch(() => undefined);
  state.broken = false;
  const again = await started(t, { dataDir: join(folder, "data") });
  const reader = clientOf(again);
  const values: string[] = [];
  for await (const { value } of reader.keys()) values.push(Buffer.from(value).toString());
  assert.ok(values[0] === "1" || values[0] === "2", "what was acknowledged is there");
  reader.close();
});
