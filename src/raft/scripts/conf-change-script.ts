/**
 * Scripts about configuration changes. The state is one membership, empty at first; each command changes it and shows it, or
 * shows why not. The log is one entry longer with each command.
 *
 *     simple            v1 l2 r3 u4 as input
 *     enter-joint [autoleave=BOOL]
 *     leave-joint
 */
import type { ConfChangeSingle } from "../../proto/raft.js";
import { changeSimply, enterJoint, leaveJoint, type ChangeOutcome } from "../conf-change.js";
import { parseConfChanges } from "../configuration.js";
import { describeMembership, Tracker } from "../tracker.js";
import { argumentValue, parseBool, type Command } from "./script-file.js";

export const CONF_CHANGE_COMMANDS: ReadonlySet<string> = new Set(["simple", "enter-joint", "leave-joint"]);

const INFLIGHT_MESSAGES = 10;

export class ConfChangeScript {
  readonly #tracker = new Tracker(INFLIGHT_MESSAGES, 0);
  #lastIndex = 0;

  run(command: Command): string {
    const steps = parseConfChanges(command.input);
    const outcome = "error" in steps ? steps.error : this.#change(command, steps);
    this.#lastIndex++;
    if (typeof outcome === "string") return outcome;
    if (outcome.kind === "refused") return `${outcome.reason}\n`;
    this.#tracker.become(outcome.membership);
    return describeMembership(this.#tracker);
  }

  #change(command: Command, steps: readonly ConfChangeSingle[]): ChangeOutcome | string {
    const newcomer = { lastIndex: this.#lastIndex, newInflights: () => this.#tracker.newInflights() };
    switch (command.name) {
      case "simple":
        return changeSimply(this.#tracker, steps, newcomer);
      case "enter-joint": {
        const autoLeave = parseBool(argumentValue(command, "autoleave") ?? "false");
        return enterJoint(this.#tracker, autoLeave, steps, newcomer);
      }
      case "leave-joint":
        if (steps.length > 0) return { kind: "refused", reason: "this command takes no input" };
        return leaveJoint(this.#tracker);
      default:
        return "unknown command";
    }
  }
}
