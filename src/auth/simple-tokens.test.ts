import assert from "node:assert/strict";
import { test } from "node:test";
import { SimpleTokens } from "./simple-tokens.js";

interface Fixture {
  readonly tokens: SimpleTokens;
  readonly pass: (seconds: number) => void;
}

function tokensFixture(ttlSeconds = 0): Fixture {
  let now = 0;
  let drawn = 0;
  const tokens = new SimpleTokens({ now: () => now }, { below: (bound) => drawn++ % bound }, { ttlSeconds });
  tokens.enable();
  return { tokens, pass: (seconds) => (now += seconds * 1000) };
}

test("a token is sixteen letters, a dot and an index", () => {
  const { tokens } = tokensFixture();
  assert.equal(tokens.newPrefix(), "abcdefghijklmnop");
  assert.equal(tokens.assign("alice", "abcdefghijklmnop", 17), "abcdefghijklmnop.17");
  assert.equal(tokens.find("abcdefghijklmnop.17")?.username, "alice");
  assert.equal(tokens.find("abcdefghijklmnop.18"), undefined);
});

test("a token says which entry must be applied before it is known; what is no token says nothing", () => {
  const { tokens } = tokensFixture();
  assert.equal(tokens.indexOf("abcdefghijklmnop.17"), 18);
  assert.equal(tokens.indexOf("abc"), 0);
  assert.equal(tokens.indexOf("a.b.17"), 0);
  assert.equal(tokens.indexOf("a.-17"), 0);
});

test("a token lives 300 seconds, and each use prolongs it", () => {
  const { tokens, pass } = tokensFixture();
  const token = tokens.assign("alice", "a", 1);
  for (let use = 0; use < 5; use++) {
    pass(299);
    assert.ok(tokens.find(token));
  }
  pass(301);
  assert.equal(tokens.find(token), undefined);
});

test("another life is chosen by an option; what has run out is swept away", () => {
  const { tokens, pass } = tokensFixture(2);
  tokens.assign("alice", "a", 1);
  pass(1);
  const late = tokens.assign("bob", "b", 2);
  pass(1.5);
  tokens.onTick();
  assert.equal(tokens.size, 1);
  assert.ok(tokens.find(late));
});

test("a user's tokens end together, others' stay; with authentication off there are none", () => {
  const { tokens } = tokensFixture();
  const [first, second, other] = [1, 2, 3].map((index) => tokens.assign(index === 3 ? "bob" : "alice", "a", index));
  tokens.invalidate("alice");
  assert.equal(tokens.find(first!), undefined);
  assert.equal(tokens.find(second!), undefined);
  assert.ok(tokens.find(other!));
  tokens.disable();
  assert.equal(tokens.find(other!), undefined);
  assert.equal(tokens.size, 0);
  tokens.assign("alice", "a", 4);
  assert.equal(tokens.size, 0, "nothing is remembered while authentication is off");
});
