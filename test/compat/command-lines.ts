/** Lines of a command with what a person sees of them: etcdctl's against Walnut's. */
import { runClientCommand, type World } from "../../src/cli/commands/index.js";

export interface Line {
  readonly args: readonly string[];
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

export interface Seen {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** `_` stands for a space in an argument, `~` for nothing. */
export const line = (text: string, input?: string): Line => ({
  args: text === "" ? [] : text.split(" ").map((word) => word.replaceAll("_", " ").replaceAll("~", "")),
  ...(input === undefined ? {} : { input }),
});

const FORMS = ["simple", "json", "fields", "protobuf", "table", "nuts"];
export const inAllForms = (text: string): Line[] => FORMS.map((form) => line(`${text} -w ${form}`));

/** A world without a terminal, and what was printed into it. */
export function testWorld({ input = "", env = {} }: Pick<Line, "input" | "env">): {
  readonly world: World;
  readonly seen: () => Pick<Seen, "stdout" | "stderr">;
} {
  const out: Uint8Array[] = [];
  let stderr = "";
  const world: World = {
    env,
    stdin: async function* () {
      await Promise.resolve();
      yield Buffer.from(input);
    },
    echo: () => undefined,
    out: (data) => out.push(Buffer.from(data)),
    err: (text) => (stderr += text),
    errIsTerminal: false,
    argumentBytes: (argument) => Buffer.from(argument),
    run: () => Promise.resolve({ sentence: "commands are run by processes of their own", exitCode: 1 }),
    onInterrupt: () => () => undefined,
    every: () => () => undefined,
    now: () => performance.now(),
    resolveSrv: () => Promise.resolve("names are looked up by processes of their own"),
  };
  return { world, seen: () => ({ stdout: Buffer.concat(out).toString(), stderr }) };
}

/** Runs a command in this process. */
export async function runHere(line: Line): Promise<Seen> {
  const { world, seen } = testWorld(line);
  const code = await runClientCommand(line.args, world);
  return { code, ...seen() };
}

/** What a person sees, but for times, sizes and where the log stands; and without etcdctl's log, its usage text, our hints. */
export function shown({ code, stdout, stderr }: Seen): string {
  const errors = stderr.split("\n").filter((text) => /^(Error|Failed|In etcd|127\.0\.0\.1)/.test(text));
  const text = `exit ${code}\n${stdout}${errors.length === 0 ? "" : `stderr:\n${errors.join("\n")}`}`;
  return (
    text
      .replace(/\b\d+(\.\d+)?(ns|µs|ms|s)\b *\|?/g, "TIME")
      // The width of that column follows the time.
      .replace(/-+\+-+\+-+\+-+\+\n| +TOOK +(?=\|)/g, "-")
      .replace(/\b\d+(\.\d+)? (B|kB|MB)\b/g, "SIZE")
      // A lease's ID where the server chose it, and what is left of its time.
      .replace(/\blease [0-9a-f]{16} granted with TTL\(TIME\)$/gm, "lease ID granted with TTL(TIME)")
      .replace(/"(ID|id)" ?: ?\d{15,}/g, '"$1":ID')
      .replace(/"(ttl|TTL)" ?: ?\d{4}\b/g, '"$1":SECONDS')
      .replace(/"(raftIndex|raftAppliedIndex|RaftIndex|RaftAppliedIndex)" ?: ?\d+/g, '"$1":N')
      .replace(/"(dbSize|dbSizeInUse|DBSize|DBSizeInUse)" ?: ?\d+/g, '"$1":SIZE')
      .replace(/((?:true|false), \d+, |(?:true|false) \| +\d+ \| +)\d+(, | \| +)\d+/g, "$1N$2N")
  );
}
