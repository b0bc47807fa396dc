/**
 * No tokens at all: etcd's `--auth-token ""`. Passwords are checked, and nobody is given anything for them, so that with authentication on only
 * those come in whom something else than a token names.
 */
import { AuthError, type Tokens } from "../auth/index.js";

export class NoTokens implements Tokens {
  newPrefix(): string {
    return "";
  }
  assign(): string {
    return "";
  }
  issue(): Promise<string> {
    // etcd refuses with these words, right password or not.
    return Promise.reject(new AuthError("AUTH_FAILED", "this member gives no tokens: --auth-token is empty"));
  }
  find(): undefined {
    return undefined;
  }
  indexOf(): number {
    return 0;
  }
  invalidate(): void {}
  enable(): void {}
  disable(): void {}
  onTick(): void {}
}
