/** One member: what starts it, what it can be told, what it does. */
export * from "./contract.js";
export * from "./errors.js";
export * from "./layout.js";
export * from "./metrics.js";
export * from "./options.js";
export type * from "./watch-contract.js";
export type * from "./peers.js";
export { Member, type MemberDependencies, type MemberHooks, type MemberObservation } from "./member.js";
export { makeFolderWithParents, type BootProgress } from "./boot.js";
