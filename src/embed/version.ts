/** Walnut's own version, as its package says. */
import { createRequire } from "node:module";

const description = createRequire(import.meta.url)("../../../package.json") as { readonly version: string };

export const VERSION: string = description.version;
