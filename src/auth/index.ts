/** Authentication and authorization: users, roles, tokens, and who may do what. */
export * from "./auth-tables.js";
export * from "./caller.js";
export * from "./credentials.js";
export * from "./errors.js";
export * from "./key-ranges.js";
export * from "./request-checks.js";
export * from "./simple-tokens.js";
