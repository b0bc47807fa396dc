/**
 * The data of a normal raft entry: an `InternalRaftRequest`, or a bare v2 request as 3.5 still writes it.
 *
 * Nothing in the bytes says which. As etcd does, the first is tried, and what it refuses is the second. The two cannot be mixed up:
 * a bare v2 request always has its method in field 2, and no method's letters are fields of the v2 request that field 2 holds
 * in an `InternalRaftRequest`. The strictness of both decoders makes that so; a test walks all methods.
 */
import { WireError } from "../base/bytes.js";
import { InternalRaftRequest } from "./generated/etcdserverpb/raft_internal.js";
import { decodeV2Request, type V2Request } from "./v2-request.js";

export type RaftRequest =
  | { readonly kind: "v3"; readonly request: InternalRaftRequest }
  /** `id` is that of the `InternalRaftRequest` around it; 0n for a bare one, whose own ID counts. */
  | { readonly kind: "v2"; readonly id: bigint; readonly request: V2Request };

/**
 * Decodes what `Entry.data` holds. Empty data (the entry of a new leader) decodes as a request with nothing set; ask before.
 *
 * @throws WireError `WIRE_MALFORMED` when the bytes are neither kind
 */
export function decodeRaftRequest(data: Uint8Array): RaftRequest {
  let request: InternalRaftRequest;
  let inner: V2Request | undefined;
  try {
    request = InternalRaftRequest.decode(data);
    if (request.v2.length > 0) inner = decodeV2Request(request.v2);
  } catch (notV3) {
    if (!(notV3 instanceof WireError)) throw notV3;
    try {
      return { kind: "v2", id: 0n, request: decodeV2Request(data) };
    } catch (notV2) {
      throw new WireError("WIRE_MALFORMED", `an entry's ${data.length} bytes hold no request that etcd 3.5 knows`, {
        cause: new AggregateError([notV3, notV2]),
      });
    }
  }
  return inner === undefined ? { kind: "v3", request } : { kind: "v2", id: request.ID, request: inner };
}
