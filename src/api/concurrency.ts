/**
 * The Lock and Election services. What they do is in `concurrency/`; here are the wire and the words.
 *
 * etcd has them stand over a client of its own, inside the process, which forgets the status of what the member answers it: their errors have
 * the status UNKNOWN and etcd's usual texts. Of a member that stops, clients of etcd see the connection go; here they are told so.
 */
import { CodedError } from "../base/errors.js";
import { Elections, type Leadership, Locks, type Requests } from "../concurrency/index.js";
import type { Handler } from "../grpc/handler.js";
import { GrpcError, GrpcStatus } from "../grpc/status.js";
import {
  CampaignRequest,
  CampaignResponse,
  LeaderRequest,
  LeaderResponse,
  ProclaimRequest,
  ProclaimResponse,
  ResignRequest,
  ResignResponse,
} from "../proto/generated/v3electionpb/election.js";
import { LockRequest, LockResponse, UnlockRequest, UnlockResponse } from "../proto/generated/v3lockpb/lock.js";
import type { CallContext, MemberService } from "../server/contract.js";
import { checkDeleteRange, checkTxn } from "./checks.js";
import { toClientError } from "./errors.js";
import { admit, type Codec, contextOf, decodeRequest, type ServiceDependencies, unary } from "./service.js";
import { cancelReasonOf } from "./watch.js";

export function concurrencyHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const requests = checkedRequests(dependencies.member);
  const locks = new Locks(requests);
  const elections = new Elections(requests);
  const call = <Request, Response>(
    path: string,
    request: Codec<Request>,
    response: Pick<Codec<Response>, "encode">,
    run: (request: Request, context: CallContext) => Promise<Response>,
  ): [string, Handler] => [path, waiting(unary(dependencies, request, response, inOtherWords(run)))];
  return [
    call("/v3lockpb.Lock/Lock", LockRequest, LockResponse, (request, context) => locks.lock(request, context)),
    call("/v3lockpb.Lock/Unlock", UnlockRequest, UnlockResponse, async ({ key }, context) => {
      const { header } = await locks.unlock(key, context);
      return { header };
    }),
    call("/v3electionpb.Election/Campaign", CampaignRequest, CampaignResponse, (request, context) =>
      elections.campaign(request, context),
    ),
    call("/v3electionpb.Election/Proclaim", ProclaimRequest, ProclaimResponse, async ({ leader, value }, context) => ({
      header: await elections.proclaim(leader, value, context),
    })),
    call("/v3electionpb.Election/Leader", LeaderRequest, LeaderResponse, ({ name }, context) =>
      elections.leader(name, context),
    ),
    call("/v3electionpb.Election/Resign", ResignRequest, ResignResponse, async ({ leader }, context) => ({
      header: await elections.resign(leader, context),
    })),
    [
      "/v3electionpb.Election/Observe",
      {
        kind: "serverStreaming",
        handle: (bytes, call) => {
          const { name } = decodeRequest(LeaderRequest, bytes.slice());
          admit(dependencies, call, "stream", false);
          return encoded(elections.observe(name, contextOf(call), call.metadata("hasleader") === "true"));
        },
      },
    ],
  ];
}

/** The member behind the checks that the requests of all clients go through. */
function checkedRequests(member: MemberService): Requests {
  return {
    txn: async (request, context) => {
      checkTxn(request, member.limits.txnOperationsMax);
      return member.txn(request, context);
    },
    deleteRange: async (request, context) => {
      checkDeleteRange(request);
      return member.deleteRange(request, context);
    },
    range: (request, context) => member.range(request, context),
    leaseGrant: (request, context) => member.leaseGrant(request, context),
    watch: (receiver, options, context) => member.watch(receiver, options, context),
    header: () => member.header(),
  };
}

/** A call that may wait for long must not hold the whole input that its request came in. */
function waiting({ kind, handle }: Handler & { kind: "unary" }): Handler {
  return { kind, handle: (bytes, call) => handle(bytes.slice(), call) };
}

function inOtherWords<Request, Response>(
  run: (request: Request, context: CallContext) => Promise<Response>,
): (request: Request, context: CallContext) => Promise<Response> {
  return async (request, context) => {
    try {
      return await run(request, context);
    } catch (error) {
      throw asTheInnerClientTellsIt(error);
    }
  };
}

function asTheInnerClientTellsIt(thrown: unknown): unknown {
  if (!(thrown instanceof CodedError)) return thrown;
  switch ((thrown as CodedError<string>).code) {
    case "SERVER_STOPPED":
      return thrown;
    case "WATCH_REFUSED":
      return new GrpcError(GrpcStatus.unknown, cancelReasonOf(thrown.cause), { cause: thrown });
    default:
      return new GrpcError(GrpcStatus.unknown, toClientError(thrown).text, { cause: thrown });
  }
}

async function* encoded(leaders: AsyncIterable<Leadership>): AsyncGenerator<Uint8Array> {
  for await (const leadership of leaders) yield LeaderResponse.encode(leadership).finish();
}
