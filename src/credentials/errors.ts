/** Why a member does not start with the tokens that it was told to give. */
import { CodedError } from "../base/errors.js";

export type CredentialsErrorCode = "TOKEN_OPTION_INVALID" | "TOKEN_KEY_UNUSABLE";

export class CredentialsError extends CodedError<CredentialsErrorCode> {
  override readonly name = "CredentialsError";
}
