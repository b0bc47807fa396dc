/** A line for each record of a log: for people, or as JSON for programs. Memory stays flat, whatever the log's size. */
import { describeError } from "../base/errors.js";
import { base64FromBytes } from "../proto/base64.js";
import { memberIdText } from "../membership/member.js";
import { EntryType } from "../proto/raft.js";
import { decodeWalMetadata, type WalMetadata } from "../proto/wal.js";
import { scanWal, type ReadDependencies, type ScannedRecord } from "../wal/index.js";
import { describeEntryRequest, entryRequestJson, undecodable } from "./describe-request.js";

export interface DumpOptions {
  /** Entries with an index in `[from, to]`; records that are no entries are shown where they stand between those. */
  readonly from?: number;
  readonly to?: number;
  readonly json?: boolean;
  readonly onProgress?: (progress: { readonly bytesRead: number; readonly bytesTotal: number }) => void;
}

const TYPE_NAMES: Readonly<Record<EntryType, string>> = {
  [EntryType.normal]: "normal",
  [EntryType.confChange]: "confchange",
  [EntryType.confChangeV2]: "confchange2",
};

/** A line of the text form. */
function columns(segment: string, offset: string | number, ...rest: (string | number)[]): string {
  const [kind, term, index, request] = rest.map(String);
  const place = `${segment.padEnd(SEGMENT_WIDTH)} ${String(offset).padStart(9)}`;
  return `${place} ${kind!.padEnd(11)} ${term!.padStart(4)} ${index!.padStart(11)} ${request!}`.trimEnd();
}

const SEGMENT_WIDTH = "0000000000000000-0000000000000000.wal".length;

/** The first line of the text form. */
export const DUMP_HEADING = columns("segment", "offset", "kind", "term", "index", "request");

/** @throws WalError `WAL_NOT_FOUND` */
export async function* dumpWal(
  dependencies: ReadDependencies,
  folder: string,
  options: DumpOptions = {},
): AsyncGenerator<string> {
  const from = options.from ?? 0;
  const to = options.to ?? Number.MAX_SAFE_INTEGER;
  /** Whether the last entry seen was in the range: what belongs to it is shown, too. */
  let inside = from === 0;
  const scan = { fromIndex: from, ...(options.onProgress === undefined ? {} : { onProgress: options.onProgress }) };
  for await (const record of scanWal(dependencies, folder, scan)) {
    if (record.kind === "entry") inside = record.entry.index >= from && record.entry.index <= to;
    if (!inside && record.kind !== "damage") continue;
    yield options.json === true ? JSON.stringify(jsonOf(record)) : lineOf(record);
  }
}

function lineOf(record: ScannedRecord): string {
  const { segment, offset } = record;
  switch (record.kind) {
    case "crc":
      return columns(segment, offset, "crc", "", "", record.crc.toString(16).padStart(8, "0"));
    case "metadata":
      return columns(segment, offset, "metadata", "", "", metadataText(record.metadata));
    case "entry": {
      const { entry } = record;
      return columns(segment, offset, TYPE_NAMES[entry.type], entry.term, entry.index, describeEntryRequest(entry));
    }
    case "state": {
      const { term, vote, commit } = record.hardState;
      return columns(segment, offset, "state", term, "", `vote=${memberIdText(vote)} commit=${commit}`);
    }
    case "snapshot": {
      const { term, index, confState } = record.snapshot;
      const voters = confState === undefined ? "" : `voters=${confState.voters.map(memberIdText).join(",")}`;
      return columns(segment, offset, "snapshot", term, index, voters);
    }
    case "damage":
      return columns(segment, offset, "DAMAGE", "", "", `${record.verdict}, ${record.size} bytes: ${record.why}`);
  }
}

function metadataText(metadata: Uint8Array): string {
  let decoded: WalMetadata;
  try {
    decoded = decodeWalMetadata(metadata);
  } catch (error) {
    return undecodable(metadata, error);
  }
  const { nodeId, clusterId } = decoded;
  return `member=${memberIdText(nodeId)} cluster=${memberIdText(clusterId)}`;
}

function jsonOf(record: ScannedRecord): unknown {
  const { segment, offset, size, kind } = record;
  const place = { segment, offset, size, kind };
  switch (record.kind) {
    case "crc":
      return { ...place, crc: record.crc };
    case "metadata":
      return { ...place, ...metadataJson(record.metadata) };
    case "entry": {
      const { type, term, index, data } = record.entry;
      const request = entryRequestJson(record.entry);
      return { ...place, type: TYPE_NAMES[type], term, index, data: base64FromBytes(data), request };
    }
    case "state": {
      const { term, vote, commit } = record.hardState;
      return { ...place, term, vote: memberIdText(vote), commit };
    }
    case "snapshot": {
      const { term, index, confState } = record.snapshot;
      return { ...place, term, index, voters: confState?.voters.map(memberIdText) };
    }
    case "damage":
      return { ...place, verdict: record.verdict, why: record.why };
  }
}

function metadataJson(metadata: Uint8Array): object {
  try {
    const { nodeId, clusterId } = decodeWalMetadata(metadata);
    return { memberId: memberIdText(nodeId), clusterId: memberIdText(clusterId) };
  } catch (error) {
    return { undecodable: base64FromBytes(metadata), why: describeError(error) };
  }
}
