/**
 * The v2 store: the JSON that etcd 3.5 keeps as the data of a `.snap` file (docs/formats/v2-store.md).
 *
 * Nothing of the v2 API is served any more; what is left in it is the membership, which a 3.5 member needs from a snapshot:
 *
 *     /0/members/ID/raftAttributes   {"peerURLs":[...],"isLearner":true}
 *     /0/members/ID/attributes       {"name":"...","clientURLs":[...]}
 *     /0/removed_members/ID          ""
 *     /0/version                     3.5.0
 *
 * The store is kept whole: its tree (also what users of the old API left below `/1`), its history of the last 1,000 events, its
 * counters. What etcd wrote is written again byte for byte, and the changes here leave what etcd's leave.
 */
import { compareBytes } from "../base/bytes.js";
import { describeError, invariant } from "../base/errors.js";
import { hexText, textFromUtf8, utf8FromText } from "../base/text.js";
import { SnapshotError } from "./errors.js";

/** A member as the store has it. */
export interface V2Member {
  readonly id: bigint;
  readonly peerUrls: readonly string[];
  readonly isLearner: boolean;
  /** Empty until the member has published itself. */
  readonly name: string;
  readonly clientUrls: readonly string[];
}

export interface V2Membership {
  /** In order of ID. */
  readonly members: readonly V2Member[];
  /** IDs that may never come back, in order. */
  readonly removed: readonly bigint[];
  /** As `3.5.0`; `undefined` before the cluster has decided on one. */
  readonly clusterVersion: string | undefined;
}

interface Node {
  readonly path: string;
  createdIndex: number;
  modifiedIndex: number;
  /** As Go writes it; the zero time stands for "never". */
  readonly expireTime: string;
  value: string;
  /** Of a folder. */
  readonly children: Map<string, Node> | undefined;
}

/** A node as events show it. */
interface EventNode {
  readonly key?: string;
  readonly value?: string;
  readonly dir?: boolean;
  readonly expiration?: string;
  readonly ttl?: number;
  readonly modifiedIndex?: number;
  readonly createdIndex?: number;
}

interface Event {
  readonly action: string;
  readonly node?: EventNode;
  readonly prevNode?: EventNode;
  readonly refresh?: boolean;
}

/** Counters in the order in which Go writes them. */
const STATISTICS = [
  "getsSuccess",
  "getsFail",
  "setsSuccess",
  "setsFail",
  "deleteSuccess",
  "deleteFail",
  "updateSuccess",
  "updateFail",
  "createSuccess",
  "createFail",
  "compareAndSwapSuccess",
  "compareAndSwapFail",
  "compareAndDeleteSuccess",
  "compareAndDeleteFail",
  "expireCount",
  "watchers",
] as const;
type Statistic = (typeof STATISTICS)[number];

const NEVER = "0001-01-01T00:00:00Z";
/** Events that the history holds; readers of the JSON index into an array of this length, so it is always written whole. */
const EVENTS_KEPT = 1000;
const VERSION = 2;

const MEMBERS = "/0/members";
const REMOVED = "/0/removed_members";
const CLUSTER_VERSION = "/0/version";

export class V2Store {
  #root: Node;
  #index = 0;
  /** A ring: the oldest event is at `front`, the next goes to `back`. */
  #events: (Event | null)[] = Array.from({ length: EVENTS_KEPT }, () => null);
  #front = 0;
  #back = 0;
  #size = 0;
  #startIndex = 0;
  #lastIndex = 0;
  #statistics: Record<Statistic, number>;

  /** A store as a new member has it. */
  constructor() {
    this.#root = folder("/", 0);
    for (const name of ["0", "1"]) this.#root.children!.set(name, folder(`/${name}`, 0));
    this.#statistics = Object.fromEntries(STATISTICS.map((name) => [name, 0])) as Record<Statistic, number>;
  }

