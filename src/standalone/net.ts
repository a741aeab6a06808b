/**
 * Stands in for `node:net`: of its sockets what an exchange uses, on the runtime's own ones. They
 * cost a third to load, and hand over all that was received before they tell of a reset.
 */
import type { OnReadOpts, Server, Socket } from "node:net";
import type { BunApi, BunSocket } from "./bun.ts";

declare const Bun: BunApi;

type ConnectOptions = { readonly onread: OnReadOpts } & (
  | { readonly path: string }
  | { readonly host: string; readonly port: number; readonly noDelay: boolean }
);

type EventName = "connect" | "end" | "close" | "error" | "timeout";
type Listener = (error: Error) => void;

export function connect(options: ConnectOptions): Connection {
  return new Connection(options);
}

/** 4, 6, or 0 for what is no address. */
export function isIP(text: string): number {
  return process.getBuiltinModule("node:net").isIP(text);
}

/** Few processes need one, and they live longer than it takes to load. */
export function createServer(onConnection: (socket: Socket) => void): Server {
  return process.getBuiltinModule("node:net").createServer(onConnection);
}

class Connection {
  readonly #options: ConnectOptions;
  #listeners: { readonly name: EventName; readonly listener: Listener }[] = [];
  #socket: BunSocket | undefined;
  #isOver = false;
  readonly #unsent: { bytes: Uint8Array; readonly done: (() => void) | undefined }[] = [];
  #idleTimeoutMs = 0;
  #idleTimer: NodeJS.Timeout | undefined;
  #movedAt = 0;

  constructor(options: ConnectOptions) {
    this.#options = options;
    const target =
      "path" in options ? { unix: options.path } : { hostname: options.host, port: options.port };
    const fail = (_socket: BunSocket, error: NodeJS.ErrnoException) => this.#fail(error);
    const socket = {
      open: (socket: BunSocket) => this.#open(socket),
      data: (_socket: BunSocket, bytes: Buffer) => this.#take(bytes),
      drain: () => this.#flush(),
      end: () => this.#emit("end"),
      close: (_socket: BunSocket, error?: NodeJS.ErrnoException) => this.#close(error),
      error: fail,
      connectError: fail,
    };
    // Not before there are listeners.
    queueMicrotask(() => {
      Bun.connect({ ...target, socket }).catch((error) => this.#fail(error));
    });
  }

  get writable(): boolean {
    return this.#socket !== undefined && !this.#isOver;
  }

  on(name: EventName, listener: Listener): this {
    this.#listeners.push({ name, listener });
    return this;
  }

  once(name: EventName, listener: Listener): this {
    const once = (error: Error) => {
      this.#listeners = this.#listeners.filter((entry) => entry.listener !== once);
      listener(error);
    };
    return this.on(name, once);
  }

  removeAllListeners(name: EventName): this {
    this.#listeners = this.#listeners.filter((entry) => entry.name !== name);
    return this;
  }

  /** Emits `timeout` after so long without a byte in either direction, also while connecting. */
  setTimeout(ms: number): this {
    this.#idleTimeoutMs = ms;
    this.#movedAt = performance.now();
    if (ms > 0) this.#watch(ms);
    return this;
  }

  /** `done`, when the kernel has taken it all; never after the end of the connection. */
  write(data: string | Uint8Array, encodingOrDone?: "latin1" | (() => void)): void {
    const bytes = typeof data === "string" ? Buffer.from(data, "latin1") : data;
    const done = typeof encodingOrDone === "function" ? encodingOrDone : undefined;
    this.#unsent.push({ bytes, done });
    if (this.#unsent.length === 1) this.#flush();
  }

  destroy(): this {
    this.#isOver = true;
    this.#unsent.length = 0;
    clearTimeout(this.#idleTimer);
    this.#socket?.terminate();
    return this;
  }

  #open(socket: BunSocket): void {
    if (this.#isOver) return socket.terminate();
    this.#socket = socket;
    this.#movedAt = performance.now();
    if (!("path" in this.#options)) socket.setNoDelay(this.#options.noDelay);
    this.#emit("connect");
  }

  #take(bytes: Buffer): void {
    if (this.#isOver) return;
    this.#movedAt = performance.now();
    this.#options.onread.callback(bytes.length, bytes);
    giveBack(bytes);
  }

  #flush(): void {
    if (this.#isOver) return;
    for (let first = this.#unsent[0]; first !== undefined; first = this.#unsent[0]) {
      const taken = this.#socket?.write(first.bytes) ?? 0;
      if (taken > 0) this.#movedAt = performance.now();
      if (taken < first.bytes.length) {
        first.bytes = first.bytes.subarray(Math.max(taken, 0));
        return; // `drain` calls again, or the connection ends.
      }
      this.#unsent.shift();
      if (first.done !== undefined) queueMicrotask(first.done);
    }
  }

  #watch(ms: number): void {
    this.#idleTimer = setTimeout(() => {
      const leftMs = this.#movedAt + this.#idleTimeoutMs - performance.now();
      if (leftMs > 0) this.#watch(leftMs);
      else this.#emit("timeout");
    }, ms);
  }

  #close(error: NodeJS.ErrnoException | undefined): void {
    if (error) return this.#fail(error);
    this.#isOver = true;
    this.#emit("close");
  }

  #fail(error: NodeJS.ErrnoException): void {
    this.#isOver = true;
    this.#emit("error", described(error, this.#options));
    this.#emit("close");
  }

  #emit(name: EventName, error = new Error(name)): void {
    for (const entry of this.#listeners) if (entry.name === name) entry.listener(error);
  }
}

/**
 * The runtime makes a buffer for each piece. Given back at once the next one takes its place; left
 * to the garbage collector they cost more than receiving them.
 */
function giveBack({ buffer, length }: Buffer): void {
  const isAllOfIt = buffer instanceof ArrayBuffer && buffer.byteLength === length;
  if (isAllOfIt) buffer.transfer(0);
}

/** The runtime says "Failed to connect" of whatever keeps it from connecting. */
function described(error: NodeJS.ErrnoException, options: ConnectOptions): Error {
  if (error.syscall !== "connect") return error;
  const where = "path" in options ? options.path : `${options.host}:${options.port}`;
  return Object.assign(error, { message: `connect ${error.code} ${where}` });
}
