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
  /** Runs a command with more in its environment, on this process's outputs; answers why it failed, in Go's words. */
  readonly run: (words: readonly string[], env: Readonly<Record<string, string>>) => Promise<string | undefined>;
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
  };
}

function runCommand(words: readonly string[], env: Readonly<Record<string, string>>): Promise<string | undefined> {
  const [command, ...args] = words as [string, ...string[]];
  const child = spawn(command, args, { stdio: ["ignore", "inherit", "inherit"], env: { ...process.env, ...env } });
  return new Promise((resolve) => {
    child.once("error", (error: NodeJS.ErrnoException) => {
      const isMissing = error.code === "ENOENT";
      resolve(isMissing ? `exec: ${JSON.stringify(command)}: executable file not found in $PATH` : error.message);
    });
    child.once("close", (code, signal) => {
      if (code === 0) resolve(undefined);
      else resolve(code === null ? `signal: ${signal}` : `exit status ${code}`);
    });
  });
}

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