  /**
   * Reads what `encode` or etcd wrote.
   *
   * @throws SnapshotError `SNAP_STORE_MALFORMED`, with the place inside the JSON
   */
  static decode(bytes: Uint8Array): V2Store {
    let parsed: unknown;
    try {
      parsed = JSON.parse(textFromUtf8(bytes));
    } catch (error) {
      throw malformed("the whole", `not JSON (${describeError(error)})`, error);
    }
    const top = asObject(parsed, "the whole");
    const hub = asObject(top["WatcherHub"], "WatcherHub");
    const history = asObject(hub["EventHistory"], "EventHistory");
    const queue = asObject(history["Queue"], "Queue");
    const statistics = asObject(top["Stats"], "Stats");
    const version = asNumber(top["CurrentVersion"], "CurrentVersion");
    if (version !== VERSION) throw malformed("CurrentVersion", `${version}, ${VERSION} is known`);

    const store = new V2Store();
    store.#root = nodeFromJson(top["Root"], "Root");
    if (store.#root.children === undefined) throw malformed("Root", "not a folder");
    store.#index = asNumber(top["CurrentIndex"], "CurrentIndex");
    store.#events = asArray(queue["Events"], "Events").map((event, i) => eventFromJson(event, `Events[${i}]`));
    store.#front = asNumber(queue["Front"], "Front");
    store.#back = asNumber(queue["Back"], "Back");
    store.#size = asNumber(queue["Size"], "Size");
    const capacity = asNumber(queue["Capacity"], "Capacity");
    const ring = [store.#events.length === capacity, store.#front < capacity, store.#back < capacity];
    if (ring.includes(false) || store.#size > capacity) {
      throw malformed("Queue", `a ring of ${store.#events.length} places, ${capacity} were to be`);
    }
    store.#startIndex = asNumber(history["StartIndex"], "StartIndex");
    store.#lastIndex = asNumber(history["LastIndex"], "LastIndex");
    for (const name of STATISTICS) store.#statistics[name] = asNumber(statistics[name], name);
    return store;
  }

  /** A store that holds a membership and no history of how it came about. */
  static of(membership: V2Membership): V2Store {
    const store = new V2Store();
    for (const member of membership.members) {
      store.addMember(member.id, member);
      if (member.name !== "" || member.clientUrls.length > 0) store.setMemberAttributes(member.id, member);
    }
    for (const id of membership.removed) store.#create(`${REMOVED}/${hexText(id)}`, "");
    if (membership.clusterVersion !== undefined) store.setClusterVersion(membership.clusterVersion);
    return store;
  }

  /** The JSON, byte for byte as Go writes it. */
  encode(): Uint8Array {
    const queue =
      `{"Events":[${this.#events.map(eventText).join(",")}],"Size":${this.#size},` +
      `"Front":${this.#front},"Back":${this.#back},"Capacity":${this.#events.length}}`;
    const history = `{"Queue":${queue},"StartIndex":${this.#startIndex},"LastIndex":${this.#lastIndex}}`;
    const statistics = STATISTICS.map((name) => `"${name}":${this.#statistics[name]}`).join(",");
    return utf8FromText(
      `{"Root":${nodeText(this.#root)},"WatcherHub":{"EventHistory":${history}},"CurrentIndex":${this.#index},` +
        `"Stats":{${statistics}},"CurrentVersion":${VERSION}}`,
    );
  }

  /**
   * What the store says of the cluster.
   *
   * @throws SnapshotError `SNAP_STORE_MALFORMED` for a member without its raft attributes
   */
  membership(): V2Membership {
    const members = [...this.#childrenOf(MEMBERS)].map(([name, node]) => memberFrom(name, node));
    const removed = [...this.#childrenOf(REMOVED).keys()].map((name) => idFrom(name, REMOVED));
    return {
      members: members.sort((a, b) => compareIds(a.id, b.id)),
      removed: removed.sort(compareIds),
      clusterVersion: this.#find(CLUSTER_VERSION)?.value,
    };
  }

  /** A configuration change brought a member, or a learner, in. */
  addMember(id: bigint, member: Pick<V2Member, "peerUrls" | "isLearner">): void {
    this.#create(`${memberPath(id)}/raftAttributes`, raftAttributesText(member));
  }

  /** Its peer URLs changed, or it was promoted. */
  updateMember(id: bigint, member: Pick<V2Member, "peerUrls" | "isLearner">): void {
    this.#update(`${memberPath(id)}/raftAttributes`, raftAttributesText(member));
  }

  /** The member published its name and client URLs. */
  setMemberAttributes(id: bigint, member: Pick<V2Member, "name" | "clientUrls">): void {
    this.#set(`${memberPath(id)}/attributes`, attributesText(member));
  }

  /** A configuration change took a member out; its ID may not come back. One that this store never had is only remembered. */
  removeMember(id: bigint): void {
    if (this.hasMember(id)) this.#delete(memberPath(id));
    this.#create(`${REMOVED}/${hexText(id)}`, "");
  }

  setClusterVersion(version: string): void {
    this.#set(CLUSTER_VERSION, version);
  }

  hasMember(id: bigint): boolean {
    return this.#find(memberPath(id)) !== undefined;
  }

  // ---- the four operations of the old API that are still in use ----

  #create(path: string, value: string): void {
    const [parent, name] = this.#makeParent(path);
    invariant(!parent.children!.has(name), () => `${path} is in the v2 store already`);
    const index = ++this.#index;
    const node: Node = { ...leaf(path, index), value };
    parent.children!.set(name, node);
    this.#statistics.createSuccess++;
    this.#remember({ action: "create", node: shown(node) }, index);
  }

  #set(path: string, value: string): void {
    const [parent, name] = this.#makeParent(path);
    const before = parent.children!.get(name);
    const index = ++this.#index;
    const node: Node = { ...leaf(path, index), value }; // one that was there is replaced, and so is its created index
    parent.children!.set(name, node);
    this.#statistics.setsSuccess++;
    const prevNode = before === undefined ? {} : { prevNode: shown(before) };
    this.#remember({ action: "set", node: shown(node), ...prevNode }, index);
  }

  #update(path: string, value: string): void {
    const node = this.#find(path);
    invariant(node !== undefined, () => `${path} is not in the v2 store`);
    const index = ++this.#index;
    const prevNode = shown(node);
    node.value = value;
    node.modifiedIndex = index;
    this.#statistics.updateSuccess++;
    this.#remember({ action: "update", node: shown(node), prevNode }, index);
  }

  #delete(path: string): void {
    const node = this.#find(path);
    invariant(node !== undefined, () => `${path} is not in the v2 store`);
    const [parent, name] = this.#makeParent(path);
    const index = ++this.#index;
    parent.children!.delete(name);
    this.#statistics.deleteSuccess++;
    const prevNode = shown(node);
    const { value: _, ...gone } = prevNode;
    this.#remember({ action: "delete", node: { ...gone, modifiedIndex: index }, prevNode }, index);
  }

