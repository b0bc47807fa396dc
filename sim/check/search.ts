/**
 * Linearizability by search, as Wing and Gong have it, with Lowe's memory of what was tried: is there an order of the operations, true to
 * time, in which each answer is the right one? It trusts no revision to tell the order and shares no code with the model, so that it
 * checks the other checker. For small histories: the number of steps is bounded, and an open verdict says so.
 *
 * A request of unknown outcome may take effect at any time after its call, or never. Serializable reads and checksums are left out:
 * they are not linearizable by design.
 *
 * Revisions are taken in one of two ways:
 * - `compared`: the store counts them, and answers must carry the right ones, those of compaction included. Keys hang together by the
 *   one counter, so this is for some dozens of operations.
 * - `observed`: nothing is counted. A write's revision is what its answer says, that of an unanswered one is learned from the first
 *   answer that shows it; header revisions are not compared. Keys then hang together only where one operation touches several,
 *   and each group is searched alone. Reads of old revisions and compactions are left out.
 */
import {
  hasWritten,
  isIn,
  isSerializable,
  mayWrite,
  type Compare,
  type History,
  type KeyValue,
  type KeyValueRequest,
  type KeyValueResponse,
  type Operation,
  type RangeRequest,
  type Request,
  type Response,
  type Span,
  type TxnRequest,
  type TxnResponse,
} from "./history.js";
import { describeOperation, type Violation } from "./report.js";

export interface SearchOptions {
  readonly revisions: "compared" | "observed";
  /** Steps after which the search gives up; over all groups of keys. */
  readonly stepsMax?: number;
}

export interface SearchVerdict {
  readonly kind: "linearizable" | "violated" | "undecided";
  readonly violations: readonly Violation[];
  readonly steps: number;
  /** Operations that this search does not judge. */
  readonly leftOut: number;
}

/** About three seconds. */
const STEPS_MAX = 500_000;
/** Operations shown of the longest order that was found. */
const SHOWN_MAX = 6;

export function searchLinearization(history: History, options: SearchOptions): SearchVerdict {
  const compared = options.revisions === "compared";
  const judged = history.operations.filter((operation) => isJudged(operation, compared));
  const leftOut = history.operations.length - judged.length;
  const groups = compared ? [judged] : groupsByKeys(history, judged);
  const budget = { steps: 0, stepsMax: options.stepsMax ?? STEPS_MAX };
  let undecided = false;
  for (const group of groups) {
    const found = searchGroup(group, startOf(history, group, compared), budget);
    if (found === "undecided") undecided = true;
    else if (found !== undefined) return { kind: "violated", violations: [found], steps: budget.steps, leftOut };
  }
  return { kind: undecided ? "undecided" : "linearizable", violations: [], steps: budget.steps, leftOut };
}

/** A pair of a key; a revision is undefined while no answer has shown it. */
interface Pair {
  readonly value: string;
  readonly version: number;
  readonly create: number | undefined;
  readonly mod: number | undefined;
  readonly lease: string;
}

class State {
  readonly pairs: ReadonlyMap<string, Pair>;
  /** Counted; undefined where revisions are observed. */
  readonly revision: number | undefined;
  readonly compacted: number;
  /** The store at the revision before, where revisions are counted. */
  readonly before: State | undefined;
  #text: string | undefined;

  constructor(pairs: ReadonlyMap<string, Pair>, revision: number | undefined, compacted = 0, before?: State) {
    this.pairs = pairs;
    this.revision = revision;
    this.compacted = compacted;
    this.before = before;
  }

  /** Equal for states that answer everything alike. */
  get text(): string {
    if (this.#text !== undefined) return this.#text;
    const own = [...this.pairs]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, pair]) => [key, ...Object.values(pair)]);
    const older = this.before === undefined ? "" : this.before.text;
    return (this.#text = `${this.compacted} ${JSON.stringify(own)}${older}`);
  }

  at(revision: number): State | undefined {
    let state: State | undefined = this.before === undefined || this.revision === revision ? this : this.before;
    while (state !== undefined && state.revision !== revision) state = state.before;
    return state;
  }
}

