/**
 * etcd's v2 request, the one proto2 message among those that raft carries.
 *
 * 3.5 still writes two kinds of them into its log, bare, not inside an `InternalRaftRequest`: what a member publishes of itself
 * (PUT /0/members/ID/attributes) and the cluster version (PUT /0/version).
 *
 * Law: every field is written even when zero, in the order of the numbers; `prevExist` and `refresh` only when they are set.
 */
import { WireError, WireReader, WireWriter } from "../base/bytes.js";
import { textFromUtf8, utf8FromText } from "../base/text.js";

export interface V2Request {
  readonly id: bigint;
  /** PUT, POST, DELETE, GET, QGET or SYNC. */
  readonly method: string;
  readonly path: string;
  readonly val: string;
  readonly dir: boolean;
  readonly prevValue: string;
  readonly prevIndex: bigint;
  readonly prevExist: boolean | undefined;
  /** Nanoseconds since 1970; 0 for never. */
  readonly expiration: bigint;
  readonly wait: boolean;
  readonly since: bigint;
  readonly recursive: boolean;
  readonly sorted: boolean;
  readonly quorum: boolean;
  /** Nanoseconds since 1970: what SYNC expires up to. */
  readonly time: bigint;
  readonly stream: boolean;
  readonly refresh: boolean | undefined;
}

/** A request with every field that is not given at its zero. */
export function makeV2Request(fields: Partial<V2Request> & Pick<V2Request, "id" | "method">): V2Request {
  return {
    path: "",
    val: "",
    dir: false,
    prevValue: "",
    prevIndex: 0n,
    prevExist: undefined,
    expiration: 0n,
    wait: false,
    since: 0n,
    recursive: false,
    sorted: false,
    quorum: false,
    time: 0n,
    stream: false,
    refresh: undefined,
    ...fields,
  };
}

export function encodeV2Request(request: V2Request): Uint8Array {
  const writer = new WireWriter()
    .uint64Field(1, request.id)
    .bytesField(2, utf8FromText(request.method))
    .bytesField(3, utf8FromText(request.path))
    .bytesField(4, utf8FromText(request.val))
    .boolField(5, request.dir)
    .bytesField(6, utf8FromText(request.prevValue))
    .uint64Field(7, request.prevIndex);
  if (request.prevExist !== undefined) writer.boolField(8, request.prevExist);
  writer
    .uint64Field(9, request.expiration)
    .boolField(10, request.wait)
    .uint64Field(11, request.since)
    .boolField(12, request.recursive)
    .boolField(13, request.sorted)
    .boolField(14, request.quorum)
    .uint64Field(15, request.time)
    .boolField(16, request.stream);
  if (request.refresh !== undefined) writer.boolField(17, request.refresh);
  return writer.finish();
}

/** @throws WireError for bytes that are no v2 request: a known field of another wire type among them */
export function decodeV2Request(bytes: Uint8Array): V2Request {
  const reader = new WireReader(bytes);
  const integers = new Map<number, bigint>();
  const texts = new Map<number, string>();
  while (!reader.done) {
    const tag = reader.tag();
    const field = Math.floor(tag / 8);
    if (field > 17) {
      reader.skip(tag);
    } else if (tag % 8 !== (isText(field) ? 2 : 0)) {
      throw new WireError("WIRE_MALFORMED", `wire type ${tag % 8} for field ${field} before byte ${reader.offset}`);
    } else if (isText(field)) {
      texts.set(field, textFromUtf8(reader.bytes()));
    } else {
      integers.set(field, reader.varint64());
    }
  }
  const integer = (field: number): bigint => integers.get(field) ?? 0n;
  const flag = (field: number): boolean => integer(field) !== 0n;
  const text = (field: number): string => texts.get(field) ?? "";
  return {
    id: integer(1),
    method: text(2),
    path: text(3),
    val: text(4),
    dir: flag(5),
    prevValue: text(6),
    prevIndex: integer(7),
    prevExist: integers.has(8) ? flag(8) : undefined,
    expiration: BigInt.asIntN(64, integer(9)),
    wait: flag(10),
    since: integer(11),
    recursive: flag(12),
    sorted: flag(13),
    quorum: flag(14),
    time: BigInt.asIntN(64, integer(15)),
    stream: flag(16),
    refresh: integers.has(17) ? flag(17) : undefined,
  };
}

function isText(field: number): boolean {
  return field === 2 || field === 3 || field === 4 || field === 6;
}
