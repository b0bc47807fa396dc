/** What etcd answers over plain HTTP on the client port: /version, /health, /livez, /readyz, /metrics. */
import type { HttpAnswer, HttpHandler, HttpRequest } from "../grpc/http.js";
import { plainAnswer } from "../grpc/http.js";
import { RangeRequest } from "../proto/generated/etcdserverpb/kv.js";
import { AlarmType, alarmTypeToJSON } from "../proto/generated/etcdserverpb/maintenance.js";
import { type MemberService, SERVED_VERSION } from "../server/contract.js";
import type { Metrics } from "../server/metrics.js";
import { toClientError } from "./errors.js";

export interface HttpDependencies {
  readonly member: MemberService;
  readonly metrics: Metrics;
  /** The figures in Prometheus' text format. */
  readonly exposition: () => Promise<{ readonly contentType: string; readonly text: string }>;
}

/** Fails with a sentence when something is wrong. */
type Check = () => Promise<void>;

export function createHttpTable(dependencies: HttpDependencies): ReadonlyMap<string, HttpHandler> {
  const { member } = dependencies;
  return new Map<string, HttpHandler>([
    ["/version", onlyGet(() => version(member))],
    ...createMetricsTable(dependencies),
  ]);
}

/** What is also answered where metrics have a port of their own. */
export function createMetricsTable(dependencies: HttpDependencies): ReadonlyMap<string, HttpHandler> {
  const { member } = dependencies;
  const serializableRead: Check = () => readOneKey(member);
  return new Map<string, HttpHandler>([
    ["/health", onlyGet((request) => health(dependencies, request))],
    ["/metrics", () => metrics(dependencies)],
    ...checkEndpoints(dependencies, "livez", new Map([["serializable_read", serializableRead]])),
    ...checkEndpoints(
      dependencies,
      "readyz",
      new Map([
        ["data_corruption", () => noCorruption(member)],
        ["serializable_read", serializableRead],
        ["linearizable_read", () => member.linearizableRead()],
        ["non_learner", () => notLearner(member)],
      ]),
    ),
  ]);
}

function onlyGet(handler: HttpHandler): HttpHandler {
  return (request) => {
    if (request.method === "GET") return handler(request);
    return plainAnswer(405, "Method Not Allowed", { allow: "GET" });
  };
}

function version(member: MemberService): HttpAnswer {
  const body = JSON.stringify({ etcdserver: SERVED_VERSION, etcdcluster: member.clusterVersion() ?? "not_decided" });
  return { status: 200, headers: { "content-type": "application/json" }, body };
}

async function metrics({ exposition }: HttpDependencies): Promise<HttpAnswer> {
  const { contentType, text } = await exposition();
  return { status: 200, headers: { "content-type": contentType }, body: text };
}

async function health({ member, metrics }: HttpDependencies, request: HttpRequest): Promise<HttpAnswer> {
  const reason = await whyUnhealthy(member, request);
  const body = JSON.stringify({ health: String(reason === undefined), reason: reason ?? "" });
  if (reason !== undefined) {
    metrics.count("etcd_server_health_failures");
    return plainAnswer(503, body);
  }
  metrics.count("etcd_server_health_success");
  return { status: 200, headers: { "content-type": "text/plain; charset=utf-8" }, body };
}

/** `?exclude=NOSPACE` passes over an alarm; `?serializable=true` asks about this member alone. */
async function whyUnhealthy(member: MemberService, request: HttpRequest): Promise<string | undefined> {
  const excluded = new Set(request.query.getAll("exclude"));
  const raised = member.alarms().find(({ alarm }) => !excluded.has(alarmName(alarm)));
  if (raised !== undefined) return `ALARM ${alarmName(raised.alarm)}`;
  const serializable = request.query.get("serializable") === "true";
  if (!serializable && member.leader() === 0n) return "RAFT NO LEADER";
  try {
    if (serializable) await readOneKey(member);
    else await member.linearizableRead();
    return undefined;
  } catch (error) {
    return `RANGE ERROR:${toClientError(error).text}`;
  }
}

function alarmName(alarm: AlarmType): string {
  return alarm === AlarmType.NOSPACE || alarm === AlarmType.CORRUPT ? alarmTypeToJSON(alarm) : "UNKNOWN";
}

async function readOneKey(member: MemberService): Promise<void> {
  const key = Uint8Array.of(0);
  await member.range(RangeRequest.create({ key, rangeEnd: key, keysOnly: true, limit: 1, serializable: true }));
}

async function noCorruption(member: MemberService): Promise<void> {
  await Promise.resolve();
  if (member.alarms().some(({ alarm }) => alarm === AlarmType.CORRUPT)) throw new Error("alarm activated: CORRUPT");
}

async function notLearner(member: MemberService): Promise<void> {
  await Promise.resolve();
  if (member.isLearner()) throw new Error("not supported for learner");
}

/** The path for all checks, and one below it for each. */
function checkEndpoints(
  { metrics }: HttpDependencies,
  type: string,
  all: ReadonlyMap<string, Check>,
): [string, HttpHandler][] {
  const path = `/${type}`;
  const checks = new Map([...all].map(([name, check]) => [name, counted(metrics, type, name, check)]));
  const together: HttpHandler = (request) => {
    const excluded = new Set(request.query.getAll("exclude"));
    return runChecks(new Map([...checks].filter(([name]) => !excluded.has(name))), request);
  };
  const single = [...checks].map(([name, check]): [string, HttpHandler] => [
    `${path}/${name}`,
    onlyGet((request) => runChecks(new Map([[name, check]]), request)),
  ]);
  return [[path, onlyGet(together)], ...single];
}

function counted(metrics: Metrics, type: string, name: string, check: Check): Check {
  const record = (status: "success" | "error"): void => {
    metrics.set("etcd_server_healthcheck", status === "success" ? 1 : 0, { type, name });
    metrics.count("etcd_server_healthchecks_total", 1, { type, name, status });
  };
  return async () => {
    try {
      await check();
    } catch (error) {
      record("error");
      throw error;
    }
    record("success");
  };
}

async function runChecks(checks: ReadonlyMap<string, Check>, request: HttpRequest): Promise<HttpAnswer> {
  let report = "";
  let failed = false;
  for (const [name, check] of checks) {
    try {
      await check();
      report += `[+]${name} ok\n`;
    } catch (error) {
      failed = true;
      report += `[-]${name} failed: ${toClientError(error).text}\n`;
    }
  }
  if (failed) return plainAnswer(503, report);
  return plainAnswer(200, request.query.has("verbose") ? `${report}ok` : "ok");
}