  #remember(event: Event, index: number): void {
    const capacity = this.#events.length;
    this.#events[this.#back] = event;
    this.#back = (this.#back + 1) % capacity;
    if (this.#size === capacity) this.#front = (this.#front + 1) % capacity;
    else this.#size++;
    this.#lastIndex = index;
    this.#startIndex = this.#events[this.#front]?.node?.modifiedIndex ?? index;
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const part of path.split("/").slice(1)) node = node?.children?.get(part);
    return node;
  }

  #childrenOf(path: string): Map<string, Node> {
    return this.#find(path)?.children ?? new Map();
  }

  /** The folder that a node goes into; folders that are missing are made, at the index of what goes into them. */
  #makeParent(path: string): [parent: Node, name: string] {
    const parts = path.split("/").slice(1);
    const name = parts.pop()!;
    let node = this.#root;
    let at = "";
    for (const part of parts) {
      at += `/${part}`;
      let child = node.children!.get(part);
      if (child === undefined) {
        child = folder(at, this.#index + 1);
        node.children!.set(part, child);
      }
      invariant(child.children !== undefined, () => `${at} in the v2 store is not a folder`);
      node = child;
    }
    return [node, name];
  }
}

/** The v2 store of a membership, without history. */
export function encodeV2Store(membership: V2Membership): Uint8Array {
  return V2Store.of(membership).encode();
}

