/**
 * etcd's v3 services over one member, as a table of handlers by path: KV, Watch, Lease, Auth, Maintenance, Cluster, Lock, Election, each with
 * every method that its definition has, and gRPC's Health.
 */
import { createHash } from "node:crypto";
import { invariant } from "../base/errors.js";
import type { Call, Handler, HandlerTable } from "../grpc/handler.js";
import { memberIdText } from "../membership/member.js";
import { SpareTime } from "../platform/spare-time.js";
import {
  CompactionRequest,
  CompactionResponse,
  DeleteRangeRequest,
  DeleteRangeResponse,
  RangeRequest,
  type RangeResponse,
  RangeStreamResponse,
  TxnRequest,
  TxnResponse,
} from "../proto/generated/etcdserverpb/kv.js";
import {
  AlarmRequest,
  AlarmRequest_AlarmAction,
  AlarmResponse,
  DefragmentRequest,
  DefragmentResponse,
  DowngradeRequest,
  DowngradeRequest_DowngradeAction,
  DowngradeResponse,
  HashKVRequest,
  HashKVResponse,
  HashRequest,
  HashResponse,
  MoveLeaderRequest,
  MoveLeaderResponse,
  SnapshotRequest,
  SnapshotResponse,
  StatusRequest,
  StatusResponse,
} from "../proto/generated/etcdserverpb/maintenance.js";
import type { CallContext, MemberService } from "../server/contract.js";
import { authHandlers } from "./auth.js";
import { checkDeleteRange, checkRange, checkRangeStream, checkTxn } from "./checks.js";
import { clusterHandlers } from "./cluster.js";
import { concurrencyHandlers } from "./concurrency.js";
import { ApiError, withoutStatus } from "./errors.js";
import { healthHandlers } from "./health.js";
import { putHandler, rangeHandler, txnHandler } from "./hot-calls.js";
import { leaseHandlers } from "./lease.js";
import { encodeRangeAnswer } from "./range-answer.js";
import { ServingState } from "./serving-state.js";
import { watchHandlers } from "./watch.js";
import { admit, contextOf, decodeRequest, type ServiceDependencies, unary, unaryWith } from "./service.js";

/** Bytes of `db` in one message of a snapshot (etcd's). */
const SNAPSHOT_PIECE_BYTES = 32 * 1024;
/** To read and send a piece takes about as much of the loop as to sum and encode it. */
const SNAPSHOT_SENDING_FACTOR = 2;

/** Every handler of the client port. */
export function createHandlers(dependencies: ServiceDependencies): HandlerTable {
  return new Map<string, Handler>([
    ...kvHandlers(dependencies),
    ...watchHandlers(dependencies),
    ...maintenanceHandlers(dependencies),
    ...leaseHandlers(dependencies),
    ...clusterHandlers(dependencies),
    ...authHandlers(dependencies),
    ...concurrencyHandlers(dependencies),
    ...healthHandlers(dependencies),
  ]);
}

function kvHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { clock, member } = dependencies;
  const encodeRange = (response: RangeResponse): Uint8Array | Promise<Uint8Array> => encodeRangeAnswer(response, clock);
  const range = (request: RangeRequest, context: CallContext): Promise<RangeResponse> => {
    checkRange(request);
    return member.range(request, context);
  };
  return [
    [
      "/etcdserverpb.KV/Range",
      rangeHandler(
        dependencies,
        unaryWith(dependencies, RangeRequest, encodeRange, range, (request) => request.serializable),
        // What it saw of the log was confirmed when it was let through the first time.
        async (bytes, context) =>
          encodeRange(await range({ ...RangeRequest.decode(bytes), serializable: true }, context)),
      ),
    ],
    [
      "/etcdserverpb.KV/RangeStream",
      {
        kind: "serverStreaming",
        handle: (bytes: Uint8Array, call: Call) => {
          const request = decodeRequest(RangeRequest, bytes);
          admit(dependencies, call, "stream", false);
          checkRangeStream(request);
          return rangeMessages(member.rangeStream(request, contextOf(call)));
        },
      },
    ],
    ["/etcdserverpb.KV/Put", putHandler(dependencies)],
    [
      "/etcdserverpb.KV/DeleteRange",
      unary(dependencies, DeleteRangeRequest, DeleteRangeResponse, (request, context) => {
        checkDeleteRange(request);
        return member.deleteRange(request, context);
      }),
    ],
    [
      "/etcdserverpb.KV/Txn",
      txnHandler(
        dependencies,
        unary(dependencies, TxnRequest, TxnResponse, (request, context) => {
          checkTxn(request, member.limits.txnOperationsMax);
          return member.txn(request, context);
        }),
      ),
    ],
    [
      "/etcdserverpb.KV/Compact",
      unary(dependencies, CompactionRequest, CompactionResponse, async (request, context) => {
        await member.access.requireAdmin(context);
        return member.compact(request, context);
      }),
    ],
  ];
}

async function* rangeMessages(pieces: AsyncIterable<RangeResponse>): AsyncGenerator<Uint8Array> {
  for await (const rangeResponse of pieces) yield RangeStreamResponse.encode({ rangeResponse }).finish();
}

function maintenanceHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { member, serving = new ServingState() } = dependencies;
  return [
    [
      "/etcdserverpb.Maintenance/Status",
      unary(
        dependencies,
        StatusRequest,
        StatusResponse,
        async (_request, context) => {
          await member.access.requireAdmin(context);
          return member.status();
        },
        () => true,
      ),
    ],
    [
      "/etcdserverpb.Maintenance/Hash",
      unary(dependencies, HashRequest, HashResponse, async (_request, context) => {
        await requireAdminBarely(member, context);
        return member.hash();
      }),
    ],
    [
      "/etcdserverpb.Maintenance/HashKV",
      unary(dependencies, HashKVRequest, HashKVResponse, async (request, context) => {
        await requireAdminBarely(member, context);
        return member.hashKv(request);
      }),
    ],
    [
      "/etcdserverpb.Maintenance/Alarm",
      unary(dependencies, AlarmRequest, AlarmResponse, async (request, context) => {
        if (request.action === AlarmRequest_AlarmAction.GET) await member.access.requireUser(context);
        else await member.access.requireAdmin(context);
        return member.alarm(request, context);
      }),
    ],
    [
      "/etcdserverpb.Maintenance/Downgrade",
      unary(dependencies, DowngradeRequest, DowngradeResponse, async (request, context) => {
        await member.access.requireAdmin(context);
        if (
          request.action < DowngradeRequest_DowngradeAction.VALIDATE ||
          request.action > DowngradeRequest_DowngradeAction.CANCEL
        ) {
          throw new ApiError("API_UNKNOWN_METHOD", `downgrade action ${request.action}`);
        }
        return member.downgrade(request, context);
      }),
    ],
    [
      "/etcdserverpb.Maintenance/Defragment",
      unary(dependencies, DefragmentRequest, DefragmentResponse, async (_request, context) => {
        await requireAdminBarely(member, context);
        await serving.whileDefragmenting(() => member.defragment());
        // 3.5 sends no header here.
        return { header: undefined };
      }),
    ],
    [
      "/etcdserverpb.Maintenance/MoveLeader",
      unary(dependencies, MoveLeaderRequest, MoveLeaderResponse, ({ targetID }, context) =>
        moveLeader(member, targetID, context),
      ),
    ],
    [
      "/etcdserverpb.Maintenance/Snapshot",
      {
        kind: "serverStreaming",
        handle: (bytes: Uint8Array, call: Call) => {
          decodeRequest(SnapshotRequest, bytes);
          admit(dependencies, call, "stream", true);
          return snapshotMessages(dependencies, contextOf(call));
        },
      },
    ],
  ];
}

/** For the calls that etcd refuses with no status, but with its own words. */
async function requireAdminBarely({ access }: MemberService, context: CallContext): Promise<void> {
  try {
    await access.requireAdmin(context);
  } catch (error) {
    throw withoutStatus(error);
  }
}

/** Checks as etcd does, in its order. The member looks once more when it acts: members may have changed meanwhile. */
async function moveLeader(member: MemberService, target: bigint, context: CallContext): Promise<MoveLeaderResponse> {
  await member.access.requireAdmin(context);
  if (member.leader() !== member.memberId) throw new ApiError("SERVER_NOT_LEADER", "this member does not lead");
  const { members } = await member.memberList(false, context);
  if (!members.some(({ id, isLearner }) => id === target && !isLearner)) {
    throw new ApiError("API_BAD_TRANSFEREE", `${memberIdText(target)} is no voting member`);
  }
  if (target !== member.memberId) await member.moveLeader(target, context);
  // 3.5 sends no header here.
  return { header: undefined };
}

/** `db` in pieces, each with the count of bytes after it, then the SHA-256 of all. Takes only the time that calls leave over. */
async function* snapshotMessages(
  { member, clock }: ServiceDependencies,
  context: CallContext,
): AsyncGenerator<Uint8Array> {
  await requireAdminBarely(member, context);
  const { totalBytes, chunks } = await member.snapshot();
  const hash = createHash("sha256");
  const encode = (blob: Uint8Array, remainingBytes: number): Uint8Array =>
    SnapshotResponse.encode({ header: undefined, remainingBytes, blob, version: "" }).finish();
  const spareTime = new SpareTime(clock);
  let sent = 0;
  for await (const chunk of chunks) {
    const began = clock.now();
    const messages: Uint8Array[] = [];
    for (let at = 0; at < chunk.length; at += SNAPSHOT_PIECE_BYTES) {
      const piece = chunk.subarray(at, at + SNAPSHOT_PIECE_BYTES);
      hash.update(piece);
      sent += piece.length;
      messages.push(encode(piece, totalBytes - sent));
    }
    const workedMs = clock.now() - began;
    yield* messages;
    await spareTime.restFrom(workedMs * SNAPSHOT_SENDING_FACTOR);
  }
  invariant(sent === totalBytes, () => `a snapshot of ${totalBytes} bytes had ${sent}`);
  yield encode(hash.digest(), 0);
}
