/**
 * Many watch streams on one connection. Of every answer the events are counted, and their order is checked: the mod revisions that one watcher is
 * told ascend, and none comes twice. Law: nothing is decoded that is not needed for that.
 */
import { encode, type Message } from "../../test/support/messages.js";
import { StreamConnection } from "./streams.js";

/** The requests of one stream's watchers. */
export type StreamPlan = readonly Message[];

/** Told of each event: of which stream, and where the stored pair lies. */
export type OnEvent = (stream: number, bytes: Uint8Array, pairStart: number, pairEnd: number) => void;

/** What a watcher was told: its last revision, and how many events in all. */
export interface Told {
  revision: number;
  events: number;
}

export class WatchReader {
  readonly #connection: StreamConnection;
  readonly #onEvent: OnEvent | undefined;
  readonly #cursor = new Cursor();
  /** By stream and watcher. */
  readonly #told: readonly Map<number, Told>[];
  #events = 0;
  #answers = 0;
  #created = 0;

  constructor(address: string, plans: readonly StreamPlan[], onEvent?: OnEvent) {
    this.#onEvent = onEvent;
    this.#told = plans.map(() => new Map());
    this.#connection = new StreamConnection(address, "/etcdserverpb.Watch/Watch", plans.length, (...answer) =>
      this.#answer(...answer),
    );
    for (const [stream, plan] of plans.entries()) {
      for (const request of plan) this.#connection.send(stream, encode("WatchRequest", { create_request: request }));
    }
    this.#connection.flush();
  }

  /** Events so far, each counted for each watcher. */
  get events(): number {
    return this.#events;
  }
  /** Messages so far that carried them. */
  get answers(): number {
    return this.#answers;
  }
  /** Watchers that were created. */
  get created(): number {
    return this.#created;
  }
  /** What went wrong; nothing more is read then. */
  get error(): Error | undefined {
    return this.#connection.error;
  }

  /** What a watcher of a stream was told; undefined where that is nothing. */
  toldOf(stream: number, watchId: number): Told | undefined {
    return this.#told[stream]!.get(watchId);
  }

  /** Stops reading, as a client that hangs. */
  pause(): void {
    this.#connection.pause();
  }
  resume(): void {
    this.#connection.resume();
  }

  close(): void {
    this.#connection.close();
  }

  /** Fields come in the order of their numbers, from etcd as from Walnut: the watcher's is known before its events. */
  #answer(number: number, bytes: Uint8Array, start: number, end: number): void {
    const cursor = this.#cursor;
    let watchId = 0;
    let told: Told | undefined;
    cursor.at = start;
    while (cursor.at < end) {
      const tag = cursor.varint(bytes);
      const value = cursor.varint(bytes);
      if ((tag & 7) === 0) {
        if (tag >>> 3 === 2) watchId = value;
        else if (tag >>> 3 === 3) this.#created++;
        else if (tag >>> 3 === 4) throw new Error(`watcher ${watchId} of stream ${number} was cancelled`);
        continue;
      }
      const from = cursor.at;
      if (tag >>> 3 === 11) {
        if (told === undefined) {
          this.#answers++;
          told = this.#told[number]!.get(watchId);
          if (told === undefined) this.#told[number]!.set(watchId, (told = { revision: 0, events: 0 }));
        }
        this.#event(number, watchId, told, bytes, from, from + value);
      }
      cursor.at = from + value;
    }
  }

  /** The stored pair is field 2 of an event, its mod revision field 3 of the pair. */
  #event(number: number, watchId: number, told: Told, bytes: Uint8Array, start: number, end: number): void {
    const cursor = this.#cursor;
    cursor.find(bytes, start, end, 2);
    const [pairStart, pairEnd] = [cursor.at, cursor.at + cursor.value];
    cursor.find(bytes, pairStart, pairEnd, 3);
    const revision = cursor.value;
    if (revision <= told.revision) {
      throw new Error(`watcher ${watchId} of stream ${number}: revision ${revision} after ${told.revision}`);
    }
    told.revision = revision;
    told.events++;
    this.#events++;
    this.#onEvent?.(number, bytes, pairStart, pairEnd);
  }
}

/** A place in a message, of varints and length-delimited fields, which etcd's answers consist of. */
export class Cursor {
  at = 0;
  /** Of the field that was found: its number, or its length, with `at` behind it. */
  value = 0;

  varint(bytes: Uint8Array): number {
    let byte = bytes[this.at++]!;
    if (byte < 0x80) return byte;
    let value = byte & 0x7f;
    for (let scale = 128; byte >= 0x80; scale *= 128) {
      byte = bytes[this.at++]!;
      value += (byte & 0x7f) * scale;
    }
    return value;
  }

  /** Finds the first field of a number in `bytes[start, end)`. @throws where there is none */
  find(bytes: Uint8Array, start: number, end: number, number: number): void {
    this.at = start;
    while (this.at < end) {
      const tag = this.varint(bytes);
      this.value = this.varint(bytes);
      if (tag >>> 3 === number) return;
      if ((tag & 7) !== 0) this.at += this.value;
    }
    throw new Error(`a message has no field ${number}`);
  }
}
