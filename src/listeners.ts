/** All that a daemon listens on, and its rules, which can be replaced while it serves. */
import type { Logger } from "pino";
import type { Config, ServerConfig } from "./config/config.ts";
import { isLoopbackHost } from "./config/listen.ts";
import { type Access, loopbackAccess, openAccess, tokenAccess } from "./http/auth.ts";
import { Bodies } from "./http/bodies.ts";
import { listenOnSocket, listenOnTcp } from "./http/listen.ts";
import type { ServerParts } from "./http/parts.ts";
import { createServer, type HttpServer } from "./http/server.ts";
import { TlsIdentity } from "./http/tls-identity.ts";
import { startLoop } from "./lifecycle.ts";

const CERTIFICATE_INTERVAL_MS = 2000;

/** Where a daemon listens. */
export interface Addresses {
  /** Path of the unix socket. */
  readonly socket?: string;
  /** Address and port of TCP, as bound. */
  readonly listen?: string;
  /** Whether TCP speaks TLS. */
  readonly isEncrypted?: boolean;
}

export class Listeners implements AsyncDisposable {
  #access: Access;
  readonly #stack = new AsyncDisposableStack();
  readonly #servers: HttpServer[] = [];
  /** Of the TCP listener; `undefined` where it speaks no TLS. */
  readonly tls: TlsIdentity | undefined;
  addresses: Addresses = {};

  private constructor(config: Config, tls: TlsIdentity | undefined) {
    this.tls = tls;
    this.#access = accessOf(config, tls);
    // Together: there is one grace for all, and none takes requests while another ends.
    this.#stack.defer(async () => {
      await Promise.all(this.#servers.map((http) => http[Symbol.asyncDispose]()));
    });
  }

  /** Reads what TLS needs; listens to nothing yet. Rejects with `usage` when it is of no use. */
  static async prepare(config: Config, { log }: { log: Logger }): Promise<Listeners> {
    const { tls: files } = config.server;
    const tls = files === undefined ? undefined : await TlsIdentity.open(files, { log });
    return new Listeners(config, tls);
  }

  /** Two servers, since each listener has rules of its own. */
  async open(
    server: ServerConfig,
    parts: Omit<ServerParts, "access" | "listener" | "tls">,
  ): Promise<void> {
    const { socket, listen: address } = server;
    const { tls } = this;
    // Of both: who waits at one of them waits for those at the other, too.
    const shared = { ...parts, bodies: new Bodies() };
    if (socket !== undefined) {
      const http = await createServer({ ...shared, access: openAccess(), listener: "socket" });
      this.#servers.push(http);
      this.#stack.use(await listenOnSocket(http.server, socket));
      this.addresses = { socket: socket.path };
    }
    if (address === undefined) return;
    const access: Access = { callerOf: (request) => this.#access.callerOf(request) };
    const http = await createServer({ ...shared, access, listener: "tcp", tls });
    this.#servers.push(http);
    const bound = await listenOnTcp(http.server, address);
    const host = bound.host.includes(":") ? `[${bound.host}]` : bound.host;
    const isEncrypted = tls === undefined ? {} : { isEncrypted: true };
    this.addresses = { ...this.addresses, listen: `${host}:${bound.port}`, ...isEncrypted };
    if (tls === undefined) return;
    const watching = { intervalMs: CERTIFICATE_INTERVAL_MS, retryMsMax: 60_000, log: parts.log };
    this.#stack.use(startLoop(() => tls.look(), { name: "certificate", ...watching }));
  }

  /** Every request from now on is judged by these rules, also on connections that are open. */
  replaceRules(config: Config): void {
    this.#access = accessOf(config, this.tls);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

function accessOf({ server, tokens, certificates }: Config, tls: TlsIdentity | undefined): Access {
  const isLocal = server.listen !== undefined && isLoopbackHost(server.listen.host);
  if (server.auth === "none") return isLocal ? loopbackAccess() : openAccess();
  return tokenAccess(tokens, {
    loopbackRead: server.loopbackRead ? "open" : "closed",
    certificates,
    ...(tls === undefined ? {} : { shownBy: (request) => tls.shownBy(request) }),
  });
}
