/** The requests that get, put and del stand for. Shared by the commands and the lines of a transaction. */
import { type Command, InvalidArgumentError } from "commander";
import {
  DeleteRangeRequest,
  type PutRequest,
  RangeRequest,
  RangeRequest_SortOrder,
  RangeRequest_SortTarget,
} from "../../proto/index.js";
import { EVERYTHING_FROM, prefixEnd } from "../../client/index.js";
import { CommandFailure, ExitCode } from "./failure.js";

/** How the text of an argument becomes bytes: differs between the command line and a transaction's lines. */
export type ToBytes = (text: string) => Uint8Array;

function badArguments(sentence: string): CommandFailure {
  return new CommandFailure(ExitCode.badArguments, sentence);
}

/** A whole number as Go reads it (decimal, 0x, 0o, 0b). Over 2^53-1 it becomes that: beyond every revision there is. */
export function parseInteger(text: string): number {
  const value = goInteger(text);
  if (value === undefined)
    throw new InvalidArgumentError(`strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`);
  return clampInteger(value);
}

export function goInteger(text: string): bigint | undefined {
  if (!/^[+-]?(0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|\d+)$/.test(text)) return undefined;
  const negative = text.startsWith("-");
  const digits = text.replace(/^[+-]/, "").replace(/^0(?=\d)/, "0o");
  const value = negative ? -BigInt(digits) : BigInt(digits);
  return BigInt.asIntN(64, value) === value ? value : undefined;
}

export function clampInteger(value: bigint): number {
  const max = BigInt(Number.MAX_SAFE_INTEGER);
  return Number(value > max ? max : value < -max ? -max : value);
}

// ---- get ------------------------------------------------------------------------------------------------------------

export interface GetOptions {
  readonly consistency: string;
  readonly order: string;
  readonly sortBy: string;
  readonly limit: number;
  readonly rev: number;
  readonly prefix?: boolean;
  readonly fromKey?: boolean;
  readonly keysOnly?: boolean;
  readonly countOnly?: boolean;
  readonly printValueOnly?: boolean;
}

export function addGetFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "key [range_end]")
    .usage("[options] <key> [range_end]")
    .option("--consistency <value>", "Linearizable(l) or Serializable(s)", "l")
    .option("--order <value>", "order of results: ASCEND or DESCEND", "")
    .option("--sort-by <value>", "sort target: CREATE, KEY, MODIFY, VALUE, or VERSION", "")
    .option("--limit <count>", "maximum number of results", parseInteger, 0)
    .option("--rev <revision>", "read at this revision", parseInteger, 0)
    .option("--prefix", "get keys with matching prefix")
    .option("--from-key", "get keys that are greater than or equal to the given key using byte compare")
    .option("--keys-only", "get only the keys")
    .option("--count-only", "get only the count")
    .option("--print-value-only", 'only write values when using the "simple" output format');
}

const SORT_ORDERS = new Map<string, RangeRequest_SortOrder>([
  ["", RangeRequest_SortOrder.NONE],
  ["ASCEND", RangeRequest_SortOrder.ASCEND],
  ["DESCEND", RangeRequest_SortOrder.DESCEND],
]);

const SORT_TARGETS = new Map<string, RangeRequest_SortTarget>([
  ["", RangeRequest_SortTarget.KEY],
  ["KEY", RangeRequest_SortTarget.KEY],
  ["CREATE", RangeRequest_SortTarget.CREATE],
  ["MODIFY", RangeRequest_SortTarget.MOD],
  ["VALUE", RangeRequest_SortTarget.VALUE],
  ["VERSION", RangeRequest_SortTarget.VERSION],
]);

export function getRequest(args: readonly string[], options: GetOptions, toBytes: ToBytes): RangeRequest {
  if (args.length === 0) {
    throw badArguments("get command needs one argument as key and an optional argument as range_end");
  }
  onlyOneOf(options.prefix, options.fromKey, "prefix", "from-key");
  onlyOneOf(options.keysOnly, options.countOnly, "keys-only", "count-only");
  if (options.consistency !== "s" && options.consistency !== "l") {
    throw new CommandFailure(ExitCode.badFeature, `unknown consistency flag ${JSON.stringify(options.consistency)}`);
  }
  const range = keyRange(args, options, toBytes);
  const sortOrder = SORT_ORDERS.get(options.order.toUpperCase());
  if (sortOrder === undefined) throw new CommandFailure(ExitCode.badFeature, `bad sort order ${options.order}`);
  const sortTarget = SORT_TARGETS.get(options.sortBy.toUpperCase());
  if (sortTarget === undefined) throw new CommandFailure(ExitCode.badFeature, `bad sort target ${options.sortBy}`);
  return {
    ...RangeRequest.create(),
    ...range,
    limit: options.limit,
    revision: Math.max(0, options.rev),
    // The server's answers are in ascending order of keys anyway: not asked for, the server need not sort.
    sortOrder: asked(sortTarget, sortOrder),
    sortTarget,
    serializable: options.consistency === "s",
    keysOnly: options.keysOnly === true,
    countOnly: options.countOnly === true,
  };
}

/** As etcd's client: keys in ascending order need no sorting. */
function asked(target: RangeRequest_SortTarget, order: RangeRequest_SortOrder): RangeRequest_SortOrder {
  const { KEY } = RangeRequest_SortTarget;
  return target === KEY && order === RangeRequest_SortOrder.ASCEND ? RangeRequest_SortOrder.NONE : order;
}

