/** Why authentication or authorization refuses. The API maps each code to etcd's status and text. */
import { CodedError } from "../base/errors.js";

export type AuthErrorCode =
  | "AUTH_ROOT_USER_MISSING"
  | "AUTH_ROOT_ROLE_MISSING"
  | "AUTH_USER_EXISTS"
  | "AUTH_USER_EMPTY"
  | "AUTH_USER_NOT_FOUND"
  | "AUTH_ROLE_EXISTS"
  | "AUTH_ROLE_NOT_FOUND"
  | "AUTH_ROLE_EMPTY"
  | "AUTH_ROLE_NOT_GRANTED"
  | "AUTH_NAME_TOO_LONG"
  | "AUTH_FAILED"
  | "AUTH_NO_PASSWORD_USER"
  | "AUTH_PASSWORD_TOO_LONG"
  | "AUTH_PERMISSION_NOT_GIVEN"
  | "AUTH_PERMISSION_NOT_GRANTED"
  | "AUTH_PERMISSION_DENIED"
  | "AUTH_NOT_ENABLED"
  | "AUTH_OLD_REVISION"
  | "AUTH_TOKEN_INVALID"
  | "AUTH_VERIFY_ONLY"
  | "AUTH_MANAGEMENT_INVALID";

export class AuthError extends CodedError<AuthErrorCode> {
  override readonly name = "AuthError";
}