function isJudged({ request, outcome }: Operation, compared: boolean): boolean {
  if (isSerializable(request)) return false;
  if (!compared && needsRevisions(request)) return false;
  if (outcome.kind === "unknown") return mayWrite(request) || request.kind === "compact";
  return outcome.kind === "answered" || (compared && outcome.reason !== "other");
}

/** Whether the request cannot be judged without counting. */
function needsRevisions(request: Request): boolean {
  switch (request.kind) {
    case "range":
      return (
        (request.revision ?? 0) > 0 ||
        (request.minModRevision ?? 0) > 0 ||
        (request.maxModRevision ?? 0) > 0 ||
        (request.minCreateRevision ?? 0) > 0 ||
        (request.maxCreateRevision ?? 0) > 0
      );
    case "txn":
      return !mayWrite(request) && [...request.success, ...request.failure].some(needsRevisions);
    case "compact":
    case "hash":
      return true;
    case "put":
    case "delete":
      return false;
  }
}

function startOf(history: History, group: readonly Operation[], compared: boolean): State {
  const spans = compared ? undefined : group.flatMap(({ request }) => spansOf(request));
  const pairs = new Map<string, Pair>();
  for (const kv of history.start.kvs) {
    if (spans === undefined || spans.some((span) => isIn(span, kv.key))) pairs.set(kv.key, pairOf(kv));
  }
  return new State(pairs, compared ? history.start.revision : undefined);
}

function pairOf({ value, version, createRevision, modRevision, lease = "0" }: KeyValue): Pair {
  return { value, version, create: createRevision, mod: modRevision, lease };
}

function spansOf(request: Request): Span[] {
  switch (request.kind) {
    case "put":
      return [{ key: request.key }];
    case "range":
    case "delete":
      return [request];
    case "txn":
      return [...request.compares, ...[...request.success, ...request.failure].flatMap(spansOf)];
    case "compact":
    case "hash":
      return [];
  }
}

/** Operations that touch a key in common, directly or through others, are in one group. */
function groupsByKeys(history: History, operations: readonly Operation[]): Operation[][] {
  const keys = new Set(history.start.kvs.map(({ key }) => key));
  for (const { request } of operations) for (const { key } of spansOf(request)) keys.add(key);
  const parents = new Map([...keys].map((key) => [key, key]));
  const rootOf = (key: string): string => {
    let root = key;
    while (parents.get(root) !== root) root = parents.get(root)!;
    parents.set(key, root);
    return root;
  };
  const sorted = [...keys].sort();
  for (const { request } of operations) {
    const spans = spansOf(request);
    for (const span of spans) {
      parents.set(rootOf(span.key), rootOf(spans[0]!.key));
      if (span.end === undefined || span.end === "") continue;
      for (const key of sorted) if (isIn(span, key)) parents.set(rootOf(key), rootOf(spans[0]!.key));
    }
  }
  const groups = new Map<string, Operation[]>();
  for (const operation of operations) {
    const first = spansOf(operation.request)[0];
    if (first === undefined) continue; // an empty transaction says nothing
    const root = rootOf(first.key);
    const group = groups.get(root);
    if (group === undefined) groups.set(root, [operation]);
    else group.push(operation);
  }
  return [...groups.values()];
}

/** A call or an end in the order of time, in a list that operations are taken out of and put back into. */
interface Entry {
  readonly operation: Operation;
  /** Position of the operation among those of the group. */
  readonly number: number;
  readonly isCall: boolean;
  previous: Entry;
  next: Entry;
  /** Of a call; undefined when the operation need not take effect. */
  end: Entry | undefined;
}

interface Frame {
  readonly entry: Entry;
  /** What the state may be after the operation; those before `tried` have been followed. */
  readonly states: readonly State[];
  tried: number;
  readonly before: State;
}

interface Budget {
  steps: number;
  readonly stepsMax: number;
}

