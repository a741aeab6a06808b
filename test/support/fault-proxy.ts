import {
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from "node:http";
import { once } from "node:events";
import { chmod } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import type { Workspace } from "./workspace.ts";

/** What the proxy does instead of passing a request on. */
export type Fault =
  | {
      readonly kind: "answer";
      readonly status: number;
      readonly headers?: Readonly<Record<string, string>>;
      readonly body?: string;
    }
  /** Passes the answer on after changing its head or body. */
  | { readonly kind: "change"; readonly answer: (answer: ProxiedAnswer) => ProxiedAnswer }
  /** Passes the first half of the answer's body on and then drops the connection. */
  | { readonly kind: "cut" }
  /** Passes the answer on, one byte each second. */
  | { readonly kind: "drip" }
  /** Drops the connection without an answer. */
  | { readonly kind: "drop" };

export interface ProxiedAnswer {
  readonly status: number;
  readonly headers: NodeJS.Dict<string | string[]>;
  readonly body: Buffer;
}

/** Stands before a daemon on a unix socket of its own and misbehaves as it is told. */
export class FaultProxy implements AsyncDisposable {
  readonly socketPath: string;
  /** Which fault a request gets; by default none does. */
  faultOf: (request: { method: string; path: string }) => Fault | undefined = () => undefined;
  readonly #upstream: string;
  readonly #server: Server;
  readonly #closing = new AbortController();

  private constructor(socketPath: string, upstream: string) {
    this.socketPath = socketPath;
    this.#upstream = upstream;
    this.#server = createServer((incoming, outgoing) => {
      this.#serve(incoming, outgoing).catch(() => outgoing.destroy());
    });
  }

  static async start(workspace: Workspace, name: string, upstream: string): Promise<FaultProxy> {
    const proxy = new FaultProxy(workspace.path(name), upstream);
    proxy.#server.listen(proxy.socketPath);
    await once(proxy.#server, "listening");
    await chmod(proxy.socketPath, 0o666);
    return proxy;
  }

  get url(): string {
    return `unix:${this.socketPath}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #serve(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const { method = "", url: path = "" } = incoming;
    const fault = this.faultOf({ method, path });
    switch (fault?.kind) {
      case "drop":
        outgoing.destroy();
        return;
      case "answer":
        incoming.resume();
        outgoing.writeHead(fault.status, fault.headers);
        outgoing.end(fault.body);
        return;
      case "change": {
        const changed = fault.answer(await this.#ask(incoming));
        outgoing.writeHead(changed.status, changed.headers);
        outgoing.end(changed.body);
        return;
      }
      case "cut": {
        const { status, headers, body } = await this.#ask(incoming);
        outgoing.writeHead(status, headers);
        outgoing.write(body.subarray(0, body.length / 2), () => outgoing.destroy());
        return;
      }
      case "drip": {
        const { status, headers, body } = await this.#ask(incoming);
        outgoing.writeHead(status, headers);
        for (const byte of body) {
          outgoing.write(Buffer.of(byte));
          await delay(1000, undefined, { signal: this.#closing.signal });
        }
        outgoing.end();
        return;
      }
      case undefined: {
        const { status, headers, body } = await this.#ask(incoming);
        outgoing.writeHead(status, headers);
        outgoing.end(body);
      }
    }
  }

  async #ask(incoming: IncomingMessage): Promise<ProxiedAnswer> {
    const { method, url: path, headers } = incoming;
    const upstream = { socketPath: this.#upstream, agent: false } as const;
    const asked = request({ ...upstream, method, path, headers });
    incoming.pipe(asked);
    const [response] = (await once(asked, "response")) as [IncomingMessage];
    const chunks: Buffer[] = [];
    for await (const chunk of response) chunks.push(chunk as Buffer);
    const { statusCode = 0 } = response;
    return { status: statusCode, headers: response.headers, body: Buffer.concat(chunks) };
  }
}
