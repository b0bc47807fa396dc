/** What real etcd shows under /metrics is shown here, too, or docs/metrics.md says why not. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import test from "node:test";
import { etcd, PROJECT, type ServerBinary, skipReason, underTest } from "../support/binaries.js";
import { eventually } from "../support/cluster.js";
import { Stage } from "../support/servers.js";

/** Of the runtimes, not of etcd. */
const RUNTIMES = /^(go|nodejs|process|promhttp)_/;

const SHOWN_WITHIN_MS = 10_000;

async function metricsOf(stage: Stage, binary: ServerBinary): Promise<string> {
  const server = await stage.start(binary, await stage.seat(), { flags: ["--metrics=extensive"] });
  await server.client.put("a", "b");
  await fetch(`http://${server.address}/readyz`);
  // What follows a member's state is shown from its first tick on.
  const { exposition } = await eventually("the figures to be shown", SHOWN_WITHIN_MS, async () => {
    const exposition = await (await fetch(`http://${server.address}/metrics`)).text();
    return /^etcd_server_proposals_applied_total [1-9]/m.test(exposition) ? { exposition } : "nothing was applied";
  });
  return exposition;
}

const namesIn = (exposition: string): Set<string> =>
  new Set([...exposition.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name!).filter((name) => !RUNTIMES.test(name)));

test("each metric of etcd is kept, or left out with a reason", { skip: skipReason() }, async (t) => {
  const stage = Stage.for(t);
  const theirs = namesIn(await metricsOf(stage, etcd("newest")));
  const exposition = await metricsOf(stage, underTest());
  const ours = namesIn(exposition);
  const page = readFileSync(join(PROJECT, "docs", "metrics.md"), "utf8");
  const leftOut = new Set([...page.matchAll(/^\| `([^`]+)`/gm)].map(([, name]) => name!));
  assert.ok(theirs.size > 60, `real etcd shows ${theirs.size}`);
  assert.deepEqual(
    [...theirs].filter((name) => !ours.has(name)).sort(),
    [...leftOut].sort(),
    "what is missing is what the page says",
  );
  for (const line of [
    /^etcd_network_client_grpc_received_bytes_total [1-9]/m,
    /^etcd_network_client_grpc_sent_bytes_total [1-9]/m,
    /^etcd_disk_wal_write_bytes_total [1-9]/m,
    /^os_fd_used [1-9]/m,
    /^grpc_server_handling_seconds_count\{grpc_type="unary",grpc_service="etcdserverpb.KV",grpc_method="Put"\} 1$/m,
    /^etcd_server_healthcheck\{type="readyz",name="linearizable_read"\} 1$/m,
    /^etcd_server_healthchecks_total\{type="readyz",name="linearizable_read",status="success"\} 1$/m,
  ]) {
    assert.match(exposition, line);
  }
});
