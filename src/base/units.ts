/** Numbers that must not mix, as types. They cost nothing at run time. */
declare const unit: unique symbol;
export type Unit<Name extends string> = number & { readonly [unit]: Name };

/** A position in a file, in bytes from its beginning. */
export type FileOffset = Unit<"file offset">;

export const kibibytes = (count: number): number => count * 1024;
export const mebibytes = (count: number): number => count * 1024 * 1024;
export const gibibytes = (count: number): number => count * 1024 * 1024 * 1024;
export const seconds = (count: number): number => count * 1000;
