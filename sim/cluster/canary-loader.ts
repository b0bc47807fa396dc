/** Given to `node --import`: puts the canary that WALNUT_CANARY names into the modules that are loaded from here on. */
import { register } from "node:module";
import { canaryNamed, patchesOf } from "./canaries.js";

const name = process.env["WALNUT_CANARY"];
if (name !== undefined) register("./canary-hooks.js", import.meta.url, { data: patchesOf(canaryNamed(name)) });
