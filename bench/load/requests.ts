/**
 * Requests as they lie on the wire, made once and sent many times with other keys.
 *
 * A key is `bench/` and ten digits. Wherever a message holds one, its digits are written over before it is sent: the key's own number
 * and, for the ones that belong together (the end of a range, the other puts of a batch), the distance that the message was made
 * with.
 */
import { encode, type Message } from "../../test/support/messages.js";

const KEY_PREFIX = "bench/";
const KEY_DIGITS = 10;
/** A gRPC frame begins with a byte for "not compressed" and four for the length. */
const PREFIX_BYTES = 5;

/** The key of this number. */
export const keyOf = (number: number): Uint8Array =>
  Buffer.from(KEY_PREFIX + String(number).padStart(KEY_DIGITS, "0"), "latin1");

/** How the key of the next request is chosen. */
export type KeyChoice =
  | { readonly kind: "fixed" }
  /** Any of `[0, count)`, each as likely. */
  | { readonly kind: "random"; readonly count: number }
  /** 0, `step`, `2 * step`, ... */
  | { readonly kind: "sequence"; readonly step: number }
  /** 0, 1, ..., `count - 1`, and again. */
  | { readonly kind: "cycle"; readonly count: number };

/** One kind of request. It can be sent to another thread or process. */
export interface RequestKind {
  /** `/package.Service/Method`. */
  readonly path: string;
  /** The message, made for key number 0. */
  readonly message: Uint8Array;
  readonly keys: KeyChoice;
  /** So many of this kind for so many of each other. */
  readonly weight: number;
  /** An answer with fewer bytes is a call that went wrong: a range that found nothing is not what was to be measured. */
  readonly answerBytesMin: number;
}

/** A request of the KV service, as etcd names its messages. @param message for key number 0 */
export function kvRequest(
  method: "Put" | "Range" | "Txn",
  message: Message,
  keys: KeyChoice,
  { weight = 1, answerBytesMin = 1 }: Partial<Pick<RequestKind, "weight" | "answerBytesMin">> = {},
): RequestKind {
  const bytes = encode(`${method}Request`, message);
  return { path: `/etcdserverpb.KV/${method}`, message: bytes, keys, weight, answerBytesMin };
}

/** Makes the requests of one kind, one at a time, all in the same bytes. */
export class RequestMaker {
  readonly path: string;
  readonly answerBytesMin: number;
  /** The gRPC frame, good until the next call of `next`. */
  readonly frame: Uint8Array;
  readonly #keys: KeyChoice;
  readonly #places: readonly { readonly at: number; readonly plus: number }[];
  #random: number;
  #sequence = 0;

  constructor(kind: RequestKind, seed: number) {
    this.path = kind.path;
    this.answerBytesMin = kind.answerBytesMin;
    this.#keys = kind.keys;
    this.#random = Math.imul(seed, 0x9e37_79b1) | 1; // neighbours must not begin alike
    this.frame = new Uint8Array(PREFIX_BYTES + kind.message.length);
    this.frame.set(kind.message, PREFIX_BYTES);
    new DataView(this.frame.buffer).setUint32(1, kind.message.length);
    this.#places = findKeys(this.frame);
  }

  /** The next request, in `frame`. */
  next(): void {
    const number = this.#choose();
    for (const { at, plus } of this.#places) writeDigits(this.frame, at, number + plus);
  }

  #choose(): number {
    switch (this.#keys.kind) {
      case "fixed":
        return 0;
      case "random":
        return Math.floor((this.#uint32() / 2 ** 32) * this.#keys.count);
      case "sequence":
        return this.#keys.step * this.#sequence++;
      case "cycle":
        return this.#sequence++ % this.#keys.count;
    }
  }

  /** xorshift32: enough to choose keys, and cheap. */
  #uint32(): number {
    let x = this.#random;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#random = x;
    return x >>> 0;
  }
}

/** Where the digits of keys lie, and how far each key is from number 0. */
function findKeys(frame: Uint8Array): { at: number; plus: number }[] {
  const text = Buffer.from(frame).toString("latin1");
  const places = text.matchAll(new RegExp(`${KEY_PREFIX}(\\d{${KEY_DIGITS}})`, "g"));
  return [...places].map((match) => ({ at: match.index + KEY_PREFIX.length, plus: Number(match[1]) }));
}

function writeDigits(bytes: Uint8Array, at: number, number: number): void {
  let rest = number;
  for (let i = at + KEY_DIGITS - 1; i >= at; i--) {
    const next = Math.floor(rest / 10);
    bytes[i] = 48 + rest - next * 10;
    rest = next;
  }
}
