import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesFromLatin1 } from "../base/text.js";
import { silentLog } from "../platform/log.js";
import { Permission_Type as PermissionType } from "../proto/generated/authpb/auth.js";
import {
  Compare,
  DeleteRangeRequest,
  PutRequest,
  RangeRequest,
  type RequestOp,
  type TxnRequest,
} from "../proto/generated/etcdserverpb/kv.js";
import { AuthTables } from "./auth-tables.js";
import { AuthError } from "./errors.js";
import { RequestChecks } from "./request-checks.js";
import { MemoryTable } from "./testing/memory-table.js";

const bytes = bytesFromLatin1;

/** `alice` may read what begins with r, write what begins with w, and both with b. Lease 7 holds a key of each kind, lease 8 one of hers. */
function checksFixture(): (
  run: (checks: RequestChecks, alice: { username: string; revision: number }) => void,
) => string {
  const tokens = { enable: () => undefined, disable: () => undefined, invalidate: () => undefined };
  const tables = new AuthTables(new MemoryTable(), tokens, silentLog);
  for (const name of ["root", "alice"]) {
    tables.addUser({ name, password: "", options: { noPassword: true }, hashedPassword: "" });
  }
  tables.grantRole({ user: "root", role: "root" });
  tables.addRole("role");
  for (const [permType, key, rangeEnd] of [
    [PermissionType.READ, "r", "s"],
    [PermissionType.WRITE, "w", "x"],
    [PermissionType.READWRITE, "b", "c"],
  ] as const) {
    tables.grantPermission({ name: "role", perm: { permType, key: bytes(key), rangeEnd: bytes(rangeEnd) } });
  }
  tables.grantRole({ user: "alice", role: "role" });
  tables.enable();
  const leases = new Map([
    [7n, ["b1", "r1", "w1", "z1"]],
    [8n, ["b1", "w1"]],
    [9n, ["b1", "r1"]],
  ]);
  const checks = new RequestChecks(tables, { keysOf: (lease) => (leases.get(lease) ?? []).map(bytes) });
  return (run) => {
    try {
      run(checks, { username: "alice", revision: tables.revision });
    } catch (error) {
      if (error instanceof AuthError) return error.code;
      throw error;
    }
    return "done";
  };
}

const DENIED = "AUTH_PERMISSION_DENIED";

const put = (key: string, fields: Partial<PutRequest> = {}): PutRequest =>
  PutRequest.fromPartial({ key: bytes(key), ...fields });
const range = (key: string, rangeEnd = ""): RangeRequest =>
  RangeRequest.fromPartial({ key: bytes(key), rangeEnd: bytes(rangeEnd) });
const deletion = (key: string, rangeEnd = "", prevKv = false): DeleteRangeRequest =>
  DeleteRangeRequest.fromPartial({ key: bytes(key), rangeEnd: bytes(rangeEnd), prevKv });
const txn = (fields: Partial<TxnRequest>): TxnRequest => ({ compare: [], success: [], failure: [], ...fields });
const compare = (key: string, rangeEnd = ""): Compare =>
  Compare.fromPartial({ key: bytes(key), rangeEnd: bytes(rangeEnd) });

const operation = {
  range: (...args: Parameters<typeof range>): RequestOp => ({
    request: { $case: "requestRange", value: range(...args) },
  }),
  put: (...args: Parameters<typeof put>): RequestOp => ({ request: { $case: "requestPut", value: put(...args) } }),
  deletion: (...args: Parameters<typeof deletion>): RequestOp => ({
    request: { $case: "requestDeleteRange", value: deletion(...args) },
  }),
  txn: (fields: Partial<TxnRequest>): RequestOp => ({ request: { $case: "requestTxn", value: txn(fields) } }),
};

test("reading needs the right to read, putting and deleting the right to write", () => {
  const verdict = checksFixture();
  const told = ["r1", "w1", "b1", "z1"].map((key) =>
    [
      verdict((checks, alice) => checks.range(alice, range(key))),
      verdict((checks, alice) => checks.put(alice, put(key))),
      verdict((checks, alice) => checks.deleteRange(alice, deletion(key))),
    ].join(" "),
  );
  assert.deepEqual(told, [
    `done ${DENIED} ${DENIED}`,
    `${DENIED} done done`,
    "done done done",
    `${DENIED} ${DENIED} ${DENIED}`,
  ]);
});

