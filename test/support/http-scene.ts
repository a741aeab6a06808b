import { once } from "node:events";
import { type IncomingHttpHeaders, request, type RequestOptions, type Server } from "node:http";
import { request as requestTls } from "node:https";
import { type AddressInfo, connect, type Socket } from "node:net";
import { join } from "node:path";
import type { ConnectionOptions } from "node:tls";
import { type Logger, pino } from "pino";
import type { Readiness } from "../../src/archive/readiness.ts";
import {
  type Access,
  type Certificate,
  openAccess,
  type Token,
  tokenAccess,
} from "../../src/http/auth.ts";
import { listenOnSocket, listenOnTcp } from "../../src/http/listen.ts";
import type { Limits, ServerParts } from "../../src/http/parts.ts";
import { createServer, type HttpServer } from "../../src/http/server.ts";
import type { TlsFiles } from "../../src/http/key-pair.ts";
import { TlsIdentity } from "../../src/http/tls-identity.ts";
import { logOptions } from "../../src/telemetry/log.ts";
import { createMetrics } from "../../src/telemetry/metrics.ts";
import { requireDocumented } from "./api-check.ts";
import { eventually } from "./eventually.ts";
import { MemoryArchive } from "./memory-archive.ts";
import { Workspace } from "./workspace.ts";

export interface HttpSceneOptions {
  /** Rules of the TCP listener; by default everybody may do everything. */
  readonly tokens?: readonly Token[];
  readonly loopbackRead?: "open" | "closed";
  /** TCP speaks TLS. */
  readonly tls?: TlsFiles;
  readonly certificates?: readonly Certificate[];
  readonly limits?: Partial<Limits>;
  readonly shutdownGraceMs?: number;
}

export interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export interface Question {
  readonly method?: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string | number | string[]>>;
  readonly body?: Uint8Array;
  /** "tcp" by default. */
  readonly over?: "tcp" | "unix";
  /** For a listener that speaks TLS. */
  readonly tls?: Pick<ConnectionOptions, "ca" | "cert" | "key" | "host" | "servername">;
}

type LogLine = Readonly<Record<string, unknown>>;

/** An archive in memory behind real sockets: a unix socket for all, and TCP with rules. */
export class HttpScene implements AsyncDisposable {
  readonly archive = new MemoryArchive("main");
  readonly metrics = createMetrics({ version: "1.2.3" });
  readonly logLines: LogLine[] = [];
  readonly rawLog: string[] = [];
  readiness: Readiness = { ready: true, reasons: [] };
  socketPath = "";
  port = 0;
  servers: Server[] = [];
  tls: TlsIdentity | undefined;
  readonly #sockets = new AsyncDisposableStack();
  readonly #servers: HttpServer[] = [];
  readonly #workspace = new AsyncDisposableStack();

