/** raft's configuration as etcd 3.5 keeps it in `db`: bucket `meta`, key `confState`, Go's JSON of the message. */
import { EMPTY_CONF_STATE, type ConfState } from "../proto/raft.js";
import { textFromUtf8, utf8FromText } from "../base/text.js";
import { MembershipFormatError } from "./member.js";

export function encodeConfStateJson(state: ConfState): Uint8Array {
  const lists: string[] = [];
  const add = (name: string, ids: readonly bigint[]): void => {
    if (ids.length > 0) lists.push(`"${name}":[${ids.join(",")}],`);
  };
  add("voters", state.voters);
  add("learners", state.learners);
  add("voters_outgoing", state.votersOutgoing);
  add("learners_next", state.learnersNext);
  return utf8FromText(`{${lists.join("")}"auto_leave":${state.autoLeave}}`);
}

/** @throws MembershipFormatError */
export function decodeConfStateJson(bytes: Uint8Array): ConfState {
  const text = textFromUtf8(bytes);
  let fields: Record<string, unknown>;
  try {
    // IDs are 64-bit: quoted before JavaScript's numbers could round them. No string occurs in this object.
    fields = JSON.parse(text.replace(/(?<=[[,\s])(\d+)(?=\s*[\],])/g, `"$1"`)) as Record<string, unknown>;
  } catch (cause) {
    throw new MembershipFormatError("MEMBERSHIP_MALFORMED", `confState is not JSON: ${text.slice(0, 200)}`, { cause });
  }
  const ids = (name: string): bigint[] => {
    const list = fields[name] ?? [];
    if (!Array.isArray(list))
      throw new MembershipFormatError("MEMBERSHIP_MALFORMED", `confState: ${text.slice(0, 200)}`);
    return list.map((id) => BigInt(id as string));
  };
  return {
    ...EMPTY_CONF_STATE,
    voters: ids("voters"),
    learners: ids("learners"),
    votersOutgoing: ids("voters_outgoing"),
    learnersNext: ids("learners_next"),
    autoLeave: fields["auto_leave"] === true,
  };
}
