import { once } from "node:events";
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { setTimeout as delay } from "node:timers/promises";

/** How a network fails, as seen from the client. */
export type WireFault =
  /**
   * After so many bytes from the client nothing passes any more, in either direction, and nobody
   * says so.
   */
  | { readonly kind: "black hole"; readonly afterBytes: number }
  /** After so many bytes from the client the connection is reset. */
  | { readonly kind: "reset"; readonly afterBytes: number }
  /** The answer comes one byte per interval. */
  | { readonly kind: "drip"; readonly intervalMs: number };

/** A TCP port before a daemon's socket that fails as it is told. It knows bytes only, no HTTP. */
export class BadWire implements AsyncDisposable {
  /** `undefined` passes everything. */
  fault: WireFault | undefined;
  readonly #upstream: string;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  readonly #closing = new AbortController();

  private constructor(upstream: string) {
    this.#upstream = upstream;
    this.#server = createServer((client) => this.#connect(client));
  }

  /** Before the unix socket `upstream`. */
  static async start(upstream: string): Promise<BadWire> {
    const wire = new BadWire(upstream);
    wire.#server.listen(0, "127.0.0.1");
    await once(wire.#server, "listening");
    return wire;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new Error("not listening");
    return `http://127.0.0.1:${address.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #connect(client: Socket): void {
    const { fault } = this;
    const daemon = createConnection(this.#upstream);
    for (const [socket, other] of [
      [client, daemon],
      [daemon, client],
    ] as const) {
      this.#sockets.add(socket);
      socket.on("error", () => other.destroy());
      socket.once("close", () => this.#sockets.delete(socket));
    }
    this.#forward(client, daemon, fault);
    if (fault?.kind === "drip") void this.#drip(daemon, client, fault.intervalMs);
    else daemon.pipe(client);
  }

  #forward(client: Socket, daemon: Socket, fault: WireFault | undefined): void {
    let passedBytes = 0;
    client.on("end", () => daemon.end());
    client.on("data", (bytes: Buffer) => {
      const roomBytes = fault === undefined || fault.kind === "drip" ? Infinity : fault.afterBytes;
      const passed = bytes.subarray(0, Math.max(0, roomBytes - passedBytes));
      passedBytes += passed.length;
      if (!daemon.write(passed)) {
        client.pause();
        daemon.once("drain", () => client.resume());
      }
      if (passed.length === bytes.length) return;
      if (fault?.kind === "reset") client.resetAndDestroy();
      // A hole does not close: both sides wait, and the client's bytes are still taken.
      daemon.unpipe(client);
    });
  }

  async #drip(daemon: Socket, client: Socket, intervalMs: number): Promise<void> {
    try {
      for await (const bytes of daemon) {
        for (const byte of bytes as Buffer) {
          client.write(Buffer.of(byte));
          await delay(intervalMs, undefined, { signal: this.#closing.signal });
        }
      }
      client.end();
    } catch {
      client.destroy(); // One side has gone, or the test is over.
    }
  }
}
