import assert from "node:assert/strict";
import { test } from "node:test";
import { parseAuthToken } from "./auth-token.js";
import { CredentialsError } from "./errors.js";

test("simple, and jwt with its options, as etcd reads them", () => {
  assert.deepEqual(parseAuthToken("simple"), { kind: "simple" });
  assert.deepEqual(parseAuthToken(""), { kind: "none" });
  assert.deepEqual(parseAuthToken(",a=b"), { kind: "none" });
  assert.deepEqual(parseAuthToken("jwt,pub-key=a.pub,priv-key=a,sign-method=RS512,ttl=10m,nuts=1"), {
    kind: "jwt",
    jwt: { signMethod: "RS512", publicKey: "a.pub", privateKey: "a", ttlMs: 600_000 },
    unknown: ["nuts"],
  });
  const parsed = parseAuthToken("jwt,priv-key=a,sign-method=HS256,pub-key=");
  assert.deepEqual(parsed.kind === "jwt" && parsed.jwt, {
    signMethod: "HS256",
    publicKey: undefined,
    privateKey: "a",
    ttlMs: 300_000,
  });
});

test("what etcd does not start with is refused by name", () => {
  for (const text of [
    "nuts",
    "jwt",
    "jwt,sign-method",
    "jwt,sign-method=none",
    "jwt,sign-method=EdDSA",
    "jwt,sign-method=RS256,sign-method=RS256",
    "jwt,sign-method=RS256,ttl=nuts",
    "jwt,sign-method=RS256,pub-key=a=b",
  ]) {
    assert.throws(
      () => parseAuthToken(text),
      (error) => error instanceof CredentialsError && error.code === "TOKEN_OPTION_INVALID",
      text,
    );
  }
});
