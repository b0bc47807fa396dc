/** Every hostile script once: it ends as the table says, leaves nothing behind, and a good client is answered all the while. */
import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";
import * as grpc from "@grpc/grpc-js";
import { attack, endsAs } from "./hostile.js";
import { hostileServer } from "./hostile-server.js";
import { HOSTILE_SCRIPTS } from "./hostile-table.js";

/** Enough for every budget, with what fills it again on a busy machine. */
const FRAMES = 16_000;
const WAIT_MS = 8_000;

let server: Awaited<ReturnType<typeof hostileServer>>;
let client: grpc.Client;
let descriptors = 0;

const countDescriptors = (): number => readdirSync("/proc/self/fd").length;
const same = (bytes: Buffer): Buffer => bytes;

function call(text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 10_000;
    client.makeUnaryRequest("/t.T/Echo", same, same, Buffer.from(text), { deadline }, (error, answer) => {
      if (error === null) resolve(String(answer));
      else reject(error);
    });
  });
}

before(async () => {
  server = await hostileServer();
  client = new grpc.Client(`127.0.0.1:${server.port}`, grpc.credentials.createInsecure());
  assert.equal(await call("first"), "first");
  descriptors = countDescriptors();
});

after(async () => {
  client.close();
  await server.shared.stop(2_000);
  assert.equal(server.grpc.callCount, 0);
});

/** Waits until something holds; what does not in ten seconds never will. */
async function until(holds: () => boolean, what: string): Promise<void> {
  for (let left = 1_000; !holds(); left--) {
    assert.ok(left > 0, what);
    await new Promise((resolve) => void setTimeout(resolve, 10));
  }
}

test("the table has forty scripts and more", () => assert.ok(HOSTILE_SCRIPTS.length >= 40));

for (const script of HOSTILE_SCRIPTS) {
  test(`${script.name}: ${script.verdict === "open" ? "bounded" : script.verdict}`, async () => {
    const [{ verdict }, answer] = await Promise.all([attack(server.port, script, FRAMES, WAIT_MS), call(script.name)]);
    assert.ok(endsAs(script, verdict), `it ended as ${verdict}`);
    assert.equal(answer, script.name);
    await until(() => server.grpc.callCount === 0, "calls are left");
    await until(() => countDescriptors() <= descriptors, "descriptors are left");
  });
}
