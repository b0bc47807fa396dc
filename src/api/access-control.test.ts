/** Who may ask over HTTP. Origins and hosts are compared with real etcd in `test/compat/gateway.test.ts`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HttpHead } from "../grpc/index.js";
import { ACCESS_CONTROL_DEFAULTS, createGate } from "./access-control.js";

function head(
  parts: Partial<Omit<HttpHead, "header">> & { readonly headers?: Readonly<Record<string, string>> },
): HttpHead {
  const { headers = {}, ...rest } = parts;
  return {
    method: "POST",
    path: "/v3/kv/range",
    query: new URLSearchParams(),
    peer: "127.0.0.1:1",
    security: { commonName: "alice" },
    header: (name) => headers[name],
    ...rest,
  };
}

test("a certificate with a name is refused at the gateway while names are users', and nowhere else", () => {
  let isNameTaken = true;
  const gate = createGate(ACCESS_CONTROL_DEFAULTS, () => isNameTaken);
  const text = "CommonName of client sending a request against gateway will be ignored and not used as expected\n";
  for (const path of ["/v3/kv/range", "/v3/", "/v3beta/watch"]) {
    const { answer } = gate(head({ path }));
    assert.equal(answer?.status, 400);
    assert.equal(answer.body, text);
  }
  assert.equal(gate(head({ path: "/version" })).answer, undefined);
  assert.equal(gate(head({ security: { commonName: undefined } })).answer, undefined);
  assert.equal(gate(head({ security: { commonName: "" } })).answer, undefined);
  isNameTaken = false;
  assert.equal(gate(head({})).answer, undefined);
});

test("over TLS every host may be asked under any name", () => {
  const gate = createGate({ cors: ["*"], hostWhitelist: ["a.example"] }, () => false);
  const headers = { host: "b.example:2379" };
  assert.equal(gate(head({ headers })).answer, undefined);
  assert.equal(gate(head({ headers, security: undefined })).answer?.status, 421);
});
