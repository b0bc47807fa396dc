import assert from "node:assert/strict";
import { test } from "node:test";
import { decideClusterVersion, isOlderVersion, nextClusterVersion } from "./cluster-version.js";

test("members agree on the lowest minor version, and on nothing while one is silent", () => {
  assert.equal(decideClusterVersion(["3.5.30", "3.5.16"]), "3.5.0");
  assert.equal(decideClusterVersion(["3.5.30", "3.4.23", "3.6.1"]), "3.4.0");
  assert.equal(decideClusterVersion(["3.10.0", "3.9.1"]), "3.9.0");
  assert.equal(decideClusterVersion(["3.5.30", undefined]), undefined);
  assert.equal(decideClusterVersion(["3.5.30", "nonsense"]), undefined);
  assert.equal(decideClusterVersion([]), undefined);
});

test("the cluster's version begins with the lowest that it can be, and never falls", () => {
  assert.equal(nextClusterVersion(undefined, "3.5.0"), "3.5.0");
  assert.equal(nextClusterVersion(undefined, undefined), "3.0.0");
  assert.equal(nextClusterVersion("3.0.0", "3.5.0"), "3.5.0");
  assert.equal(nextClusterVersion("3.5.0", "3.5.0"), undefined);
  assert.equal(nextClusterVersion("3.5.0", "3.4.0"), undefined);
  assert.equal(nextClusterVersion("3.5.0", undefined), undefined);
});

test("versions are compared by major and minor number", () => {
  assert.equal(isOlderVersion("3.5.30", "3.6.0"), true);
  assert.equal(isOlderVersion("3.5.0", "3.5.30"), false);
  assert.equal(isOlderVersion("3.10.0", "3.9.0"), false);
  assert.equal(isOlderVersion("2.3.8", "3.0.0"), true);
});
