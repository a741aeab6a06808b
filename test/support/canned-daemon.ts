import { once } from "node:events";
import { createServer, type IncomingMessage, type Server } from "node:http";

export interface Reply {
  readonly status?: number;
  readonly type?: string;
  readonly body: unknown;
}

/** A daemon of few words: answers each path as told, and 404 otherwise. */
export class CannedDaemon implements AsyncDisposable {
  readonly requests: IncomingMessage[] = [];
  readonly url: string;
  readonly #server: Server;

  private constructor(path: string, replies: Readonly<Record<string, Reply>>) {
    this.url = `unix:${path}`;
    this.#server = createServer((request, response) => {
      this.requests.push(request);
      const reply = replies[request.url ?? ""] ?? { status: 404, type: "text/plain", body: "no" };
      response.writeHead(reply.status ?? 200, {
        "Content-Type": reply.type ?? "application/json",
      });
      response.end(typeof reply.body === "string" ? reply.body : JSON.stringify(reply.body));
    });
    this.#server.listen({ path, writableAll: true });
  }

  static async answering(
    path: string,
    replies: Readonly<Record<string, Reply>>,
  ): Promise<CannedDaemon> {
    const daemon = new CannedDaemon(path, replies);
    await once(daemon.#server, "listening");
    return daemon;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.close();
    await once(this.#server, "close");
  }
}