// ---- put ------------------------------------------------------------------------------------------------------------

export interface PutOptions {
  readonly lease: string;
  readonly prevKv?: boolean;
  readonly ignoreValue?: boolean;
  readonly ignoreLease?: boolean;
}

export function addPutFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "key [value]")
    .usage("[options] <key> <value> (<value> can also be given from stdin)")
    .option("--lease <id>", "lease ID (in hexadecimal) to attach to the key", "0")
    .option("--prev-kv", "return the previous key-value pair before modification")
    .option("--ignore-value", "updates the key using its current value")
    .option("--ignore-lease", "updates the key using its current lease");
}

/** @param fromStdin the value, when no argument has it */
export async function putRequest(
  args: readonly string[],
  options: PutOptions,
  toBytes: ToBytes,
  fromStdin: () => Promise<Uint8Array>,
): Promise<PutRequest> {
  const [key, value] = args;
  const usage = "put command needs 1 argument and input from stdin or 2 arguments";
  if (key === undefined) throw badArguments(usage);
  if (options.ignoreValue === true && args.length > 1) {
    throw badArguments("put command needs only 1 argument when 'ignore-value' is set");
  }
  let bytes: Uint8Array = new Uint8Array(0);
  if (options.ignoreValue !== true) {
    bytes = value === undefined ? await fromStdin() : toBytes(value);
    if (value === undefined && bytes.length === 0) throw badArguments(usage);
  }
  return {
    key: toBytes(key),
    value: bytes,
    lease: parseLease(options.lease),
    prevKv: options.prevKv === true,
    ignoreValue: options.ignoreValue === true,
    ignoreLease: options.ignoreLease === true,
  };
}

export function parseLease(text: string): bigint {
  const id = parseInteger64(text, 16);
  if (typeof id === "bigint") return id;
  throw badArguments(`bad lease ID (${id}), expecting ID in Hex`);
}

/** A signed number of 64 bits as Go's ParseInt reads it; the text of its error where it is none. */
export function parseInteger64(text: string, base: 10 | 16): bigint | string {
  const fault = (why: string): string => `strconv.ParseInt: parsing ${JSON.stringify(text)}: ${why}`;
  const pattern = base === 16 ? /^[+-]?[0-9a-fA-F]+$/ : /^[+-]?\d+$/;
  if (!pattern.test(text)) return fault("invalid syntax");
  const digits = BigInt(`${base === 16 ? "0x" : ""}${text.replace(/^[+-]/, "")}`);
  const value = text.startsWith("-") ? -digits : digits;
  return BigInt.asIntN(64, value) === value ? value : fault("value out of range");
}

// ---- del ------------------------------------------------------------------------------------------------------------

export interface DelOptions {
  readonly prefix?: boolean;
  readonly prevKv?: boolean;
  readonly fromKey?: boolean;
  readonly range?: boolean;
}

export function addDelFlags(command: Command): Command {
  return command
    .argument("[arguments...]", "key [range_end]")
    .usage("[options] <key> [range_end]")
    .option("--prefix", "delete keys with matching prefix")
    .option("--prev-kv", "return deleted key-value pairs")
    .option("--from-key", "delete keys that are greater than or equal to the given key using byte compare")
    .option("--range", "delete range of keys");
}

/** @param warn told what etcdctl warns of */
export function delRequest(
  args: readonly string[],
  options: DelOptions,
  toBytes: ToBytes,
  warn: (text: string) => void,
): DeleteRangeRequest {
  if (args.length === 0 || args.length > 2) {
    throw badArguments("del command needs one argument as key and an optional argument as range_end");
  }
  onlyOneOf(options.prefix, options.fromKey, "prefix", "from-key");
  const range = keyRange(args, options, toBytes);
  if (args.length > 1 && options.range !== true) {
    warn("In etcd v3.6, the operation will be suspended for a few seconds to provide the user time to verify range.\n");
  }
  return { ...DeleteRangeRequest.create(), ...range, prevKv: options.prevKv === true };
}

// ---- shared ---------------------------------------------------------------------------------------------------------

function onlyOneOf(a: boolean | undefined, b: boolean | undefined, nameA: string, nameB: string): void {
  if (a === true && b === true) {
    throw badArguments(`\`--${nameA}\` and \`--${nameB}\` cannot be set at the same time, choose one`);
  }
}

function keyRange(
  args: readonly string[],
  options: { readonly prefix?: boolean; readonly fromKey?: boolean },
  toBytes: ToBytes,
): { key: Uint8Array; rangeEnd: Uint8Array } {
  const key = toBytes(args[0]!);
  const spans = options.prefix === true || options.fromKey === true;
  if (args.length > 1) {
    if (spans) {
      throw badArguments("too many arguments, only accept one argument when `--prefix` or `--from-key` is set");
    }
    return { key, rangeEnd: toBytes(args[1]!) };
  }
  if (!spans) return { key, rangeEnd: new Uint8Array(0) };
  if (key.length === 0) return { key: EVERYTHING_FROM, rangeEnd: EVERYTHING_FROM };
  return { key, rangeEnd: options.prefix === true ? prefixEnd(key) : EVERYTHING_FROM };
}
