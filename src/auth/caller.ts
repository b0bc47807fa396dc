/** Who asks: the user that a token or a certificate stands for, and the auth revision as of which he was let in. */
export interface Caller {
  /** "" for nobody. */
  readonly username: string;
  /** 0 for nobody. */
  readonly revision: number;
}

/** Who sent no token. */
export const NOBODY: Caller = { username: "", revision: 0 };

/** The user, and the role, that may do everything. */
export const ROOT = "root";
