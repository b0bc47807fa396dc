import assert from "node:assert/strict";
import { test } from "node:test";
import { AuthError } from "../auth/index.js";
import { BcryptHasher } from "./bcrypt-hasher.js";

const latin1 = (text: string): Uint8Array => Buffer.from(text, "latin1");

test("a hash is Go's form, differs each time, and is that of its password alone", async () => {
  const hasher = new BcryptHasher({ cost: 4 });
  const hash = await hasher.hash("secret");
  assert.match(Buffer.from(hash).toString(), /^\$2a\$04\$[./A-Za-z0-9]{53}$/);
  assert.notDeepEqual(await hasher.hash("secret"), hash);
  assert.equal(await hasher.matches("secret", hash), true);
  assert.equal(await hasher.matches("Secret", hash), false);
  assert.equal(await hasher.matches("", hash), false);
});

test("hashes that others made are understood: OpenBSD's test vectors", async () => {
  const hasher = new BcryptHasher();
  for (const [password, hash] of [
    ["U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"],
    ["U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK"],
    ["", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.7uG0VCzI2bS7j6ymqJi9CdcdxiRTWNy"],
  ] as const) {
    assert.equal(await hasher.matches(password, latin1(hash)), true, password);
    assert.equal(await hasher.matches(`${password}x`, latin1(hash)), false, password);
  }
});

test("what is no hash matches nothing", async () => {
  const hasher = new BcryptHasher();
  for (const hash of ["", "secret", "$2a$05$", "$9a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW"]) {
    assert.equal(await hasher.matches("secret", latin1(hash)), false);
  }
});

test("a password is at most 72 bytes long, as for Go; empty ones are taken", async () => {
  const hasher = new BcryptHasher({ cost: 4 });
  await assert.rejects(hasher.hash("x".repeat(73)), (error) => {
    return error instanceof AuthError && error.code === "AUTH_PASSWORD_TOO_LONG";
  });
  await assert.rejects(hasher.hash("é".repeat(37)), AuthError);
  for (const password of ["x".repeat(72), ""]) {
    assert.equal(await hasher.matches(password, await hasher.hash(password)), true);
  }
});

test("a cost that bcrypt does not have becomes the default one", async () => {
  for (const cost of [0, 3, 32]) {
    assert.match(Buffer.from(await new BcryptHasher({ cost }).hash("x")).toString(), /^\$2a\$10\$/);
  }
});

test("more passwords than are hashed at a time wait, and all are answered", async () => {
  const hasher = new BcryptHasher({ cost: 4 });
  const passwords = Array.from({ length: 12 }, (_, index) => `password ${index}`);
  const hashes = await Promise.all(passwords.map((password) => hasher.hash(password)));
  const verdicts = await Promise.all(hashes.map((hash, index) => hasher.matches(passwords[index]!, hash)));
  assert.ok(verdicts.every((verdict) => verdict));
});
