import assert from "node:assert/strict";
import { test } from "node:test";
import { InvariantError } from "../../base/errors.js";
import { diskErrorOf } from "../../platform/disk.js";
import { MemberError } from "../../server/errors.js";
import { ArgumentError } from "./arguments.js";
import { exitCodeOfFailure, exitCodeOfRefusal } from "./exit-codes.js";

test("a start that is refused ends as etcd's does; a bug is told apart", () => {
  assert.equal(exitCodeOfRefusal(new ArgumentError("FLAG_UNKNOWN", "", { exitCode: 2 })), 2);
  assert.equal(exitCodeOfRefusal(new ArgumentError("FLAG_INVALID", "")), 1);
  assert.equal(exitCodeOfRefusal(new MemberError("CLUSTER_MISMATCH", "")), 1);
  assert.equal(exitCodeOfRefusal(new InvariantError("")), 70);
});

test("a member that was removed ends with 0, as etcd's; one whose disk failed, or that met a bug, does not", () => {
  assert.equal(exitCodeOfFailure(new MemberError("MEMBER_REMOVED", "")), 0);
  const cause = diskErrorOf("EIO", "write", "/data");
  assert.equal(exitCodeOfFailure(new MemberError("DISK_FAILED", "", { cause })), 74);
  assert.equal(exitCodeOfFailure(new InvariantError("")), 70);
});