/** The membership in a v2 store. Throws `SNAP_STORE_MALFORMED`. */
export function decodeV2Store(bytes: Uint8Array): V2Membership {
  return V2Store.decode(bytes).membership();
}

/** Raft attributes as the store and the configuration changes have them. */
export function raftAttributesText(member: Pick<V2Member, "peerUrls" | "isLearner">): string {
  return `{"peerURLs":${listText(member.peerUrls)}${member.isLearner ? ',"isLearner":true' : ""}}`;
}

/** Attributes as a member publishes them. */
export function attributesText(member: Pick<V2Member, "name" | "clientUrls">): string {
  const parts: string[] = [];
  if (member.name !== "") parts.push(`"name":${stringText(member.name)}`);
  if (member.clientUrls.length > 0) parts.push(`"clientURLs":${listText(member.clientUrls)}`);
  return `{${parts.join(",")}}`;
}

function memberPath(id: bigint): string {
  return `${MEMBERS}/${hexText(id)}`;
}

function folder(path: string, index: number): Node {
  return { ...leaf(path, index), children: new Map() };
}

function leaf(path: string, index: number): Node {
  return { path, createdIndex: index, modifiedIndex: index, expireTime: NEVER, value: "", children: undefined };
}

function shown(node: Node): EventNode {
  const { path: key, value, modifiedIndex, createdIndex } = node;
  return node.children === undefined
    ? { key, value, modifiedIndex, createdIndex }
    : { key, dir: true, modifiedIndex, createdIndex };
}

