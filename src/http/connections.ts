/** The connections of one server: how many there may be, who gives way, and how they end. */
import type { IncomingMessage, Server, ServerResponse } from "node:http";
import type { Socket } from "node:net";
import { Server as TlsServer, type TLSSocket } from "node:tls";
import { WalarcError } from "../errors.ts";
import type { Caller } from "./auth.ts";

/** Of all connections one in so many is never one and the same caller's. */
const OTHERS_SHARE = 8;

/**
 * Keeps the number of connections bounded without a queue that strangers could fill: at the limit
 * the oldest connection on which nobody has proved anything gives way to the newest. So thousands
 * that merely sit there cost nobody a push, and however many somebody works on, others get theirs.
 */
export class Connections {
  readonly #server: Server;
  readonly #max: number;
  /** Requests under way, per connection. In order of arrival. */
  readonly #running = new Map<Socket, number>();
  /** Those on which no request was admitted yet. In order of arrival. */
  readonly #strangers = new Set<Socket>();
  /** Who was admitted on them last. */
  readonly #owners = new Map<Socket, string>();
  /** What a request's socket speaks TLS on; counted are connections, from their first moment. */
  readonly #beneath = new WeakMap<Socket, Socket>();
  #isStopping = false;

  constructor(server: Server, options: { max: number }) {
    this.#server = server;
    this.#max = options.max;
    server.on("connection", (socket: Socket) => this.#arrive(socket));
    if (server instanceof TlsServer) this.#lookBeneath(server);
    // Before the router's own listeners, so that a request counts from its first moment on.
    for (const event of ["request", "checkContinue"]) {
      server.prependListener(event, (request: IncomingMessage, response: ServerResponse) =>
        this.#begin(request.socket, response),
      );
    }
  }

  /** No more connections are taken, and each ends with the request that is under way. */
  get isStopping(): boolean {
    return this.#isStopping;
  }

  /**
   * Somebody known sent this request. Throws `unreachable` (429) when that one holds all but the
   * last of the connections already, and works on each: the rest is for others.
   */
  admit({ socket }: IncomingMessage, caller: Pick<Caller, "name">): void {
    const connection = this.#connectionOf(socket);
    this.#strangers.delete(connection);
    // It may be gone by now.
    if (!this.#running.has(connection)) return;
    const owner = caller.name ?? socket.remoteAddress ?? "";
    this.#owners.set(connection, owner);
    const own = [...this.#owners].filter(([, name]) => name === owner);
    if (own.length <= this.#max - Math.floor(this.#max / OTHERS_SHARE)) return;
    const idle = own.find(([other]) => this.#running.get(other) === 0);
    if (idle === undefined) throw tooMany(owner);
    this.#forget(idle[0]);
    idle[0].destroy();
  }

  /**
   * Takes no more connections, ends the idle ones at once and the others with their request, and
   * those that are left after the grace without mercy. Resolves when none is left.
   */
  async end(options: { graceMs: number }): Promise<void> {
    this.#isStopping = true;
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
    for (const [socket, running] of this.#running) if (running === 0) socket.destroy();
    const mercy = setTimeout(() => {
      for (const socket of this.#running.keys()) socket.destroy();
    }, options.graceMs);
    await closed;
    clearTimeout(mercy);
  }

  #arrive(socket: Socket): void {
    if (this.#running.size >= this.#max) this.#makeRoom();
    if (this.#running.size >= this.#max) {
      socket.destroy();
      return;
    }
    this.#running.set(socket, 0);
    this.#strangers.add(socket);
    socket.once("close", () => this.#forget(socket));
  }

  #makeRoom(): void {
    const [stranger] = this.#strangers;
    const victim = stranger ?? this.#idle();
    if (victim === undefined) return;
    this.#forget(victim);
    victim.destroy();
  }

  #idle(): Socket | undefined {
    for (const [socket, running] of this.#running) if (running === 0) return socket;
    return undefined;
  }

  /** The request's socket is not the one that connected; both end with each other. */
  #lookBeneath(server: TlsServer): void {
    const byPeer = new Map<string, Socket>();
    server.on("connection", (socket: Socket) => {
      const peer = peerOf(socket);
      byPeer.set(peer, socket);
      socket.once("close", () => {
        if (byPeer.get(peer) === socket) byPeer.delete(peer);
      });
    });
    server.on("secureConnection", (socket: TLSSocket) => {
      const beneath = byPeer.get(peerOf(socket));
      if (beneath !== undefined) this.#beneath.set(socket, beneath);
    });
  }

  #begin(speaking: Socket, response: ServerResponse): void {
    const socket = this.#connectionOf(speaking);
    this.#running.set(socket, (this.#running.get(socket) ?? 0) + 1);
    response.once("close", () => {
      const running = this.#running.get(socket);
      if (running === undefined) return;
      this.#running.set(socket, running - 1);
      // Its answer may have promised to keep the connection, before the stop.
      if (this.#isStopping && running === 1) speaking.end();
    });
  }

  #connectionOf(socket: Socket): Socket {
    return this.#beneath.get(socket) ?? socket;
  }

  #forget(socket: Socket): void {
    this.#running.delete(socket);
    this.#strangers.delete(socket);
    this.#owners.delete(socket);
  }
}

/** What tells a TCP connection from all others, as long as it lives. */
function peerOf(socket: Socket): string {
  const { localAddress, localPort, remoteAddress, remotePort } = socket;
  return [localAddress, localPort, remoteAddress, remotePort].join(" ");
}

function tooMany(owner: string): WalarcError {
  return new WalarcError("unreachable", `"${owner}" holds too many connections at once`, {
    status: 429,
    hint: "fewer commands at the same time get as much done",
  });
}
