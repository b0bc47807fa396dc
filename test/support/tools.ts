/**
 * Runs a command and keeps all it wrote: `etcdctl`, `etcdutl`, `h2load`, `strace`.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";

export interface Output {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs a command to its end; text for `input` goes to its standard input. */
export async function run(
  command: string,
  args: readonly string[],
  options: { readonly input?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Output> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "pipe"], env: { ...process.env, ...options.env } });
  const parts: { stdout: string; stderr: string } = { stdout: "", stderr: "" };
  child.stdout.setEncoding("utf8").on("data", (text: string) => (parts.stdout += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (parts.stderr += text));
  child.stdin.on("error", () => {}); // a command that does not read its input closes it
  child.stdin.end(options.input ?? "");
  const [code] = (await once(child, "close")) as [number | null];
  return { code, ...parts };
}

/** Why a tool's tests cannot run here, as the `skip` option of a test; where `CI` is set nothing is skipped. */
export function skipWithout(tool: string, debianPackage: string): string | false {
  if ((process.env["CI"] ?? "") !== "") return false;
  const found = spawnSync("sh", ["-c", `command -v "$0"`, tool]).status === 0;
  return found ? false : `${tool} is not there: run 'apt-get install ${debianPackage}'`;
}
