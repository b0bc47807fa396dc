/**
 * A transaction as text: comparisons, an empty line, requests for success, an empty line, requests for failure, an empty line.
 *
 * Lines are latin1 text here, a byte a character, so that keys and values keep every byte.
 */
import { Command, CommanderError } from "commander";
import { bytesFromLatin1 } from "../../base/text.js";
import {
  Compare,
  Compare_CompareResult,
  Compare_CompareTarget,
  type RequestOp,
  type TxnRequest,
} from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import { GO_QUOTED, goUnquote } from "./go-text.js";
import {
  addDelFlags,
  addGetFlags,
  addPutFlags,
  clampInteger,
  type DelOptions,
  delRequest,
  type GetOptions,
  getRequest,
  goInteger,
  parseLease,
  type PutOptions,
  putRequest,
} from "./requests.js";

export interface TxnTextDependencies {
  /** The next line without its end, or undefined at the end of the input. */
  readonly nextLine: () => Promise<string | undefined>;
  readonly prompt: (text: string) => void;
  readonly warn: (text: string) => void;
}

export async function readTxn(dependencies: TxnTextDependencies): Promise<TxnRequest> {
  const { prompt } = dependencies;
  prompt("compares:");
  const compare = await readSection(dependencies, (line) => Promise.resolve(parseCompare(line)));
  prompt("success requests (get, put, del):");
  const success = await readSection(dependencies, (line) => parseOperation(line, dependencies.warn));
  prompt("failure requests (get, put, del):");
  const failure = await readSection(dependencies, (line) => parseOperation(line, dependencies.warn));
  return { compare, success, failure };
}

async function readSection<T>({ nextLine }: TxnTextDependencies, parse: (line: string) => Promise<T>): Promise<T[]> {
  const parsed: T[] = [];
  for (;;) {
    const line = (await nextLine())?.trim();
    if (line === undefined) throw invalid("EOF");
    if (line === "") return parsed;
    parsed.push(await parse(line));
  }
}

function invalid(sentence: string): CommandFailure {
  return new CommandFailure(ExitCode.invalidInput, sentence);
}

const COMPARISON = new RegExp(String.raw`^\s*(${GO_QUOTED.source})\)\s*(\S+)\s*(${GO_QUOTED.source})`);

const RESULTS = new Map<string, Compare_CompareResult>([
  ["=", Compare_CompareResult.EQUAL],
  ["!=", Compare_CompareResult.NOT_EQUAL],
  [">", Compare_CompareResult.GREATER],
  ["<", Compare_CompareResult.LESS],
]);

/** `TARGET("KEY") OP "VALUE"`. */
export function parseCompare(line: string): Compare {
  const parenthesis = line.indexOf("(");
  const malformed = (): CommandFailure => invalid(`malformed comparison: ${line}`);
  if (parenthesis < 0) throw malformed();
  const target = line.slice(0, parenthesis);
  const match = COMPARISON.exec(line.slice(parenthesis + 1));
  if (match === null) throw malformed();
  const key = goUnquote(match[1]!);
  const value = goUnquote(match[3]!);
  const result = RESULTS.get(match[2]!);
  if (key === undefined || value === undefined) throw malformed();
  if (result === undefined) throw invalid(`malformed comparison: ${line} (${match[2]!} is none of = != > <)`);
  const base = { ...Compare.create(), result, key: bytesFromLatin1(key) };
  const number = (): number => {
    const parsed = goInteger(value);
    if (parsed === undefined) throw invalid(`invalid txn compare request: ${line}`);
    return clampInteger(parsed);
  };
  switch (target) {
    case "ver":
    case "version":
      return { ...base, target: Compare_CompareTarget.VERSION, targetUnion: { $case: "version", value: number() } };
    case "c":
    case "create":
      return {
        ...base,
        target: Compare_CompareTarget.CREATE,
        targetUnion: { $case: "createRevision", value: number() },
      };
    case "m":
    case "mod":
      return { ...base, target: Compare_CompareTarget.MOD, targetUnion: { $case: "modRevision", value: number() } };
    case "val":
    case "value":
      return {
        ...base,
        target: Compare_CompareTarget.VALUE,
        targetUnion: { $case: "value", value: bytesFromLatin1(value) },
      };
    case "lease":
      // etcdctl 3.5 falls over this one; here the value is a lease ID as `put --lease` takes it.
      return {
        ...base,
        target: Compare_CompareTarget.LEASE,
        targetUnion: { $case: "lease", value: parseLease(value) },
      };
    default:
      throw invalid(`malformed comparison: ${line} (unknown target ${target})`);
  }
}

const WORD = /"(?:[^"\\]|\\.)*"|'[^']*'|[^'"\s]\S*[^'"\s]?/g;

/** The words of a line; double quotes as in Go, single ones as they are. */
export function splitWords(line: string): string[] {
  return (line.match(WORD) ?? []).map((word) => {
    if (word.startsWith("'")) return word.slice(1, -1);
    if (!word.startsWith('"')) return word;
    const text = goUnquote(word);
    if (text === undefined) throw invalid("invalid syntax");
    return text;
  });
}

/** A line as on the command line: `put KEY VALUE`, `get KEY --prefix`, `del KEY END`. */
export async function parseOperation(line: string, warn: (text: string) => void): Promise<RequestOp> {
  const words = splitWords(line);
  if (words.length < 2) throw invalid(`invalid txn compare request: ${line}`);
  let operation: RequestOp | undefined;
  const silent = { writeOut: () => undefined, writeErr: () => undefined };
  const program = new Command("txn").exitOverride().configureOutput(silent);
  const add = (name: string): Command => program.command(name).exitOverride().configureOutput(silent);
  addGetFlags(add("get")).action((args: string[], options: GetOptions) => {
    operation = { request: { $case: "requestRange", value: getRequest(args, options, bytesFromLatin1) } };
  });
  addPutFlags(add("put")).action(async (args: string[], options: PutOptions) => {
    const noValue = (): Promise<Uint8Array> => Promise.resolve(new Uint8Array(0));
    const value = await putRequest(args, options, bytesFromLatin1, noValue);
    operation = { request: { $case: "requestPut", value } };
  });
  addDelFlags(add("del")).action((args: string[], options: DelOptions) => {
    operation = { request: { $case: "requestDeleteRange", value: delRequest(args, options, bytesFromLatin1, warn) } };
  });
  try {
    await program.parseAsync(words, { from: "user" });
  } catch (error) {
    if (error instanceof CommanderError) throw invalid(`invalid txn request: ${line}`);
    throw error;
  }
  if (operation === undefined) throw invalid(`invalid txn request: ${line}`);
  return operation;
}

/** Lines of a stream of bytes, as latin1 text; a last one without its end is none, as for etcdctl. */
export async function* latin1Lines(input: AsyncIterable<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const chunk of input) {
    const lines = (rest + Buffer.from(chunk).toString("latin1")).split("\n");
    rest = lines.pop()!;
    yield* lines;
  }
}
