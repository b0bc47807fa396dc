/** `lease …`: what each of its commands does, and how its answers are written. */
import type { Command } from "commander";
import { quoteBytes } from "../../base/go-quote.js";
import type { Client } from "../../client/index.js";
import {
  type LeaseKeepAliveResponse,
  LeaseRevokeResponse,
  type LeaseTimeToLiveResponse,
  ResponseHeader,
} from "../../proto/index.js";
import { CommandFailure, ExitCode } from "./failure.js";
import type { GoJson } from "./go-text.js";
import { headerFields, headerJson } from "./messages-json.js";
import { parseInteger64 } from "./requests.js";
import type { Run } from "./run.js";

export const leaseGrant: Run<object> = async ({ client, printer }, args) => {
  const [text] = args;
  if (text === undefined || args.length !== 1) throw badArguments("lease grant command needs TTL argument");
  const ttl = parseInteger64(text, 10);
  if (typeof ttl === "string") throw badArguments(`bad TTL (${ttl})`);
  const response = await client
    .leaseGrant({ ID: 0n, TTL: Number(ttl) })
    .catch((cause: unknown) => fail("failed to grant lease", cause));
  const { header, ID, TTL, error } = response;
  printer.show({
    simple: `lease ${leaseText(ID)} granted with TTL(${TTL}s)\n`,
    header,
    fields: [field("ID", ID), field("TTL", TTL)],
    json: flat(header, [
      ["ID", ID, "always"],
      ["TTL", TTL, "always"],
      ["Error", error, "always"],
    ]),
    protobuf: headerBytes(header),
  });
};

export const leaseRevoke: Run<object> = async ({ client, printer }, args) => {
  const [text] = args;
  if (text === undefined || args.length !== 1) throw badArguments("lease revoke command needs 1 argument");
  const id = leaseOf(text);
  const response = await client.leaseRevoke(id).catch((cause: unknown) => fail("failed to revoke lease", cause));
  printer.show({
    simple: `lease ${leaseText(id)} revoked\n`,
    header: response.header,
    fields: [],
    json: { fields: [["header", headerJson(response.header)]] },
    protobuf: LeaseRevokeResponse.encode(response).finish(),
  });
};

export const leaseTimeToLive: Run<{ keys?: boolean }> = async ({ client, printer }, args, { keys }) => {
  const [text] = args;
  if (text === undefined || args.length !== 1)
    throw badArguments("lease timetolive command needs lease ID as argument");
  const response = await atServer(client.leaseTimeToLive({ ID: leaseOf(text), keys: keys === true }));
  const { header, ID, TTL, grantedTTL } = response;
  printer.show({
    simple: describeTime(response, keys === true),
    header,
    fields: [
      field("ID", ID),
      field("TTL", TTL),
      field("GrantedTTL", grantedTTL),
      ...response.keys.map((key) => field("Key", quoteBytes(key))),
    ],
    json: flat(header, [
      ["id", ID, "always"],
      ["ttl", TTL, "always"],
      ["granted-ttl", grantedTTL, "always"],
      ["keys", response.keys.length === 0 ? undefined : response.keys, "always"],
    ]),
    protobuf: headerBytes(header),
  });
};

function describeTime({ ID, TTL, grantedTTL, keys }: LeaseTimeToLiveResponse, withKeys: boolean): string | Uint8Array {
  if (grantedTTL === 0 && TTL === -1) return `lease ${leaseText(ID)} already expired\n`;
  const times = `lease ${leaseText(ID)} granted with TTL(${grantedTTL}s), remaining(${TTL}s)`;
  if (!withKeys) return `${times}\n`;
  const parts = keys.flatMap((key, i) => (i === 0 ? [key] : [" ", key]));
  return Buffer.concat([times, ", attached keys([", ...parts, "])\n"].map((part) => Buffer.from(part as Uint8Array)));
}

export const leaseList: Run<object> = async ({ client, printer }) => {
  const { header, leases } = await atServer(client.leaseLeases());
  printer.show({
    simple: [`found ${leases.length} leases`, ...leases.map(({ ID }) => leaseText(ID)), ""].join("\n"),
    header,
    fields: leases.map(({ ID }) => field("ID", ID)),
    json: flat(header, [["leases", leases.map(({ ID }) => ({ fields: [["id", ID, "always"]] }) as const), "always"]]),
    protobuf: headerBytes(header),
  });
};

export const leaseKeepAlive: Run<{ once?: boolean }> = async (session, args, { once }) => {
  const [text] = args;
  if (text === undefined || args.length !== 1)
    throw badArguments("lease keep-alive command needs lease ID as argument");
  const id = leaseOf(text);
  const { printer, client, world } = session;
  const show = (response: LeaseKeepAliveResponse): void => {
    const { header, ID, TTL } = response;
    printer.show({
      simple: `lease ${leaseText(ID)} keepalived with TTL(${TTL})\n`,
      header,
      fields: [field("ID", ID), field("TTL", TTL)],
      json: flat(header, [
        ["ID", ID, "always"],
        ["TTL", TTL, "always"],
      ]),
      protobuf: headerBytes(header),
    });
  };
  if (once === true) {
    show(await atServer(renewOnce(client, id)));
    return;
  }
  for await (const response of client.leaseKeepAlive(id)) show(response);
  if (printer.format === "simple") world.out(`lease ${leaseText(id)} expired or revoked.\n`);
};

/** One renewal; a lease that is gone is a failure here, as in etcd's client. */
async function renewOnce(client: Client, id: bigint): Promise<LeaseKeepAliveResponse> {
  for await (const response of client.leaseKeepAlive(id)) return response;
  throw new CommandFailure(ExitCode.badConnection, "etcdserver: requested lease not found");
}

export function addLeaseFlags(command: Command): Command {
  return command.argument("[arguments...]", "leaseID").usage("<leaseID> [options]");
}

function field(name: string, value: string | number | bigint): string {
  return `"${name}" : ${value}`;
}

/** As Go prints a signed number in sixteen hexadecimal places. */
export function leaseText(id: bigint): string {
  return id < 0n ? `-${(-id).toString(16).padStart(15, "0")}` : id.toString(16).padStart(16, "0");
}

function leaseOf(text: string): bigint {
  const id = parseInteger64(text, 16);
  if (typeof id === "bigint") return id;
  throw badArguments(`bad lease ID arg (${id}), expecting ID in Hex`);
}

function headerBytes(header: ResponseHeader | undefined): Uint8Array {
  return header === undefined ? new Uint8Array(0) : ResponseHeader.encode(header).finish();
}

/** etcd's client embeds the header in these, so its fields stand beside the others. */
function flat(
  header: ResponseHeader | undefined,
  fields: readonly (readonly [name: string, value: GoJson, always?: "always"])[],
): GoJson {
  return { fields: [...headerFields(header), ...fields] };
}

function badArguments(sentence: string): CommandFailure {
  return new CommandFailure(ExitCode.badArguments, sentence);
}

function fail(what: string, cause: unknown): never {
  throw new CommandFailure(ExitCode.error, `${what} (${cause instanceof Error ? cause.message : String(cause)})`, {
    cause,
  });
}

/** etcdctl calls whatever goes wrong here a bad connection. */
async function atServer<Answer>(answer: Promise<Answer>): Promise<Answer> {
  try {
    return await answer;
  } catch (cause) {
    if (cause instanceof CommandFailure) throw cause;
    throw new CommandFailure(ExitCode.badConnection, cause instanceof Error ? cause.message : String(cause), { cause });
  }
}
