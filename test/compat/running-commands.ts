/** Commands that run until they have printed something, or end by themselves: started as processes, and ended by a signal. */
import { spawn, type ChildProcess } from "node:child_process";

export interface RunningLine {
  readonly args: readonly string[];
  readonly input?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What stands in the output when all has come; left out where the command ends by itself. */
  readonly until?: RegExp;
  /** Keeps the input open after its lines. */
  readonly inputStays?: boolean;
  /** What it is ended with then; SIGKILL when left out. */
  readonly signal?: NodeJS.Signals;
}

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly code: number | null;
}

const WITHIN_MS = 30_000;

/** A command under way. */
export class Running {
  readonly #child: ChildProcess;
  readonly #title: string;
  readonly #ended: Promise<number | null>;
  #hasEnded = false;
  #stdout = "";
  #stderr = "";
  #change: () => void = () => undefined;

  /** @param command the program and its first words @param endpoints where it finds the server, unless its words say it */
  constructor(command: readonly string[], endpoints: string, line: RunningLine) {
    const [file, ...first] = command as [string, ...string[]];
    this.#title = [...command, ...line.args].join(" ");
    const child = spawn(file, [...first, ...line.args], {
      env: { ...process.env, ETCDCTL_API: "3", ETCDCTL_ENDPOINTS: endpoints, ...line.env },
      stdio: "pipe",
    });
    this.#child = child;
    child.stdout.on("data", (data: Buffer) => {
      this.#stdout += data.toString("latin1");
      this.#change();
    });
    child.stderr.on("data", (data: Buffer) => {
      this.#stderr += data.toString("latin1");
      this.#change();
    });
    child.stdin.on("error", () => undefined); // a command that has ended does not read
    this.#ended = new Promise((resolve) => {
      child.once("close", (status) => {
        this.#hasEnded = true;
        this.#change();
        resolve(status);
      });
    });
    for (const text of line.input ?? []) child.stdin.write(`${text}\n`);
    if (line.inputStays !== true) child.stdin.end();
  }

  get stdout(): string {
    return this.#stdout;
  }

  get stderr(): string {
    return this.#stderr;
  }

  /** Waits until one of its outputs has this, or it ended. @throws when neither comes in time */
  async printed(pattern: RegExp | undefined, where: "stdout" | "stderr" = "stdout"): Promise<void> {
    const deadline = Date.now() + WITHIN_MS;
    const hasCome = (): boolean => this.#hasEnded || (pattern !== undefined && pattern.test(this[where]));
    while (!hasCome()) {
      await new Promise<void>((resolve, reject) => {
        const timer = setTimeout(() => {
          this.#child.kill("SIGKILL");
          reject(new Error(`${this.#title} printed only:\n${this.#stdout}${this.#stderr}`));
        }, deadline - Date.now());
        this.#change = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
  }

  /** Ends it, where it has not ended, and gives all that it printed. */
  async end(signal: NodeJS.Signals = "SIGKILL"): Promise<Ended> {
    if (!this.#hasEnded) this.#child.kill(signal);
    return this.ended();
  }

  /** Waits until it ends by itself. @throws when it does not in time */
  async ended(): Promise<Ended> {
    await this.printed(undefined);
    const code = await this.#ended;
    return { stdout: this.#stdout, stderr: this.#stderr, code };
  }
}

/** Runs one from its start to its end. */
export async function see(command: readonly string[], endpoints: string, line: RunningLine): Promise<Ended> {
  const running = new Running(command, endpoints, line);
  await running.printed(line.until);
  return running.end(line.signal);
}
