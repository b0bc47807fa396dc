/** `walnut` as a server: this process IS the member, its PID and its signals. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describeError } from "../../base/errors.js";
import type { Walnut } from "../../embed/index.js";
import { SERVED_VERSION } from "../../server/contract.js";
import type { MemberOptions } from "../../server/options.js";
import type { Log } from "../../platform/log.js";
import { nodeLog } from "../../platform/node/log.js";
import { lowerRuntimeThreads } from "../../platform/node/runtime-threads.js";
import { BootBar } from "./boot-bar.js";
import { ArgumentError, parseEnvironment, type CommandLine, type GivenFlags, type Warning } from "./arguments.js";
import { parseConfigFile } from "./config-file.js";
import { discoverCluster } from "./discover-srv.js";
import { EXIT_BUG, exitCodeOfFailure, wasRemoved } from "./exit-codes.js";
import { settingsOf, type ServerSettings } from "./settings.js";

/** Flags from the command line and the environment; or all of them from a configuration file. */
export function gatherFlags(
  commandLine: GivenFlags,
  environment: Readonly<Record<string, string | undefined>>,
): { readonly given: GivenFlags; readonly warnings: readonly Warning[] } {
  const path = commandLine.get("config-file") || environment["ETCD_CONFIG_FILE"] || undefined;
  if (path === undefined) {
    const { given, warnings } = parseEnvironment(environment, commandLine);
    return { given: new Map([...given, ...commandLine]), warnings };
  }
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    const detail = `--config-file=${path} cannot be read: ${describeError(cause)}`;
    throw new ArgumentError("CONFIG_FILE_INVALID", detail, { cause });
  }
  const { given, warnings } = parseConfigFile(text, path);
  const ignored = [...commandLine.keys()].filter((name) => name !== "config-file").map((name) => `--${name}`);
  if (ignored.length === 0) return { given, warnings };
  const message = "flags are ignored beside a configuration file";
  return { given, warnings: [...warnings, { message, fields: { path, flags: ignored.join(",") } }] };
}

/** Starts a member and returns when it serves; the process goes on until a signal or a failure ends it. */
export async function runServer(commandLine: CommandLine): Promise<void> {
  const { given, warnings } = gatherFlags(commandLine.given, process.env);
  const settings = settingsOf(given);
  const log = openLog(settings.log);
  for (const { message, fields } of warnings) log.warn(message, fields);
  log.info("starting an etcd server", {
    "etcd-version": SERVED_VERSION,
    "node-version": process.version,
    name: settings.member.name,
    "data-dir": settings.member.dataDir,
  });
  const end = (code: number, message: string, error: unknown): void => {
    log.error(message, { error: describeError(error) });
    process.stderr.write(`walnut: ${describeError(error)}\n`);
    process.exit(code);
  };
  // A throw that nobody caught leaves state in doubt: end at once, the next start recovers from the disk.
  process.on("uncaughtException", (error) => end(EXIT_BUG, "uncaught exception", error));
  process.on("unhandledRejection", (reason) => end(EXIT_BUG, "unhandled rejection", reason));

  lowerRuntimeThreads();
  // Loaded only now: a flag that cannot be is refused at once.
  const { Walnut } = await import("../../embed/index.js");
  const bar = new BootBar(process.stderr);
  let walnut: Walnut;
  try {
    const { dataDir, advertiseClientUrls, ...member } = await withDiscoveredCluster(settings, log);
    walnut = await Walnut.start({
      dataDir,
      advertiseClientUrls,
      member,
      listenClientUrls: settings.listenClientUrls,
      listenClientHttpUrls: settings.listenClientHttpUrls,
      listenMetricsUrls: settings.listenMetricsUrls,
      clientTls: settings.clientTls,
      clientLimits: settings.clientLimits,
      listenPeerUrls: settings.listenPeerUrls,
      peerTls: settings.peerTls,
      peerTimeouts: settings.peerTimeouts,
      auth: settings.auth,
      http: settings.http,
      log: { custom: log },
      processMetrics: true,
      extensiveMetrics: settings.extensiveMetrics,
      enablePprof: settings.enablePprof,
      unsafeNoFsync: settings.unsafeNoFsync,
      stopServiceOnDefragmentation: settings.stopServiceOnDefragmentation,
      onBootProgress: (progress) => bar.show(progress),
      onFailure: (error) =>
        end(exitCodeOfFailure(error), wasRemoved(error) ? "the member was removed" : "the member has failed", error),
    });
  } finally {
    bar.close();
  }
  tellWhatNext(walnut, settings.member.dataDir);
  stopOnSignals(walnut, log);
}

/** A member that has a log knows its cluster from there. @throws ArgumentError as `discoverCluster` */
async function withDiscoveredCluster({ member, discovery }: ServerSettings, log: Log): Promise<MemberOptions> {
  const walDir = member.walDir ?? join(member.dataDir, "member", "wal");
  if (discovery === undefined || existsSync(walDir)) return member;
  const { name, initialAdvertisePeerUrls: peerUrls } = member;
  return { ...member, initialCluster: await discoverCluster(discovery, { name, peerUrls }, log) };
}

/** @throws ArgumentError for a file that cannot be written */
function openLog(options: ServerSettings["log"]): ReturnType<typeof nodeLog> {
  try {
    return nodeLog(options);
  } catch (cause) {
    const detail = `--log-outputs: "${options.outputs.join(",")}" cannot be written (${describeError(cause)}); give stderr, stdout or files`;
    throw new ArgumentError("FLAG_INVALID", detail, { cause });
  }
}

function tellWhatNext(walnut: Walnut, dataDir: string): void {
  const [url = ""] = walnut.clientUrls;
  process.stdout.write(
    `Walnut serves etcd's API at ${walnut.clientUrls.join(", ")}; its data is in ${dataDir}\n` +
      `Try:  npx walnut put greeting hello --endpoints=${url.replace("http://", "")}   (etcdctl does as well)\n` +
      "Stop it with Ctrl-C.\n",
  );
}

function stopOnSignals(walnut: Walnut, log: ReturnType<typeof nodeLog>): void {
  const stop = (signal: NodeJS.Signals): void => {
    log.info("received signal; shutting down", { signal });
    const endBySignal = (): void => {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    };
    process.once(signal, endBySignal); // a second one ends it at once
    walnut.stop().then(
      () => {
        log.info("closed etcd server");
        endBySignal();
      },
      (error: unknown) => {
        log.error("could not stop cleanly", { error: describeError(error) });
        process.exit(exitCodeOfFailure(error));
      },
    );
  };
  process.once("SIGTERM", stop);
  process.once("SIGINT", stop);
}