/** @returns the violation, when no order explains the answers */
function searchGroup(group: readonly Operation[], start: State, budget: Budget): Violation | "undecided" | undefined {
  const head = entriesOf(group);
  const taken = new TakenSet(group.length);
  const seen = new Set<string>();
  const frames: Frame[] = [];
  let open = group.filter(({ outcome }) => outcome.kind !== "unknown").length;
  let state = start;
  let longest: { readonly order: readonly Operation[]; readonly stuck: Operation } | undefined;
  let entry = head.next;

  const follow = (frame: Frame): boolean => {
    for (; frame.tried < frame.states.length; frame.tried++) {
      const next = frame.states[frame.tried]!;
      taken.add(frame.entry.number);
      const place = `${taken.text()} ${next.text}`;
      if (seen.has(place)) {
        taken.delete(frame.entry.number);
        continue;
      }
      seen.add(place);
      frame.tried++;
      frames.push(frame);
      lift(frame.entry);
      if (frame.entry.end !== undefined) open--;
      state = next;
      entry = head.next;
      return true;
    }
    return false;
  };

  while (open > 0) {
    if (++budget.steps > budget.stepsMax) return "undecided";
    if (entry.isCall) {
      const frame: Frame = { entry, states: statesAfter(state, entry.operation), tried: 0, before: state };
      if (!follow(frame)) entry = entry.next;
      continue;
    }
    // An operation has ended that could be placed nowhere before: something before it was placed wrongly.
    if (longest === undefined || frames.length >= longest.order.length) {
      longest = { order: frames.map(({ entry: { operation } }) => operation), stuck: entry.operation };
    }
    for (;;) {
      const frame = frames.pop();
      if (frame === undefined) return violationOf(group, longest);
      unlift(frame.entry);
      taken.delete(frame.entry.number);
      if (frame.entry.end !== undefined) open++;
      state = frame.before;
      if (follow(frame)) break;
      entry = frame.entry.next;
      break;
    }
  }
  return undefined;
}

function violationOf(
  group: readonly Operation[],
  { order, stuck }: { readonly order: readonly Operation[]; readonly stuck: Operation },
): Violation {
  return {
    law: "linearizable",
    detail:
      `no order of ${group.length} operations explains their answers; the longest has ${order.length}, ` +
      `and ${describeOperation(stuck)} fits nowhere in it`,
    operations: [stuck, ...order.slice(-SHOWN_MAX)],
  };
}

/** The list, from a head that is no entry. Its end is an entry that is never passed: a search ends before it. */
function entriesOf(group: readonly Operation[]): Entry {
  const calls = [...group].sort((a, b) => a.called - b.called || a.id - b.id);
  const events = calls.flatMap((operation, number) => {
    const call = { operation, number, isCall: true, at: operation.called };
    const { outcome } = operation;
    return outcome.kind === "unknown" ? [call] : [call, { operation, number, isCall: false, at: outcome.at }];
  });
  // At one position calls come first: what touches counts as overlapping.
  events.sort((a, b) => a.at - b.at || Number(b.isCall) - Number(a.isCall) || a.number - b.number);
  const head = { operation: undefined, number: -1, isCall: false } as unknown as Entry;
  head.previous = head;
  head.next = head;
  let last = head;
  const callOf = new Map<number, Entry>();
  for (const { operation, number, isCall } of events) {
    const entry: Entry = { operation, number, isCall, previous: last, next: head, end: undefined };
    last.next = entry;
    last = entry;
    if (isCall) callOf.set(number, entry);
    else callOf.get(number)!.end = entry;
  }
  head.previous = last;
  return head;
}

function lift(call: Entry): void {
  call.previous.next = call.next;
  call.next.previous = call.previous;
  if (call.end === undefined) return;
  call.end.previous.next = call.end.next;
  call.end.next.previous = call.end.previous;
}

function unlift(call: Entry): void {
  if (call.end !== undefined) {
    call.end.previous.next = call.end;
    call.end.next.previous = call.end;
  }
  call.previous.next = call;
  call.next.previous = call;
}

