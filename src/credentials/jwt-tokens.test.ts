import assert from "node:assert/strict";
import { createHmac, generateKeyPairSync, type KeyObject } from "node:crypto";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { AuthError } from "../auth/index.js";
import { silentLog } from "../platform/log.js";
import { parseAuthToken, SIGN_METHODS } from "./auth-token.js";
import { CredentialsError } from "./errors.js";
import { JwtTokens } from "./jwt-tokens.js";

interface Fixture {
  readonly folder: string;
  readonly file: (name: string, content: string | Uint8Array) => string;
  readonly open: (option: string) => JwtTokens;
  readonly pass: (seconds: number) => void;
  readonly now: () => number;
}

function jwtFixture(t: TestContext): Fixture {
  const folder = mkdtempSync(join(tmpdir(), "walnut-jwt-"));
  t.after(() => rmSync(folder, { recursive: true }));
  let now = 1_800_000_000_000;
  return {
    folder,
    file: (name, content) => {
      const path = join(folder, name);
      writeFileSync(path, content);
      return path;
    },
    open: (option) => {
      const settings = parseAuthToken(option);
      assert.ok(settings.kind === "jwt");
      return new JwtTokens({ clock: { wallNow: () => now }, log: silentLog }, settings.jwt);
    },
    pass: (seconds) => (now += seconds * 1000),
    now: () => now,
  };
}

const CURVES: Readonly<Record<string, string>> = { ES256: "P-256", ES384: "P-384", ES512: "P-521" };

function pairFor(method: string): { publicKey: KeyObject; privateKey: KeyObject } {
  const namedCurve = CURVES[method];
  if (namedCurve !== undefined) return generateKeyPairSync("ec", { namedCurve });
  return generateKeyPairSync("rsa", { modulusLength: 2048 });
}

const pem = (key: KeyObject): string =>
  key.export({ format: "pem", type: key.type === "private" ? "pkcs8" : "spki" }).toString();

test("a token of every method says who has it and at which revision; who has the public key alone checks it", async (t) => {
  const { file, open } = jwtFixture(t);
  for (const method of SIGN_METHODS) {
    if (method.startsWith("HS")) {
      const tokens = open(`jwt,sign-method=${method},priv-key=${file("secret", "a secret of the cluster")}`);
      const token = await tokens.issue("", "alice", 7);
      assert.deepEqual(await bearerOf(tokens, token), { username: "alice", revision: 7 });
      continue;
    }
    const { publicKey, privateKey } = pairFor(method);
    const [open_, closed] = [file(`${method}.pub`, pem(publicKey)), file(`${method}.key`, pem(privateKey))];
    const tokens = open(`jwt,sign-method=${method},pub-key=${open_},priv-key=${closed}`);
    const token = await tokens.issue("", "alice", 7);
    assert.deepEqual(await bearerOf(tokens, token), { username: "alice", revision: 7 }, method);
    const checker = open(`jwt,sign-method=${method},pub-key=${open_}`);
    assert.deepEqual(await bearerOf(checker, token), { username: "alice", revision: 7 }, method);
    await assert.rejects(checker.issue("", "alice", 7), (error) => {
      return error instanceof AuthError && error.code === "AUTH_VERIFY_ONLY";
    });
  }
});

async function bearerOf(tokens: JwtTokens, token: string): Promise<{ username: string; revision: number } | undefined> {
  const found = await tokens.find(token);
  return found === undefined ? undefined : { username: found.username, revision: found.revision! };
}

test("a token ends after its time, remembered or not", async (t) => {
  const { file, open, pass } = jwtFixture(t);
  const option = `jwt,sign-method=HS256,priv-key=${file("secret", "secret")},ttl=10s`;
  const [first, second] = [open(option), open(option)];
  const token = await first.issue("", "alice", 1);
  pass(9);
  assert.ok(await first.find(token));
  pass(2);
  assert.equal(await first.find(token), undefined);
  assert.equal(await second.find(token), undefined);
});

/** A token as anybody could write it. */
function forged(header: object, payload: object, secret: string): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const text = `${part(header)}.${part(payload)}`;
  return `${text}.${createHmac("sha256", secret).update(text).digest("base64url")}`;
}

test("what was not signed with the key, or with another method, or lacks what it must say, is no token", async (t) => {
  const { file, open, now } = jwtFixture(t);
  const tokens = open(`jwt,sign-method=HS256,priv-key=${file("secret", "secret")}`);
  const header = { alg: "HS256", typ: "JWT" };
  const payload = { username: "root", revision: 1, exp: now() / 1000 + 60 };
  assert.ok(await tokens.find(forged(header, payload, "secret")), "the play's own writer is understood");
  for (const [why, token] of [
    ["another secret", forged(header, payload, "guess")],
    ["no signature", `${forged(header, payload, "secret").split(".").slice(0, 2).join(".")}.`],
    ["method none", forged({ ...header, alg: "none" }, payload, "secret")],
    ["another method", forged({ ...header, alg: "HS384" }, payload, "secret")],
    ["no user", forged(header, { ...payload, username: undefined }, "secret")],
    ["a user that is a number", forged(header, { ...payload, username: 1 }, "secret")],
    ["no revision", forged(header, { ...payload, revision: undefined }, "secret")],
    ["over", forged(header, { ...payload, exp: now() / 1000 - 1 }, "secret")],
    ["not yet", forged(header, { ...payload, nbf: now() / 1000 + 30 }, "secret")],
    ["issued in the future", forged(header, { ...payload, iat: now() / 1000 + 30 }, "secret")],
    ["nothing", ""],
    ["a simple token", "abcdefghijklmnop.17"],
  ] as const) {
    assert.equal(await tokens.find(token), undefined, why);
  }
});

test("a public key is no secret: a token that was signed with it by another method is none", async (t) => {
  const { file, open, now } = jwtFixture(t);
  const { publicKey, privateKey } = pairFor("RS256");
  const [open_, closed] = [file("a.pub", pem(publicKey)), file("a.key", pem(privateKey))];
  const tokens = open(`jwt,sign-method=RS256,pub-key=${open_},priv-key=${closed}`);
  const payload = { username: "root", revision: 1, exp: now() / 1000 + 60 };
  assert.equal(await tokens.find(forged({ alg: "HS256", typ: "JWT" }, payload, pem(publicKey))), undefined);
});

test("keys that are missing, are none, are of another kind or of another pair are refused by name", (t) => {
  const { file, open, folder } = jwtFixture(t);
  const [one, other] = [pairFor("RS256"), pairFor("RS256")];
  const curve = pairFor("ES256");
  for (const options of [
    "sign-method=RS256",
    "sign-method=HS256",
    `sign-method=HS256,priv-key=${file("empty", "")}`,
    `sign-method=RS256,priv-key=${join(folder, "nowhere")}`,
    `sign-method=RS256,priv-key=${file("text", "text")}`,
    `sign-method=RS256,pub-key=${file("text.pub", "text")}`,
    `sign-method=RS256,priv-key=${file("curve", pem(curve.privateKey))}`,
    `sign-method=ES256,pub-key=${file("one.pub", pem(one.publicKey))}`,
    `sign-method=RS256,pub-key=${file("one.pub", pem(one.publicKey))},priv-key=${file("other", pem(other.privateKey))}`,
  ]) {
    assert.throws(
      () => open(`jwt,${options}`),
      (error) => error instanceof CredentialsError && error.code === "TOKEN_KEY_UNUSABLE",
      options,
    );
  }
});