test("a range that reaches over what may be read is refused, and so is one without an end", () => {
  const verdict = checksFixture();
  assert.equal(
    verdict((checks, alice) => checks.range(alice, range("r", "s"))),
    "done",
  );
  assert.equal(
    verdict((checks, alice) => checks.range(alice, range("r", "t"))),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.range(alice, range("r", "\0"))),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.deleteRange(alice, deletion("w", "\0"))),
    DENIED,
  );
});

test("an answer with what was there before needs the right to read it", () => {
  const verdict = checksFixture();
  assert.equal(
    verdict((checks, alice) => checks.put(alice, put("w1", { prevKv: true }))),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.put(alice, put("b1", { prevKv: true }))),
    "done",
  );
  assert.equal(
    verdict((checks, alice) => checks.deleteRange(alice, deletion("w1", "w3", true))),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.deleteRange(alice, deletion("b1", "b3", true))),
    "done",
  );
});

test("a key is hung only on a lease all of whose keys may be written", () => {
  const verdict = checksFixture();
  assert.equal(
    verdict((checks, alice) => checks.put(alice, put("b2", { lease: 7n }))),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.put(alice, put("b2", { lease: 8n }))),
    "done",
  );
  assert.equal(
    verdict((checks, alice) => checks.put(alice, put("b2", { lease: 1n }))),
    "done",
    "no such lease",
  );
});

test("a lease is revoked by who may write all its keys, its keys are told to who may read them", () => {
  const verdict = checksFixture();
  assert.equal(
    verdict((checks, alice) => checks.writesOfLease(alice, 7n)),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.writesOfLease(alice, 8n)),
    "done",
  );
  assert.equal(
    verdict((checks, alice) => checks.readsOfLease(alice, 8n)),
    DENIED,
  );
  assert.equal(
    verdict((checks, alice) => checks.readsOfLease(alice, 9n)),
    "done",
  );
  const root = { username: "root", revision: 1 };
  assert.equal(
    verdict((checks) => checks.writesOfLease(root, 7n)),
    "done",
  );
});

test("every part of a transaction is asked: compares and both branches", () => {
  const verdict = checksFixture();
  const told = [
    txn({ compare: [compare("w1")] }),
    txn({ compare: [compare("r1", "\0")] }),
    txn({ success: [operation.range("w1")] }),
    txn({ failure: [operation.range("w1")] }),
    txn({ success: [operation.put("r1")] }),
    txn({ failure: [operation.deletion("r1")] }),
    txn({ success: [operation.deletion("w1", "w3", true)] }),
    txn({ compare: [compare("r1")], success: [operation.put("w1")], failure: [operation.range("b1")] }),
  ].map((request) => verdict((checks, alice) => checks.txn(alice, request)));
  assert.deepEqual(told, [DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, DENIED, "done"]);
});

test("a nested transaction is asked like the outer one (3.5.28)", () => {
  const verdict = checksFixture();
  const nested = (fields: Partial<TxnRequest>): TxnRequest =>
    txn({ success: [operation.txn({ failure: [operation.txn(fields)] })] });
  const told = [
    nested({ success: [operation.put("r1")] }),
    nested({ failure: [operation.range("w1")] }),
    nested({ compare: [compare("z1")] }),
    nested({ compare: [compare("r1")], success: [operation.put("w1")] }),
  ].map((request) => verdict((checks, alice) => checks.txn(alice, request)));
  assert.deepEqual(told, [DENIED, DENIED, DENIED, "done"]);
});

test("a put in a transaction is asked for its previous pair and its lease (3.5.30)", () => {
  const verdict = checksFixture();
  const told = [
    txn({ success: [operation.put("w1", { prevKv: true })] }),
    txn({ success: [operation.put("b1", { lease: 7n })] }),
    txn({ success: [operation.txn({ success: [operation.put("w1", { prevKv: true })] })] }),
    txn({ success: [operation.put("b1", { prevKv: true, lease: 8n })] }),
  ].map((request) => verdict((checks, alice) => checks.txn(alice, request)));
  assert.deepEqual(told, [DENIED, DENIED, DENIED, "done"]);
});
