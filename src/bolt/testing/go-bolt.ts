/**
 * Go's own bbolt as the other side of a differential test: a small program (`test/campaigns/bolt-go/main.go`) that checks,
 * dumps and changes files. Needs `go` and Debian's golang-github-coreos-bbolt-dev (or another GOPATH with go.etcd.io/bbolt).
 */
import { execFileSync, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export type GoBolt =
  { readonly kind: "found"; readonly tool: GoTool } | { readonly kind: "missing"; readonly why: string };

const GOPATH = process.env["BOLT_GOPATH"] ?? "/usr/share/gocode";
const SOURCE = join(import.meta.dirname, "../../../../test/campaigns/bolt-go/main.go");

/** Builds the program, or says why it cannot. */
export function findGoBolt(): GoBolt {
  if (!existsSync(join(GOPATH, "src/go.etcd.io/bbolt"))) {
    return { kind: "missing", why: `no go.etcd.io/bbolt below ${GOPATH} (Debian: golang-github-coreos-bbolt-dev)` };
  }
  if (spawnSync("go", ["version"]).status !== 0) return { kind: "missing", why: "no `go` on the path" };
  const folder = join(tmpdir(), "walnut-bolt-go");
  mkdirSync(folder, { recursive: true });
  const tool = join(folder, `bolt-go-${process.pid}`);
  const environment = { ...process.env, GO111MODULE: "off", GOPATH, GOCACHE: join(folder, "cache") };
  execFileSync("go", ["build", "-o", tool, SOURCE], { env: environment, stdio: "inherit" });
  process.on("exit", () => rmSync(tool, { force: true }));
  return { kind: "found", tool: new GoTool(tool) };
}

export class GoTool {
  readonly path: string;

  constructor(path: string) {
    this.path = path;
  }

  /** What bbolt's own check says of a file: nothing when it is consistent. */
  check(file: string): string[] {
    return this.#run(["check", file], "")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("problems "));
  }

  /** All buckets and keys, one a line: see `dumpLines`. */
  dump(file: string): string[] {
    return this.#run(["dump", file], "")
      .split("\n")
      .filter((line) => line !== "");
  }

  /** Applies lines of operations; the last one is a commit. */
  apply(file: string, lines: readonly string[], environment: Readonly<Record<string, string>> = {}): void {
    this.#run(["apply", file], lines.join("\n"), environment);
  }

  #run(args: string[], input: string, environment: Readonly<Record<string, string>> = {}): string {
    const done = spawnSync(this.path, args, {
      input,
      encoding: "latin1",
      maxBuffer: 2 ** 30,
      env: { ...process.env, ...environment },
    });
    if (done.status !== 0) throw new Error(`bbolt ${args.join(" ")}: ${done.stdout.slice(0, 400)} ${done.stderr}`);
    return done.stdout;
  }
}
