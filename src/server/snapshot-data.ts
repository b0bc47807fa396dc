/**
 * The data of a snapshot: the v2 store, which 3.5 recovers its membership from. What users of the old API left in it stays.
 */
import type { MembershipState } from "../membership/membership.js";
import { V2Store, type V2Member } from "../snap/index.js";

export class SnapshotData {
  #store: V2Store;

  /** @param data of the snapshot that the log begins behind; undefined when there is none */
  constructor(data: Uint8Array | undefined) {
    this.#store = data === undefined ? new V2Store() : V2Store.decode(data);
  }

  /** Takes over the data of a snapshot that was received. */
  recover(data: Uint8Array): void {
    this.#store = V2Store.decode(data);
  }

  /** The membership in the store. */
  state(): MembershipState {
    return this.#store.membership();
  }

  /** Brings the store to this membership and encodes it. */
  encode(state: MembershipState): Uint8Array {
    const before = this.#store.membership();
    const known = new Map(before.members.map((member) => [member.id, member]));
    for (const member of state.members) this.#save(member, known.get(member.id));
    for (const id of state.removed) if (!before.removed.includes(id)) this.#store.removeMember(id);
    if (state.clusterVersion !== undefined && state.clusterVersion !== before.clusterVersion) {
      this.#store.setClusterVersion(state.clusterVersion);
    }
    return this.#store.encode();
  }

  #save(member: V2Member, before: V2Member | undefined): void {
    if (before === undefined) this.#store.addMember(member.id, member);
    else if (before.isLearner !== member.isLearner || !equalTexts(before.peerUrls, member.peerUrls)) {
      this.#store.updateMember(member.id, member);
    }
    if (before?.name === member.name && equalTexts(before.clientUrls, member.clientUrls)) return;
    if (member.name !== "" || member.clientUrls.length > 0) this.#store.setMemberAttributes(member.id, member);
  }
}

function equalTexts(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((text, position) => text === b[position]);
}
