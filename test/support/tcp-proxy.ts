/**
 * A TCP proxy that is a bad wire: it delays, it lets only so many bytes a second through, it holds one direction, it cuts.
 * What was taken in is handed on in order and whole; nothing is lost but with the connection.
 *
 * As a command it runs in a network namespace of its own and is told what to do by JSON lines on its standard input; it answers
 * each with a line, and ends when the input does, so that it cannot outlive its owner:
 *
 *   {"listen": ENDPOINT, "to": ENDPOINT}                 opens a wire; the wires are numbered from 0
 *   {"wire": 0, "there": SHAPE, "back": SHAPE}           shapes it
 *
 * `there` is the direction of the one who connects.
 */
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { PROJECT } from "./binaries.js";

export type Endpoint = { readonly host: string; readonly port: number } | { readonly path: string };

/** How a direction passes bytes on. What is left out is as in a good wire. */
export interface Shape {
  readonly delayMs?: number;
  readonly bytesPerSecond?: number;
  /** Nothing arrives, and the connection stays. */
  readonly held?: boolean;
}

export type Direction = "there" | "back";

/** Bytes that wait in one direction before its sender is made to wait as well. */
const WAITING_BYTES_MAX = 2 ** 18;
/** A limited direction passes pieces that take no longer than this, so that others get their turn. */
const PIECE_MS = 20;

/** One direction of a wire, over all its connections. */
class Lane {
  shape: Shape = {};
  bytes = 0;
  /** When the wire is free for the next byte, where only so many pass in a second. */
  #freeAt = 0;
  readonly pipes = new Set<Pipe>();

  reshape(shape: Shape): void {
    this.shape = shape;
    for (const pipe of this.pipes) pipe.pump();
  }

  /** When `size` bytes that are taken in now have passed. */
  passedAt(size: number, now: number): number {
    const { delayMs = 0, bytesPerSecond } = this.shape;
    if (bytesPerSecond === undefined) return now + delayMs;
    this.#freeAt = Math.max(this.#freeAt, now) + (1000 * size) / bytesPerSecond;
    return this.#freeAt + delayMs;
  }

  get pieceBytes(): number {
    const { bytesPerSecond } = this.shape;
    return bytesPerSecond === undefined ? Infinity : Math.max(1_024, Math.floor((bytesPerSecond * PIECE_MS) / 1000));
  }
}

/** One direction of one connection. */
class Pipe {
  readonly #lane: Lane;
  readonly #from: Socket;
  readonly #to: Socket;
  readonly #queue: { readonly bytes: Buffer | "end"; readonly at: number }[] = [];
  #waiting = 0;
  #timer: NodeJS.Timeout | undefined;

  private constructor(lane: Lane, from: Socket, to: Socket) {
    this.#lane = lane;
    this.#from = from;
    this.#to = to;
  }

