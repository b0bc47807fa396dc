import assert from "node:assert/strict";
import { test } from "node:test";
import { recordingLog } from "../../../sim/index.js";
import { ArgumentError } from "./arguments.js";
import { discoverCluster, type NameService } from "./discover-srv.js";

type Records = Readonly<Record<string, readonly (readonly [host: string, port: number, priority?: number])[]>>;

/** DNS as a table: records by their name, addresses by host. */
function namesOf(records: Records, addresses: Readonly<Record<string, string>>): NameService {
  return {
    srv: (name) => {
      const found = records[name];
      if (found === undefined) return Promise.reject(new Error(`querySrv ENOTFOUND ${name}`));
      return Promise.resolve(found.map(([host, port, priority = 0]) => ({ name: host, port, priority })));
    },
    address: (host) => {
      const address = addresses[host];
      return address === undefined ? Promise.reject(new Error(`ENOTFOUND ${host}`)) : Promise.resolve(address);
    },
  };
}

const ADDRESSES = {
  "m1.x": "10.0.0.1",
  "m2.x": "10.0.0.2",
  "m3.x": "10.0.0.3",
  "10.0.0.1": "10.0.0.1",
  m1: "10.0.0.1",
};
const PLAIN = "_etcd-server._tcp.x";
const SECURE = "_etcd-server-ssl._tcp.x";

async function discovered(
  records: Records,
  peerUrls: readonly string[] = ["http://m1:2380"],
  serviceName = "",
): Promise<Record<string, readonly string[]>> {
  const log = recordingLog();
  const names = namesOf(records, ADDRESSES);
  const cluster = await discoverCluster({ domain: "x", serviceName }, { name: "me", peerUrls }, log, names);
  const told = log.lines.map(({ fields }) => fields["node"]);
  assert.deepEqual(
    told,
    [...cluster].flatMap(([name, urls]) => urls.map((url) => `${name}=${url}`)),
  );
  return Object.fromEntries(cluster);
}

const refused = (sentence: RegExp) => (error: unknown) =>
  error instanceof ArgumentError && error.code === "FLAG_INVALID" && sentence.test(error.detail);

test("this member is the record with the address of its peer URL; the others get numbers", async () => {
  const records = {
    [PLAIN]: [
      ["m2.x.", 2380],
      ["m1.x.", 2380],
      ["m3.x.", 2380],
    ],
  } as const;
  const cluster = { 0: ["http://m2.x:2380"], me: ["http://m1.x:2380"], 1: ["http://m3.x:2380"] };
  assert.deepEqual(await discovered(records), cluster);
  assert.deepEqual(await discovered(records, ["http://10.0.0.1:2380"]), cluster);
});

test("records are taken in the order of their priority, and a host without an address is left out", async () => {
  const records = {
    [PLAIN]: [
      ["m3.x", 2380, 20],
      ["gone.x", 2380, 5],
      ["m2.x", 2380, 10],
      ["m1.x", 2380, 30],
    ],
  } as const;
  assert.deepEqual(await discovered(records), {
    0: ["http://m2.x:2380"],
    1: ["http://m3.x:2380"],
    me: ["http://m1.x:2380"],
  });
});

test("https and http records are joined; a service name stands behind a dash", async () => {
  const both = { [SECURE]: [["m1.x", 2380]], [PLAIN]: [["m2.x", 2381]] } as const;
  assert.deepEqual(await discovered(both, ["https://m1:2380"]), { me: ["https://m1.x:2380"], 0: ["http://m2.x:2381"] });
  const named = { "_etcd-server-blue._tcp.x": [["m1.x", 2380]] } as const;
  assert.deepEqual(await discovered(named, ["http://m1:2380"], "blue"), { me: ["http://m1.x:2380"] });
});

test("a record of this member with another scheme than its URL is none of its own", async () => {
  const records = {
    [SECURE]: [
      ["m1.x", 2380],
      ["m2.x", 2380],
    ],
  } as const;
  await assert.rejects(
    discovered(records),
    refused(/cannot find local etcd member "me" in SRV records \(0=https:\/\/m2/),
  );
});

test("DNS that names nobody, or not this member, is told with what it said", async () => {
  await assert.rejects(
    discovered({}),
    refused(/names no member \(_etcd-server-ssl._tcp.x: querySrv ENOTFOUND.*; _etcd-server/),
  );
  await assert.rejects(discovered({ [PLAIN]: [["gone.x", 1]] }), refused(/names no member/));
  await assert.rejects(
    discovered({ [PLAIN]: [["m1.x", 9999]] }),
    refused(/a record must have the address and the port/),
  );
  await assert.rejects(
    discovered({ [PLAIN]: [["m1.x", 2380]] }, ["http://nowhere:2380"]),
    refused(/ENOTFOUND nowhere/),
  );
});
