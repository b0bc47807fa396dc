/** What the commands see of the process, so that tests can give them another one. */
import { spawn, spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { utf8FromText } from "../../base/text.js";

export interface World {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly stdin: () => AsyncIterable<Uint8Array>;
  readonly out: (data: string | Uint8Array) => void;
  readonly err: (text: string) => void;
  /** Whether what is typed is shown, where a person types: a password is not. */
  readonly echo: (isShown: boolean) => void;
  /** Whether a person looks at stderr: progress is shown then. */
  readonly errIsTerminal: boolean;
  /** The bytes of an argument, which need not be UTF-8. */
  readonly argumentBytes: (argument: string) => Uint8Array;
  /** Runs a command with more in its environment, on this process's outputs; undefined when it ended well. */
  readonly run: (words: readonly string[], env: Readonly<Record<string, string>>) => Promise<BadEnd | undefined>;
  /** Tells that the process is asked to end (SIGINT, SIGTERM) instead of ending it, until the answer is called. */
  readonly onInterrupt: (tell: () => void) => () => void;
  /** Calls again and again, until the answer is called. */
  readonly every: (intervalMs: number, call: () => void) => () => void;
  /** Milliseconds, from some moment on. */
  readonly now: () => number;
  /** SRV records of a name; where there are none, why, in Go's words. */
  readonly resolveSrv: (name: string) => Promise<readonly SrvRecord[] | string>;
}

export interface SrvRecord {
  readonly target: string;
  readonly port: number;
  readonly priority: number;
  readonly weight: number;
}

/** How a command ended that did not end well. */
export interface BadEnd {
  /** In Go's words. */
  readonly sentence: string;
  readonly exitCode: number;
}

/** This process. */
export function processWorld(): World {
  return {
    env: process.env,
    stdin: () => process.stdin,
    out: (data) => void process.stdout.write(data),
    echo: (isShown) => {
      if (process.stdin.isTTY) spawnSync("stty", [isShown ? "echo" : "-echo"], { stdio: "inherit" });
    },
    err: (text) => void process.stderr.write(text),
    errIsTerminal: process.stderr.isTTY,
    argumentBytes,
    run: runCommand,
    onInterrupt,
    every,
    now: () => performance.now(),
    resolveSrv,
  };
}

function onInterrupt(tell: () => void): () => void {
  const signals = ["SIGINT", "SIGTERM"] as const;
  for (const signal of signals) process.on(signal, tell);
  return () => {
    for (const signal of signals) process.off(signal, tell);
  };
}

function every(intervalMs: number, call: () => void): () => void {
  const timer = setInterval(call, intervalMs);
  return () => clearInterval(timer);
}

async function resolveSrv(name: string): Promise<readonly SrvRecord[] | string> {
  const { getServers, resolveSrv: lookUp } = await import("node:dns/promises"); // few commands need it
  try {
    const records = await lookUp(name);
    return records.map(({ name: target, ...record }) => ({ target, ...record }));
  } catch (error) {
    const { code = "" } = error as NodeJS.ErrnoException;
    const [server = ""] = getServers();
    const why = code === "ENOTFOUND" || code === "ENODATA" ? "no such host" : code;
    return `lookup ${name} on ${/:\d+$/.test(server) ? server : `${server}:53`}: ${why}`;
  }
}

/** Of a command that a signal ended: os.Exit(-1), as etcdctl ends then. */
const EXIT_BY_SIGNAL = 255;

function runCommand(words: readonly string[], env: Readonly<Record<string, string>>): Promise<BadEnd | undefined> {
  const [command, ...args] = words as [string, ...string[]];
  const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
  return new Promise((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) =>
      resolve({ sentence: notStarted(command, error), exitCode: 1 }),
    );
    child.once("close", (code, signal) => {
      if (code === 0) resolve(undefined);
      else if (code !== null) resolve({ sentence: `exit status ${code}`, exitCode: code });
      else resolve({ sentence: `signal: ${GO_SIGNALS[signal!] ?? signal}`, exitCode: EXIT_BY_SIGNAL });
    });
  });
}

function notStarted(command: string, { code, message }: NodeJS.ErrnoException): string {
  const why =
    code === undefined ? undefined : { ENOENT: "no such file or directory", EACCES: "permission denied" }[code];
  if (command.includes("/")) return `fork/exec ${command}: ${why ?? message}`;
  return code === "ENOENT" ? `exec: ${JSON.stringify(command)}: executable file not found in $PATH` : message;
}

const GO_SIGNALS: Readonly<Record<string, string>> = {
  SIGHUP: "hangup",
  SIGINT: "interrupt",
  SIGQUIT: "quit",
  SIGABRT: "aborted",
  SIGKILL: "killed",
  SIGSEGV: "segmentation fault",
  SIGPIPE: "broken pipe",
  SIGALRM: "alarm clock",
  SIGTERM: "terminated",
};

/** Node decodes arguments as UTF-8; where that lost something, Linux still has them as they were given. */
function argumentBytes(argument: string): Uint8Array {
  if (argument.includes("\ufffd")) {
    for (const raw of rawArguments()) {
      const decoded = raw.toString();
      if (decoded === argument) return new Uint8Array(raw);
    }
  }
  return utf8FromText(argument);
}

function rawArguments(): Buffer[] {
  let line: Buffer;
  try {
    line = readFileSync("/proc/self/cmdline");
  } catch {
    return [];
  }
  const parts: Buffer[] = [];
  for (let start = 0; start < line.length;) {
    const end = line.indexOf(0, start);
    parts.push(line.subarray(start, end));
    start = end + 1;
  }
  return parts;
}

export async function readAll(input: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of input) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}
