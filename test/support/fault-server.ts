import { createServer, type Server, type Socket } from "node:net";
import { once } from "node:events";

/** What the server has of a request when its script runs. */
export interface ReceivedRequest {
  /** Request line and headers. */
  readonly head: string;
  readonly bodyBytes: number;
}

/** Says what to do with a connection; whatever it leaves open the server closes at its own end. */
export type Script = (socket: Socket, request: ReceivedRequest) => void | Promise<void>;

/** When the script runs: at once, when the headers are there, or when the whole body is. */
type Moment = "connected" | "asked" | "received";

export interface Fault {
  readonly moment: Moment;
  readonly script: Script;
}

/** A server on raw sockets that misbehaves as told: no HTTP library would send what it sends. */
export class FaultServer implements AsyncDisposable {
  readonly requests: ReceivedRequest[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();
  fault: Fault;

  private constructor(fault: Fault) {
    this.fault = fault;
    this.#server = createServer({ allowHalfOpen: true }, (socket) => this.#accept(socket));
  }

  /** Listens on a unix socket, or on a free port of this machine without a path. */
  static async listen(fault: Fault, socketPath?: string): Promise<FaultServer> {
    const server = new FaultServer(fault);
    if (socketPath === undefined) server.#server.listen(0, "127.0.0.1");
    else server.#server.listen({ path: socketPath, writableAll: true });
    await once(server.#server, "listening");
    return server;
  }

  /** As `--server` takes it. */
  get url(): string {
    const address = this.#server.address();
    if (typeof address === "string") return `unix:${address}`;
    return `http://127.0.0.1:${address?.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.close();
    await once(this.#server, "close");
  }

  #accept(socket: Socket): void {
    const { moment, script } = this.fault;
    this.#sockets.add(socket);
    socket.once("close", () => this.#sockets.delete(socket));
    socket.on("error", () => {}); // The client's right.
    const run = (request: ReceivedRequest) => {
      this.requests.push(request);
      void script(socket, request);
    };
    if (moment === "connected") run({ head: "", bodyBytes: 0 });
    else receive(socket, moment, run);
  }
}

function receive(socket: Socket, moment: Moment, run: (request: ReceivedRequest) => void): void {
  let text = "";
  let head: string | undefined;
  let bodyBytes = 0;
  const onData = (bytes: Buffer) => {
    bodyBytes += bytes.length;
    if (head === undefined) {
      text += bytes.toString("latin1");
      const end = text.indexOf("\r\n\r\n");
      if (end < 0) return;
      head = text.slice(0, end);
      bodyBytes = text.length - end - 4;
    }
    const wanted = Number(/^content-length: *([0-9]+)/im.exec(head)?.[1] ?? 0);
    if (moment === "received" && bodyBytes < wanted) return;
    socket.off("data", onData).pause();
    run({ head, bodyBytes });
  };
  socket.on("data", onData);
}