/** Which operations have their place; as text from the first that has none. */
class TakenSet {
  readonly #flags: Uint8Array;
  #low = 0;
  #high = -1;

  constructor(size: number) {
    this.#flags = new Uint8Array(size);
  }

  add(number: number): void {
    this.#flags[number] = 1;
    if (number > this.#high) this.#high = number;
    while (this.#low < this.#flags.length && this.#flags[this.#low] === 1) this.#low++;
  }

  delete(number: number): void {
    this.#flags[number] = 0;
    if (number < this.#low) this.#low = number;
    while (this.#high >= 0 && this.#flags[this.#high] === 0) this.#high--;
  }

  text(): string {
    let text = `${this.#low}:`;
    for (let i = this.#low; i <= this.#high; i += 16) {
      let bits = 0;
      for (let j = 0; j < 16; j++) bits |= (this.#flags[i + j] ?? 0) << j;
      text += String.fromCharCode(bits);
    }
    return text;
  }
}

/** What the store may be after the operation took effect now, with the answer that it got; empty when it cannot have. */
function statesAfter(state: State, { request, outcome }: Operation): State[] {
  if (outcome.kind === "refused") return isRefusedBy(state, request, outcome.reason) ? [state] : [];
  const response = outcome.kind === "answered" ? outcome.response : undefined;
  if (request.kind === "compact") return afterCompaction(state, request.revision, response);
  if (request.kind === "hash") return [];
  return plansOf(state, request, response as KeyValueResponse | undefined)
    .map((plan) => new Run(state, response).perform(request, plan, response as KeyValueResponse | undefined))
    .filter((after) => after !== undefined);
}

function afterCompaction(state: State, to: number, response: Response | undefined): State[] {
  const { revision } = state;
  if (revision === undefined || to <= state.compacted || to > revision) return [];
  // The header is made with the answer, which may be later than the effect: more may have been written.
  if (response !== undefined && response.header.revision < revision) return [];
  return [new State(state.pairs, revision, to, state.before)];
}

function isRefusedBy(state: State, request: Request, reason: string): boolean {
  const { revision = 0, compacted } = state;
  const refuses = (asked: number, lowest: number): boolean =>
    asked > 0 && (reason === "future" ? asked > revision : asked < lowest);
  if (request.kind === "compact") return refuses(request.revision, compacted + 1);
  if (request.kind === "range") return refuses(request.revision ?? 0, compacted);
  if (request.kind !== "txn") return false;
  return plansOf(state, request, undefined).some((plan) =>
    rangesOf(request, plan!).some(({ revision: asked }) => refuses(asked ?? 0, compacted)),
  );
}

/** Which branch each transaction takes, the nested ones in their places; undefined for other requests. */
type Plan = { readonly succeeded: boolean; readonly nested: readonly (Plan | undefined)[] } | undefined;

/** All plans that agree with the state and with the answer. A compare with a revision that no answer has shown may hold or not. */
function plansOf(state: State, request: KeyValueRequest, response: KeyValueResponse | undefined): Plan[] {
  if (request.kind !== "txn") return [undefined];
  const answer = response as TxnResponse | undefined;
  const known = request.compares.reduce<boolean | undefined>((all, compare) => {
    const holds = compareHolds(state, compare);
    return all === false || holds === false ? false : all === true ? holds : undefined;
  }, true);
  const outcomes = [true, false].filter(
    (each) => (known ?? each) === each && (answer === undefined || answer.succeeded === each),
  );
  return outcomes.flatMap((succeeded) => {
    const branch = succeeded ? request.success : request.failure;
    let lists: (Plan | undefined)[][] = [[]];
    for (const [i, each] of branch.entries()) {
      const plans = plansOf(state, each, answer?.responses[i]);
      lists = lists.flatMap((list) => plans.map((plan) => [...list, plan]));
    }
    return lists.map((nested) => ({ succeeded, nested }));
  });
}

function rangesOf(request: TxnRequest, plan: NonNullable<Plan>): RangeRequest[] {
  return (plan.succeeded ? request.success : request.failure).flatMap((each, i) =>
    each.kind === "range" ? [each] : each.kind === "txn" ? rangesOf(each, plan.nested[i]!) : [],
  );
}

/** One request on a copy of the state, held against its answer as it goes. */
class Run {
  readonly #state: State;
  /** The revision that its changes get, as far as it is known. */
  readonly #written: number | undefined;
  #pairs: Map<string, Pair>;
  #changed = false;
  #copied = false;

  constructor(state: State, response: Response | undefined) {
    this.#state = state;
    this.#pairs = state.pairs as Map<string, Pair>;
    const observed = response !== undefined && hasWritten(response) ? response.header.revision : undefined;
    this.#written = state.revision === undefined ? observed : state.revision + 1;
  }

  perform(request: KeyValueRequest, plan: Plan, response: KeyValueResponse | undefined): State | undefined {
    if (request.kind === "txn" && !this.#rangesCanBeRead(request, plan!)) return undefined;
    if (!this.#fits(request, plan, response, true)) return undefined;
    const { revision, compacted } = this.#state;
    if (revision === undefined) return this.#copied ? new State(this.#pairs, undefined) : response && this.#state;
    if (this.#changed) return new State(this.#pairs, revision + 1, compacted, this.#state);
    // An unanswered request without effect need not take place.
    return response === undefined ? undefined : this.#state;
  }

  #rangesCanBeRead(request: TxnRequest, plan: NonNullable<Plan>): boolean {
    return rangesOf(request, plan).every(({ revision: asked = 0 }) => this.#canBeRead(asked, this.#state.revision));
  }

  #canBeRead(asked: number, current: number | undefined): boolean {
    if (asked <= 0 || current === undefined) return true;
    return asked <= current && asked >= this.#state.compacted;
  }

  /** The newest revision as the request sees it now. */
  #current(): number | undefined {
    const { revision } = this.#state;
    return revision === undefined ? undefined : revision + (this.#changed ? 1 : 0);
  }

  #fits(request: KeyValueRequest, plan: Plan, response: KeyValueResponse | undefined, isOutermost: boolean): boolean {
    if (response !== undefined && response.kind !== request.kind) return false;
    switch (request.kind) {
      case "put": {
        const previous = this.#pairs.get(request.key);
        const prevKv = response?.kind === "put" ? response.prevKv : undefined;
        const shown = request.prevKv === true && previous !== undefined;
        if (response !== undefined && shown !== (prevKv !== undefined)) return false;
        if (prevKv !== undefined && !this.#isShown(request.key, previous!, prevKv, false)) return false;
        this.#set(request.key, {
          value: request.value,
          version: (previous?.version ?? 0) + 1,
          create: previous === undefined ? this.#written : this.#pairs.get(request.key)!.create,
          mod: this.#written,
          lease: request.lease ?? "0",
        });
        this.#changed = true;
        return this.#headerFits(response);
      }
      case "range":
        return this.#rangeFits(request, response);
      case "delete": {
        const keys = this.#keysIn(this.#pairs, request);
        if (response?.kind === "delete") {
          if (response.deleted !== keys.length) return false;
          if (response.prevKvs.length !== (request.prevKv === true ? keys.length : 0)) return false;
          const shown = response.prevKvs.every((kv, i) =>
            this.#isShown(keys[i]!, this.#pairs.get(keys[i]!)!, kv, false),
          );
          if (!shown) return false;
        }
        for (const key of keys) this.#set(key, undefined);
        if (keys.length > 0) this.#changed = true;
        return this.#headerFits(response);
      }
      case "txn": {
        const answer = response as TxnResponse | undefined;
        const branch = plan!.succeeded ? request.success : request.failure;
        if (answer !== undefined && answer.responses.length !== branch.length) return false;
        const all = branch.every((each, i) => this.#fits(each, plan!.nested[i], answer?.responses[i], false));
        return all && (isOutermost ? this.#headerFits(response) : (answer?.header.revision ?? 0) === 0);
      }
    }
  }

  #headerFits(response: KeyValueResponse | undefined): boolean {
    const current = this.#current();
    return response === undefined || current === undefined || response.header.revision === current;
  }

  #rangeFits(request: RangeRequest, response: KeyValueResponse | undefined): boolean {
    const { revision: asked = 0, limit = 0 } = request;
    const current = this.#current();
    if (!this.#canBeRead(asked, current)) return false;
    if (response?.kind !== "range") return true;
    if (current === undefined && needsRevisions(request)) return true;
    const isOld = asked > 0 && asked !== current && current !== undefined;
    const pairs = isOld ? this.#state.at(asked)?.pairs : this.#pairs;
    if (pairs === undefined) return true; // from before the history
    const keys = this.#keysIn(pairs, request);
    const wanted = request.countOnly === true ? [] : keys.filter((key) => passes(request, pairs.get(key)!));
    const more = limit > 0 && wanted.length > limit;
    const shown = more ? wanted.slice(0, limit) : wanted;
    if (response.count !== keys.length || response.more !== more || response.kvs.length !== shown.length) return false;
    const hidden = request.keysOnly === true;
    return (
      response.kvs.every((kv, i) => this.#isShown(shown[i]!, pairs.get(shown[i]!)!, kv, hidden)) &&
      this.#headerFits(response)
    );
  }

  /** Whether an answer shows this pair. Revisions that were not known are learned from it. */
  #isShown(key: string, pair: Pair, shown: KeyValue, hidden: boolean): boolean {
    const { value, version, lease, mod = shown.modRevision, create = shown.createRevision } = pair;
    const fits =
      shown.key === key &&
      shown.value === (hidden ? "" : value) &&
      shown.version === version &&
      (shown.lease ?? "0") === lease &&
      shown.modRevision === mod &&
      shown.createRevision === create;
    if (fits && (pair.mod === undefined || pair.create === undefined)) {
      this.#set(key, { value, version, create, mod, lease });
    }
    return fits;
  }

  #keysIn(pairs: ReadonlyMap<string, Pair>, span: Span): string[] {
    return [...pairs.keys()].filter((key) => isIn(span, key)).sort();
  }

  #set(key: string, pair: Pair | undefined): void {
    if (!this.#copied) {
      this.#pairs = new Map(this.#pairs);
      this.#copied = true;
    }
    if (pair === undefined) this.#pairs.delete(key);
    else this.#pairs.set(key, pair);
  }
}

function passes(request: RangeRequest, { mod = 0, create = 0 }: Pair): boolean {
  const { minModRevision = 0, maxModRevision = 0, minCreateRevision = 0, maxCreateRevision = 0 } = request;
  return (
    (minModRevision === 0 || mod >= minModRevision) &&
    (maxModRevision === 0 || mod <= maxModRevision) &&
    (minCreateRevision === 0 || create >= minCreateRevision) &&
    (maxCreateRevision === 0 || create <= maxCreateRevision)
  );
}

/** Undefined where it hangs on a revision that no answer has shown. */
function compareHolds(state: State, compare: Compare): boolean | undefined {
  const pairs = [...state.pairs].filter(([key]) => isIn(compare, key)).map(([, pair]) => pair);
  if (pairs.length === 0) {
    if (compare.target === "value") return false;
    return pairHolds(compare, { value: "", version: 0, create: 0, mod: 0, lease: "0" });
  }
  const all = pairs.map((pair) => pairHolds(compare, pair));
  return all.includes(false) ? false : all.includes(undefined) ? undefined : true;
}

function pairHolds({ target, result, operand }: Compare, pair: Pair): boolean | undefined {
  const found = target === "lease" ? BigInt(pair.lease) : pair[target];
  if (found === undefined) return undefined;
  const wanted = target === "lease" ? BigInt(operand) : target === "value" ? String(operand) : Number(operand);
  switch (result) {
    case "equal":
      return found === wanted;
    case "notEqual":
      return found !== wanted;
    case "greater":
      return found > wanted;
    case "less":
      return found < wanted;
  }
}
