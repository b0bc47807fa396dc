import assert from "node:assert/strict";
import test from "node:test";
import { InvariantError } from "../../base/errors.js";
import { DiskError } from "../../platform/disk.js";
import { MemberError } from "../../server/errors.js";
import { EXIT_BUG, exitCodeOfFailure } from "./exit-codes.js";

test("a member that its cluster has removed ends with 0, as etcd's does", () => {
  assert.equal(exitCodeOfFailure(new MemberError("MEMBER_REMOVED", "removed")), 0);
});

test("a disk that failed and a bug end with codes of their own", () => {
  const disk = new DiskError("DISK_FULL", "wal", "no space");
  assert.equal(exitCodeOfFailure(new MemberError("DB_MISSING", "gone", { cause: disk })), 74);
  assert.equal(exitCodeOfFailure(new InvariantError("a law")), EXIT_BUG);
});