  static async open(options: HttpSceneOptions = {}): Promise<HttpScene> {
    const scene = new HttpScene();
    const workspace = scene.#workspace.use(await Workspace.create());
    scene.socketPath = join(workspace.directory, "s");
    const { tokens, loopbackRead = "closed", certificates = [] } = options;
    const log = scene.#log();
    const tls =
      options.tls === undefined ? undefined : await TlsIdentity.open(options.tls, { log });
    scene.tls = tls;
    const shownBy = tls === undefined ? {} : { shownBy: tls.shownBy.bind(tls) };
    const rules = { loopbackRead, certificates, ...shownBy };
    const tcp = await scene.#server(
      tokens === undefined ? openAccess() : tokenAccess(tokens, rules),
      { ...options, listener: "tcp" },
    );
    scene.port = (await listenOnTcp(tcp, { host: "127.0.0.1", port: 0 })).port;
    const unix = await scene.#server(openAccess(), { ...options, listener: "socket" });
    scene.#sockets.use(await listenOnSocket(unix, { path: scene.socketPath, mode: 0o660 }));
    return scene;
  }

  /** Stops the servers as the daemon does: together. */
  async stop(): Promise<void> {
    await this.#sockets.disposeAsync();
    await Promise.all(this.#servers.splice(0).map((server) => server[Symbol.asyncDispose]()));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#workspace.disposeAsync();
  }

  /** One request on a connection of its own; its answer is held to the OpenAPI document. */
  async ask(question: Question): Promise<Answer> {
    const answer = await this.#ask(question);
    const { method = "GET", path } = question;
    await requireDocumented({ method, path, ...answer });
    return answer;
  }

  #ask(question: Question): Promise<Answer> {
    const { method = "GET", path, headers = {}, body, over = "tcp" } = question;
    const isChunked = "transfer-encoding" in headers;
    const length = body === undefined || isChunked ? {} : { "content-length": body.length };
    const where =
      over === "unix" ? { socketPath: this.socketPath } : { host: "127.0.0.1", port: this.port };
    const options = { ...where, method, path, agent: false, headers: { ...length, ...headers } };
    const wanted: RequestOptions = { ...options, ...question.tls };
    const begin = question.tls === undefined ? request : requestTls;
    return new Promise((resolve, reject) => {
      const asked = begin(wanted, (response) => {
        const chunks: Buffer[] = [];
        response.on("data", (chunk: Buffer) => chunks.push(chunk));
        response.once("error", reject);
        response.once("end", () => {
          const { statusCode = 0, headers } = response;
          resolve({ status: statusCode, headers, body: Buffer.concat(chunks) });
        });
      });
      asked.once("error", reject);
      asked.setTimeout(20_000, () => asked.destroy(new Error(`no answer to ${method} ${path}`)));
      asked.end(body);
    });
  }

  /** A connection on which a test says whatever it likes. */
  async wire(over: "tcp" | "unix" = "tcp"): Promise<Wire> {
    return Wire.open(over === "tcp" ? { port: this.port } : { path: this.socketPath });
  }

  /** What the metrics page says of this metric, given with its labels in their order. */
  async metric(name: string): Promise<number | undefined> {
    const page = await this.metrics.exposition();
    const line = page.split("\n").find((found) => found.startsWith(`${name} `));
    return line === undefined ? undefined : Number(line.slice(name.length + 1));
  }

  /** The first log line with this message, which may still be on its way. */
  logged(message: string): Promise<LogLine> {
    const find = () => this.logLines.find((line) => line["msg"] === message);
    const evidence = () => JSON.stringify(this.logLines);
    return eventually(`the log says "${message}"`, find, { deadlineMs: 5000, evidence });
  }

  #log(): Logger {
    const write = (text: string) => {
      this.rawLog.push(text);
      this.logLines.push(JSON.parse(text) as LogLine);
    };
    return pino(logOptions({ level: "debug" }), { write });
  }

  async #server(
    access: Access,
    options: Omit<HttpSceneOptions, "tls"> & Pick<ServerParts, "listener">,
  ): Promise<Server> {
    const http = await createServer({
      archive: this.archive,
      readiness: () => this.readiness,
      listener: options.listener,
      access,
      metrics: this.metrics,
      log: this.#log(),
      ...(options.listener === "tcp" && this.tls !== undefined ? { tls: this.tls } : {}),
      shutdownGraceMs: options.shutdownGraceMs ?? 5000,
      ...(options.limits === undefined ? {} : { limits: options.limits }),
    });
    this.#servers.push(http);
    this.servers.push(http.server);
    return http.server;
  }
}

/** A socket, and all that came out of it. */
export class Wire implements Disposable {
  readonly socket: Socket;
  readonly #chunks: Buffer[] = [];
  isClosed = false;

  private constructor(socket: Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Buffer) => this.#chunks.push(chunk));
    socket.on("error", () => {}); // A reset is an end like any other here.
    socket.once("close", () => {
      this.isClosed = true;
    });
  }

  static async open(where: { port: number } | { path: string }): Promise<Wire> {
    const socket = connect(where as { port: number });
    await once(socket, "connect");
    return new Wire(socket);
  }

  get text(): string {
    return Buffer.concat(this.#chunks).toString("latin1");
  }

  /** Of the first answer that is not `100 Continue`; 0 before it comes. */
  get status(): number {
    const statuses = [...this.text.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, text]) => Number(text));
    return statuses.find((status) => status !== 100) ?? 0;
  }

  /** Resolves when the bytes were handed to the system, or the other side is gone. */
  async say(bytes: string | Uint8Array): Promise<void> {
    if (this.socket.destroyed) return;
    await new Promise<void>((resolve) => {
      const done = () => {
        this.socket.off("close", done);
        resolve();
      };
      this.socket.once("close", done);
      this.socket.write(bytes, done);
    });
  }

  /** The status of the answer. */
  answered(): Promise<number> {
    const evidence = () => this.text;
    return eventually("an answer came", () => this.status > 0 && this.status, {
      deadlineMs: 15_000,
      intervalMs: 10,
      evidence,
    });
  }

  closed(deadlineMs = 15_000): Promise<true> {
    return eventually("the connection is closed", () => this.isClosed as true, {
      deadlineMs,
      intervalMs: 10,
    });
  }

  [Symbol.dispose](): void {
    this.socket.destroy();
  }
}

/** The problem document of an answer. */
export function problemOf({ body }: Answer): { code?: string; detail?: string; hint?: string } {
  return JSON.parse(body.toString()) as { code?: string };
}

/** The port a server listens on. */
export function portOf(server: Server): number {
  return (server.address() as AddressInfo).port;
}
