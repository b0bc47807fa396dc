/**
 * Debian's Patroni keeps a cluster of two PostgreSQLs in Walnut, by its `etcd3` store and the JSON gateway: one leads, the other follows; the
 * leader is killed, the other takes over when its key has run out, and the old leader comes back as a follower. The same is played on real etcd,
 * so that a script that is wrong is told from a server that is.
 *
 * `WALNUT_SERVERS=3.5.30` plays on one server alone.
 */
import assert from "node:assert/strict";
import test, { type TestContext } from "node:test";
import { AuthAdmin } from "../support/auth.js";
import { reference, type ServerBinary, serverNamed, skipReason, underTest } from "../support/binaries.js";
import { hasPatroni, type Login, type NodeState, PatroniCluster, type PatroniNode, TIMES } from "../support/patroni.js";
import { Stage } from "../support/servers.js";

function whyNot(): string | false {
  if (skipReason() !== false) return skipReason();
  if ((process.env["CI"] ?? "") !== "" || hasPatroni()) return false;
  return "Patroni or PostgreSQL is not there: run 'apt-get install patroni postgresql'";
}

const named = process.env["WALNUT_SERVERS"];
const servers = (): ServerBinary[] =>
  named === undefined ? [reference(), underTest()] : named.split(",").map(serverNamed);

/** Far beyond every time that Patroni works by: what has not happened then does not happen. */
const WITHIN_MS = 120_000;
const LOOK_AGAIN_MS = 100;

/** Waits until a node is what it should be. */
async function until(node: PatroniNode, what: string, holds: (state: NodeState) => boolean): Promise<NodeState> {
  const deadline = Date.now() + WITHIN_MS;
  for (;;) {
    const state = await node.state();
    if (state !== undefined && holds(state)) return state;
    if (Date.now() > deadline) {
      const found = JSON.stringify(state);
      throw new Error(`${node.name} is not ${what}: ${found}\n${node.log.slice(-30).join("\n")}`);
    }
    await new Promise((resolve) => void setTimeout(resolve, LOOK_AGAIN_MS));
  }
}

const leads = ({ role, state }: NodeState): boolean => role === "master" && state === "running";
const follows = ({ role, state }: NodeState): boolean => role === "replica" && state === "running";

async function untilSql(node: PatroniNode, statement: string, answer: string): Promise<void> {
  const deadline = Date.now() + WITHIN_MS;
  let found = "";
  while (Date.now() < deadline) {
    try {
      found = node.sql(statement);
    } catch (error) {
      found = String(error);
    }
    if (found === answer) return;
    await new Promise((resolve) => void setTimeout(resolve, LOOK_AGAIN_MS));
  }
  assert.fail(`${node.name}: ${statement} is not ${answer}: ${found}\n${node.log.slice(-30).join("\n")}`);
}

async function failover(t: TestContext, cluster: PatroniCluster, title: string): Promise<void> {
  const began = Date.now();
  const seconds = (): string => ((Date.now() - began) / 1000).toFixed(1);
  const first = await cluster.start("n1");
  const { timeline } = await until(first, "the leader", leads);
  const second = await cluster.start("n2");
  await until(second, "a follower", follows);
  await untilSql(first, "select count(*) from pg_stat_replication where state = 'streaming'", "1");
  const formed = seconds();
  first.sql("create table told (what text)");
  first.sql("insert into told values ('before')");
  await untilSql(second, "select what from told", "before");
  await first.kill();
  const killed = Date.now();
  const after = await until(second, "the leader", leads);
  const tookOver = ((Date.now() - killed) / 1000).toFixed(1);
  assert.ok(after.timeline > timeline, `timeline ${after.timeline} after ${timeline}`);
  second.sql("insert into told values ('after')");
  first.start();
  await until(first, "a follower", (state) => follows(state) && state.timeline === after.timeline);
  await untilSql(first, "select string_agg(what, ' ') from told", "before after");
  assert.throws(() => first.sql("insert into told values ('never')"), /read-only transaction/);
  t.diagnostic(
    `${title}: formed after ${formed} s, taken over ${tookOver} s after the kill (ttl ${TIMES.ttl} s), all in ${seconds()} s`,
  );
}

for (const login of [undefined, { username: "patroni", password: "secret" } satisfies Login]) {
  const how = login === undefined ? "" : ", with a user of its own";
  test(
    `patroni: a leader that is killed is followed by the other, and comes back${how}`,
    { skip: whyNot() },
    async (t) => {
      await Promise.all(
        servers().map(async (binary) => {
          const stage = Stage.for(t);
          const server = await stage.start(binary, await stage.seat());
          if (login !== undefined) {
            const admin = new AuthAdmin(server.client);
            await admin.addRole("keeper", "readwrite", "/service/walnut/", "/service/walnut0");
            await admin.addUser(login.username, login.password, ["keeper"]);
            await admin.enable("root");
          }
          const cluster = new PatroniCluster(server.address, login);
          try {
            await failover(t, cluster, binary.name);
          } finally {
            await cluster.clear();
          }
        }),
      );
    },
  );
}
