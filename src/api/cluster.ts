/**
 * etcd's Cluster service: who the members are, and their changes. Answers have the header that etcd's have here, without a revision
 * (the member leaves it out), and all members after the call.
 */
import type { Handler } from "../grpc/handler.js";
import type { Member } from "../membership/member.js";
import {
  MemberAddRequest,
  MemberAddResponse,
  MemberListRequest,
  MemberListResponse,
  type Member as MemberMessage,
  MemberPromoteRequest,
  MemberPromoteResponse,
  MemberRemoveRequest,
  MemberRemoveResponse,
  MemberUpdateRequest,
  MemberUpdateResponse,
} from "../proto/generated/etcdserverpb/cluster.js";
import type { MembersAnswer } from "../server/contract.js";
import { checkPeerUrls, checkUpdatedUrls } from "./checks.js";
import { type ServiceDependencies, unary } from "./service.js";

export function clusterHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { member } = dependencies;
  return [
    [
      "/etcdserverpb.Cluster/MemberAdd",
      unary(dependencies, MemberAddRequest, MemberAddResponse, async ({ peerURLs, isLearner }, context) => {
        const peerUrls = checkPeerUrls(peerURLs);
        await member.access.requireAdmin(context);
        const answer = await member.memberAdd({ peerUrls, isLearner }, context);
        return { ...message(answer), member: memberMessage(answer.member) };
      }),
    ],
    [
      "/etcdserverpb.Cluster/MemberRemove",
      unary(dependencies, MemberRemoveRequest, MemberRemoveResponse, async ({ ID }, context) => {
        await member.access.requireAdmin(context);
        return message(await member.memberRemove(ID, context));
      }),
    ],
    [
      "/etcdserverpb.Cluster/MemberUpdate",
      unary(dependencies, MemberUpdateRequest, MemberUpdateResponse, async ({ ID, peerURLs }, context) => {
        await member.access.requireAdmin(context);
        return message(await member.memberUpdate(ID, checkUpdatedUrls(peerURLs), context));
      }),
    ],
    [
      "/etcdserverpb.Cluster/MemberList",
      unary(dependencies, MemberListRequest, MemberListResponse, async ({ linearizable }, context) => {
        await member.access.requireUser(context);
        return message(await member.memberList(linearizable, context));
      }),
    ],
    [
      "/etcdserverpb.Cluster/MemberPromote",
      unary(dependencies, MemberPromoteRequest, MemberPromoteResponse, async ({ ID }, context) => {
        await member.access.requireAdmin(context);
        return message(await member.memberPromote(ID, context));
      }),
    ],
  ];
}

function message({ header, members }: MembersAnswer): Pick<MemberListResponse, "header" | "members"> {
  return { header, members: members.map(memberMessage) };
}

function memberMessage({ id, name, peerUrls, clientUrls, isLearner }: Member): MemberMessage {
  return { ID: id, name, peerURLs: [...peerUrls], clientURLs: [...clientUrls], isLearner };
}
