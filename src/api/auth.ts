/** etcd's Auth service: each of its calls is a request of the log, but for the one that gives a token. */
import type { Handler } from "../grpc/handler.js";
import {
  AuthDisableRequest,
  AuthDisableResponse,
  AuthEnableRequest,
  AuthEnableResponse,
  AuthenticateRequest,
  AuthenticateResponse,
  AuthRoleAddRequest,
  AuthRoleAddResponse,
  AuthRoleDeleteRequest,
  AuthRoleDeleteResponse,
  AuthRoleGetRequest,
  AuthRoleGetResponse,
  AuthRoleGrantPermissionRequest,
  AuthRoleGrantPermissionResponse,
  AuthRoleListRequest,
  AuthRoleListResponse,
  AuthRoleRevokePermissionRequest,
  AuthRoleRevokePermissionResponse,
  AuthStatusRequest,
  AuthStatusResponse,
  AuthUserAddRequest,
  AuthUserAddResponse,
  AuthUserChangePasswordRequest,
  AuthUserChangePasswordResponse,
  AuthUserDeleteRequest,
  AuthUserDeleteResponse,
  AuthUserGetRequest,
  AuthUserGetResponse,
  AuthUserGrantRoleRequest,
  AuthUserGrantRoleResponse,
  AuthUserListRequest,
  AuthUserListResponse,
  AuthUserRevokeRoleRequest,
  AuthUserRevokeRoleResponse,
} from "../proto/generated/etcdserverpb/auth.js";
import type { AuthRequestKind, AuthRequests } from "../server/contract.js";
import { type Codec, type ServiceDependencies, unary } from "./service.js";

export function authHandlers(dependencies: ServiceDependencies): [string, Handler][] {
  const { auth } = dependencies.member;
  const logged = <Kind extends AuthRequestKind>(
    method: string,
    kind: Kind,
    request: Codec<AuthRequests[Kind]["request"]>,
    response: Pick<Codec<AuthRequests[Kind]["response"]>, "encode">,
  ): [string, Handler] => [
    `/etcdserverpb.Auth/${method}`,
    unary(dependencies, request, response, (message, context) => auth.call(kind, message, context)),
  ];
  return [
    [
      "/etcdserverpb.Auth/Authenticate",
      unary(dependencies, AuthenticateRequest, AuthenticateResponse, (request) => auth.authenticate(request)),
    ],
    logged("AuthEnable", "authEnable", AuthEnableRequest, AuthEnableResponse),
    logged("AuthDisable", "authDisable", AuthDisableRequest, AuthDisableResponse),
    logged("AuthStatus", "authStatus", AuthStatusRequest, AuthStatusResponse),
    logged("UserAdd", "authUserAdd", AuthUserAddRequest, AuthUserAddResponse),
    logged("UserGet", "authUserGet", AuthUserGetRequest, AuthUserGetResponse),
    logged("UserList", "authUserList", AuthUserListRequest, AuthUserListResponse),
    logged("UserDelete", "authUserDelete", AuthUserDeleteRequest, AuthUserDeleteResponse),
    logged(
      "UserChangePassword",
      "authUserChangePassword",
      AuthUserChangePasswordRequest,
      AuthUserChangePasswordResponse,
    ),
    logged("UserGrantRole", "authUserGrantRole", AuthUserGrantRoleRequest, AuthUserGrantRoleResponse),
    logged("UserRevokeRole", "authUserRevokeRole", AuthUserRevokeRoleRequest, AuthUserRevokeRoleResponse),
    logged("RoleAdd", "authRoleAdd", AuthRoleAddRequest, AuthRoleAddResponse),
    logged("RoleGet", "authRoleGet", AuthRoleGetRequest, AuthRoleGetResponse),
    logged("RoleList", "authRoleList", AuthRoleListRequest, AuthRoleListResponse),
    logged("RoleDelete", "authRoleDelete", AuthRoleDeleteRequest, AuthRoleDeleteResponse),
    logged(
      "RoleGrantPermission",
      "authRoleGrantPermission",
      AuthRoleGrantPermissionRequest,
      AuthRoleGrantPermissionResponse,
    ),
    logged(
      "RoleRevokePermission",
      "authRoleRevokePermission",
      AuthRoleRevokePermissionRequest,
      AuthRoleRevokePermissionResponse,
    ),
  ];
}