  /** Passes on what comes from one socket until either is closed. */
  static join(lane: Lane, from: Socket, to: Socket): void {
    const pipe = new Pipe(lane, from, to);
    lane.pipes.add(pipe);
    from.on("data", (bytes) => pipe.#take(bytes));
    from.on("end", () => {
      pipe.#queue.push({ bytes: "end", at: lane.passedAt(0, performance.now()) });
      pipe.pump();
    });
    to.on("drain", () => pipe.pump());
    from.on("close", () => pipe.#over());
    to.on("close", () => pipe.#over());
  }

  #take(bytes: Buffer): void {
    const now = performance.now();
    for (let at = 0; at < bytes.length; at += this.#lane.pieceBytes) {
      const piece = bytes.subarray(at, Math.min(bytes.length, at + this.#lane.pieceBytes));
      this.#queue.push({ bytes: piece, at: this.#lane.passedAt(piece.length, now) });
    }
    this.#waiting += bytes.length;
    if (this.#waiting > WAITING_BYTES_MAX) this.#from.pause();
    this.pump();
  }

  /** Hands on what is due. */
  pump(): void {
    clearTimeout(this.#timer);
    if (this.#lane.shape.held === true || this.#to.writableNeedDrain) return;
    for (let next = this.#queue[0]; next !== undefined; next = this.#queue[0]) {
      const restMs = next.at - performance.now();
      if (restMs > 0) {
        this.#timer = setTimeout(() => this.pump(), Math.ceil(restMs));
        return;
      }
      this.#queue.shift();
      if (next.bytes === "end") {
        this.#to.end();
        continue;
      }
      this.#waiting -= next.bytes.length;
      this.#lane.bytes += next.bytes.length;
      if (this.#waiting <= WAITING_BYTES_MAX / 2) this.#from.resume();
      if (!this.#to.write(next.bytes)) return;
    }
  }

  #over(): void {
    clearTimeout(this.#timer);
    this.#lane.pipes.delete(this);
  }
}

export class TcpProxy {
  readonly #server: Server;
  readonly #to: Endpoint;
  readonly #lanes: Readonly<Record<Direction, Lane>> = { there: new Lane(), back: new Lane() };
  readonly #sockets = new Set<Socket>();
  #cut = false;

  private constructor(server: Server, to: Endpoint) {
    this.#server = server;
    this.#to = to;
    server.on("connection", (socket) => this.#accept(socket));
  }

  /** Listens, and connects to `to` for each connection that comes. */
  static async listen(at: Endpoint, to: Endpoint): Promise<TcpProxy> {
    const server = createServer({ allowHalfOpen: true });
    const proxy = new TcpProxy(server, to);
    server.listen(at);
    await once(server, "listening");
    return proxy;
  }

  /** From now on, for connections that are there as well. Bytes that were taken in before keep their time. */
  shape(direction: Direction, shape: Shape): void {
    this.#lanes[direction].reshape(shape);
  }

  /** Bytes handed on so far. */
  bytes(direction: Direction): number {
    return this.#lanes[direction].bytes;
  }

  /** Breaks all connections; new ones are broken as soon as they come. */
  cut(): void {
    this.#cut = true;
    for (const socket of this.#sockets) socket.destroy();
  }

  mend(): void {
    this.#cut = false;
  }

  async close(): Promise<void> {
    this.cut();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(near: Socket): void {
    if (this.#cut) {
      near.destroy();
      return;
    }
    const far = connect({ ...this.#to, allowHalfOpen: true });
    for (const [socket, other] of [
      [near, far],
      [far, near],
    ] as const) {
      this.#sockets.add(socket);
      socket.setNoDelay(true);
      socket.on("error", () => {}); // "close" follows
      socket.on("close", () => {
        this.#sockets.delete(socket);
        other.destroy();
      });
    }
    Pipe.join(this.#lanes.there, near, far);
    Pipe.join(this.#lanes.back, far, near);
  }
}

/** A line for the command. */
type Order =
  | { readonly listen: Endpoint; readonly to: Endpoint }
  | { readonly wire: number; readonly there?: Shape; readonly back?: Shape };

/** Proxies in a process of their own, as in a namespace. */
export class ProxyProcess {
  readonly #child: ChildProcess;
  readonly #answers: ((line: string) => void)[] = [];

  /** @param wrap a command that runs another one, as `ip netns exec NAME` does */
  constructor(wrap: readonly string[] = []) {
    const main = join(PROJECT, "dist", "test", "support", "tcp-proxy.js");
    const [command, ...args] = [...wrap, process.execPath, main];
    this.#child = spawn(command, args, { stdio: ["pipe", "pipe", "inherit"] });
    this.#child.stdin!.on("error", () => {}); // the exit code tells
    createInterface({ input: this.#child.stdout! }).on("line", (line) => this.#answers.shift()?.(line));
    this.#child.on("close", () => {
      for (const answer of this.#answers.splice(0)) answer("the proxy has ended");
    });
  }

  async listen(listen: Endpoint, to: Endpoint): Promise<void> {
    await this.#order({ listen, to });
  }

  async shape(wire: number, there: Shape, back: Shape): Promise<void> {
    await this.#order({ wire, there, back });
  }

  async close(): Promise<void> {
    if (this.#child.exitCode !== null) return;
    this.#child.stdin!.end();
    await once(this.#child, "close");
  }

  async #order(order: Order): Promise<void> {
    const answer = new Promise<string>((resolve) => this.#answers.push(resolve));
    this.#child.stdin!.write(`${JSON.stringify(order)}\n`);
    const told = await answer;
    if (told !== "ok") throw new Error(`${JSON.stringify(order)}: ${told}`);
  }
}

async function main(): Promise<void> {
  const wires: TcpProxy[] = [];
  for await (const line of createInterface({ input: process.stdin })) {
    const order = JSON.parse(line) as Order;
    try {
      if ("listen" in order) wires.push(await TcpProxy.listen(order.listen, order.to));
      else {
        if (order.there !== undefined) wires[order.wire]!.shape("there", order.there);
        if (order.back !== undefined) wires[order.wire]!.shape("back", order.back);
      }
      console.log("ok");
    } catch (error) {
      console.log(String(error));
    }
  }
  await Promise.all(wires.map(async (wire) => wire.close()));
}

if (process.argv[1] === import.meta.filename) await main();
