import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { connect, createServer, type Server, type Socket } from "node:net";
import type { Workspace } from "./workspace.ts";

/**
 * One address for several daemons, as a load balancer makes it: each connection goes to the next of
 * them that takes it, and breaks when that one dies.
 */
export class Balancer implements AsyncDisposable {
  readonly socketPath: string;
  /** Connections that each daemon took. */
  readonly taken: number[];
  readonly #targets: readonly string[];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  #next = 0;

  private constructor(socketPath: string, targets: readonly string[]) {
    this.socketPath = socketPath;
    this.#targets = targets;
    this.taken = targets.map(() => 0);
    this.#server = createServer({ allowHalfOpen: true }, (client) => {
      this.#keep(client);
      this.#relay(client, this.#targets.length);
    });
  }

  /** `targets`: sockets of the daemons. */
  static async start(workspace: Workspace, targets: readonly string[]): Promise<Balancer> {
    const balancer = new Balancer(workspace.path("balancer"), targets);
    balancer.#server.listen(balancer.socketPath);
    await once(balancer.#server, "listening");
    await chmod(balancer.socketPath, 0o666);
    return balancer;
  }

  get url(): string {
    return `unix:${this.socketPath}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #relay(client: Socket, attempts: number): void {
    if (attempts === 0) {
      client.destroy();
      return;
    }
    const at = (this.#next += 1) % this.#targets.length;
    const target = connect({ path: this.#targets[at] ?? "", allowHalfOpen: true });
    const tryNext = (): void => this.#relay(client, attempts - 1);
    target.once("error", tryNext);
    target.once("connect", () => {
      target.off("error", tryNext);
      this.taken[at] = (this.taken[at] ?? 0) + 1;
      this.#keep(target);
      client.pipe(target);
      target.pipe(client);
      client.once("close", () => target.destroy());
      target.once("close", () => client.destroy());
    });
  }

  #keep(socket: Socket): void {
    this.#sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.once("close", () => this.#sockets.delete(socket));
  }
}
