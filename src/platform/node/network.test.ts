import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import type { Address, Connection, NetworkError } from "../network.js";
import { NodeNetwork } from "./network.js";

const network = new NodeNetwork();
const LOCAL: Address = { kind: "tcp", host: "127.0.0.1", port: 0 };

/** All that a connection brings until it closes. */
function drain(connection: Connection): Promise<{ bytes: number; error: NetworkError | undefined }> {
  let bytes = 0;
  return new Promise((resolve) => {
    connection.onData = (chunk) => (bytes += chunk.length);
    connection.onClose = (error) => resolve({ bytes, error });
  });
}

test("bytes go both ways, and a close is told once", async () => {
  const listener = await network.listen(LOCAL, (connection) => {
    connection.onData = (bytes) => connection.write(bytes);
  });
  assert.ok(listener.address.kind === "tcp" && listener.address.port > 0);
  const connection = await network.connect(listener.address);
  const done = drain(connection);
  const big = new Uint8Array(4_000_000);
  if (!connection.write(big)) await new Promise<void>((resolve) => (connection.onDrain = resolve));
  connection.end();
  assert.deepEqual(await done, { bytes: big.length, error: undefined });
  await listener.close();
});

test("a unix socket serves, too, and its file goes with the listener", async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "walnut-net-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const address: Address = { kind: "unix", path: join(folder, "s") };
  const listener = await network.listen(address, (connection) => {
    connection.write(Uint8Array.of(1, 2, 3));
    connection.end();
  });
  assert.deepEqual(await drain(await network.connect(address)), { bytes: 3, error: undefined });
  await listener.close();
  await assert.rejects(network.connect(address), { code: "NETWORK_REFUSED" });
});

test("a port in use and a port that nobody listens on are told apart", async () => {
  const listener = await network.listen(LOCAL, () => undefined);
  await assert.rejects(
    network.listen(listener.address, () => undefined),
    { code: "NETWORK_IN_USE", message: /127\.0\.0\.1/ },
  );
  await listener.close();
  await assert.rejects(network.connect(listener.address), { code: "NETWORK_REFUSED" });
});

test("a connection destroyed by the other side is told with its failure or a plain end", async () => {
  const listener = await network.listen(LOCAL, (connection) => {
    connection.onData = () => connection.destroy();
  });
  const connection = await network.connect(listener.address);
  const done = drain(connection);
  connection.write(new Uint8Array(1_000_000));
  const { error } = await done;
  assert.ok(error === undefined || error.code === "NETWORK_RESET", String(error));
  await listener.close();
});