function compareIds(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

// ---- JSON as Go writes it ----

/** A string as Go's encoder writes it: safe inside HTML and JavaScript, too. */
function stringText(text: string): string {
  return JSON.stringify(text).replace(/[<>&\u2028\u2029]/g, (character) => `\\u${hexText(character.charCodeAt(0), 4)}`);
}

function listText(texts: readonly string[]): string {
  return `[${texts.map(stringText).join(",")}]`;
}

function nodeText(node: Node): string {
  const children =
    node.children === undefined
      ? "null"
      : `{${sortedByBytes(node.children)
          .map(([name, child]) => `${stringText(name)}:${nodeText(child)}`)
          .join(",")}}`;
  return (
    `{"Path":${stringText(node.path)},"CreatedIndex":${node.createdIndex},"ModifiedIndex":${node.modifiedIndex},` +
    `"ExpireTime":${stringText(node.expireTime)},"Value":${stringText(node.value)},"Children":${children}}`
  );
}

function sortedByBytes(children: ReadonlyMap<string, Node>): [string, Node][] {
  return [...children]
    .map(([name, child]): [Uint8Array, [string, Node]] => [utf8FromText(name), [name, child]])
    .sort((a, b) => compareBytes(a[0], b[0]))
    .map(([, entry]) => entry);
}

function eventText(event: Event | null): string {
  if (event === null) return "null";
  const parts = [`"action":${stringText(event.action)}`];
  if (event.node !== undefined) parts.push(`"node":${eventNodeText(event.node)}`);
  if (event.prevNode !== undefined) parts.push(`"prevNode":${eventNodeText(event.prevNode)}`);
  if (event.refresh === true) parts.push('"refresh":true');
  return `{${parts.join(",")}}`;
}

function eventNodeText(node: EventNode): string {
  const parts: string[] = [];
  if (node.key !== undefined && node.key !== "") parts.push(`"key":${stringText(node.key)}`);
  if (node.value !== undefined) parts.push(`"value":${stringText(node.value)}`);
  if (node.dir === true) parts.push('"dir":true');
  if (node.expiration !== undefined) parts.push(`"expiration":${stringText(node.expiration)}`);
  if (node.ttl !== undefined && node.ttl !== 0) parts.push(`"ttl":${node.ttl}`);
  if (node.modifiedIndex !== undefined && node.modifiedIndex !== 0) parts.push(`"modifiedIndex":${node.modifiedIndex}`);
  if (node.createdIndex !== undefined && node.createdIndex !== 0) parts.push(`"createdIndex":${node.createdIndex}`);
  return `{${parts.join(",")}}`;
}

// ---- reading ----

type JsonObject = Record<string, unknown>;

function malformed(place: string, why: string, cause?: unknown): SnapshotError {
  const options = cause === undefined ? undefined : { cause };
  return new SnapshotError("SNAP_STORE_MALFORMED", `the v2 store in the snapshot: ${place}: ${why}`, options);
}

function asObject(value: unknown, place: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw malformed(place, "an object is missing");
  return value as JsonObject;
}

function asArray(value: unknown, place: string): unknown[] {
  if (!Array.isArray(value)) throw malformed(place, "a list is missing");
  return value;
}

function asNumber(value: unknown, place: string): number {
  if (typeof value !== "number" || !Number.isSafeInteger(value)) throw malformed(place, `${String(value)} is no index`);
  if (value < 0) throw malformed(place, `${value} is below 0`);
  return value;
}

function asText(value: unknown, place: string): string {
  if (typeof value !== "string") throw malformed(place, "a text is missing");
  return value;
}

function asTexts(value: unknown, place: string): string[] {
  return value === undefined || value === null ? [] : asArray(value, place).map((item) => asText(item, place));
}

function nodeFromJson(value: unknown, place: string): Node {
  const json = asObject(value, place);
  const path = asText(json["Path"], `${place}.Path`);
  const children = json["Children"];
  return {
    path,
    createdIndex: asNumber(json["CreatedIndex"], `${path}.CreatedIndex`),
    modifiedIndex: asNumber(json["ModifiedIndex"], `${path}.ModifiedIndex`),
    expireTime: asText(json["ExpireTime"], `${path}.ExpireTime`),
    value: asText(json["Value"], `${path}.Value`),
    children:
      children === null || children === undefined
        ? undefined
        : new Map(
            Object.entries(asObject(children, `${path}.Children`)).map(([name, child]) => [
              name,
              nodeFromJson(child, `${path}/${name}`),
            ]),
          ),
  };
}

function eventFromJson(value: unknown, place: string): Event | null {
  if (value === null) return null;
  const json = asObject(value, place);
  const node = json["node"] === undefined ? {} : { node: asObject(json["node"], `${place}.node`) };
  const previous = json["prevNode"] === undefined ? {} : { prevNode: asObject(json["prevNode"], `${place}.prevNode`) };
  const refresh = json["refresh"] === true ? { refresh: true } : {};
  return { action: asText(json["action"], `${place}.action`), ...node, ...previous, ...refresh };
}

function idFrom(name: string, place: string): bigint {
  if (!/^[0-9a-f]{1,16}$/.test(name)) throw malformed(place, `"${name}" is no member ID`);
  return BigInt(`0x${name}`);
}

function memberFrom(name: string, node: Node): V2Member {
  const place = `${MEMBERS}/${name}`;
  const raft = node.children?.get("raftAttributes");
  if (raft === undefined) throw malformed(place, "its raftAttributes are missing");
  const raftAttributes = parseValue(raft);
  const published = node.children?.get("attributes");
  const attributes = published === undefined ? {} : parseValue(published);
  return {
    id: idFrom(name, MEMBERS),
    peerUrls: asTexts(raftAttributes["peerURLs"], `${place}: peerURLs`),
    isLearner: raftAttributes["isLearner"] === true,
    name: attributes["name"] === undefined ? "" : asText(attributes["name"], `${place}: name`),
    clientUrls: asTexts(attributes["clientURLs"], `${place}: clientURLs`),
  };
}

function parseValue(node: Node): JsonObject {
  try {
    return asObject(JSON.parse(node.value), node.path);
  } catch (error) {
    if (error instanceof SnapshotError) throw error;
    throw malformed(node.path, `its value is not JSON (${describeError(error)})`, error);
  }
}
