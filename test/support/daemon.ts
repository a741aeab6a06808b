import { request } from "node:http";
import { join } from "node:path";
import { requireDocumented } from "./api-check.ts";
import { logTail, readLog, Service } from "./child.ts";
import { eventually, Hopeless } from "./eventually.ts";
import type { Installation } from "./installation.ts";
import { type BucketPlace, environmentOf, storeTable } from "./s3-access.ts";
import type { Workspace } from "./workspace.ts";

export interface DaemonOptions {
  readonly workspace: Workspace;
  readonly installation: Installation;
  readonly name?: string;
  /** A store to serve; without one, a new and empty one. */
  readonly storeDirectory?: string;
  /** A bucket to keep the store in, instead of a directory. */
  readonly bucket?: BucketPlace | undefined;
  /** TOML at the end of the `[store]` table. */
  readonly moreStore?: string;
  /** TOML after the generated `[server]` and `[store]` tables. */
  readonly moreConfig?: string;
  /**
   * `[server] listen`; `127.0.0.1:0` lets the system choose the port. Nothing listens by default.
   */
  readonly listen?: string;
}

/** What the daemon answered. */
export interface Answer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

/** The real `walarc serve` as a child process, with a store of its own and a unix socket. */
export class WalarcDaemon implements AsyncDisposable {
  readonly socketPath: string;
  readonly storeDirectory: string;
  readonly logFile: string;
  readonly #directory: string;
  readonly #options: DaemonOptions;
  #service: Service | undefined;

  private constructor(options: DaemonOptions) {
    this.#options = options;
    this.#directory = options.workspace.path(options.name ?? "walarc");
    this.socketPath = join(this.#directory, "socket");
    this.logFile = join(this.#directory, "log");
    this.storeDirectory = options.storeDirectory ?? join(this.#directory, "store");
  }

  /** Writes its configuration; nothing runs yet. */
  static async prepare(options: DaemonOptions): Promise<WalarcDaemon> {
    const daemon = new WalarcDaemon(options);
    await options.workspace.makeDirectory(options.name ?? "walarc");
    await options.workspace.writeFile(daemon.#configFile, daemon.#config());
    return daemon;
  }

  /** For `WALARC_SERVER`. */
  get url(): string {
    return `unix:${this.socketPath}`;
  }

  /** Where TCP connections are taken, as the log tells; for a port that the system chose. */
  get tcpUrl(): string {
    const found = /http:\/\/127\.0\.0\.1:(\d+)|"127\.0\.0\.1:([1-9]\d*)"/.exec(
      readLog(this.logFile),
    );
    if (found === null) throw new Error(`no TCP address in the log\n${this.logTail()}`);
    return `http://127.0.0.1:${found[1] ?? found[2]}`;
  }

  /** The log so far, one parsed line each; lines that are no JSON stay out. */
  logLines(): Record<string, unknown>[] {
    const lines = readLog(this.logFile).split("\n");
    return lines
      .filter((line) => line.startsWith("{"))
      .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  /** The log so far, as it was written. */
  log(): string {
    return readLog(this.logFile);
  }

  logTail(): string {
    return logTail(this.logFile);
  }

  /** Of the running process: `bin/walarc` becomes Node.js, it does not start one. */
  get pid(): number {
    return this.#running.pid;
  }

  /**
   * Starts `walarc serve` and resolves when `/readyz` answers with `readiness`: green, if nothing
   * else.
   */
  async start({ readiness = 200 }: { readiness?: number } = {}): Promise<void> {
    const { workspace, installation, bucket } = this.#options;
    const credentials = bucket === undefined ? {} : environmentOf(bucket.access);
    const service = new Service(installation.walarc, ["serve", "--config", this.#configFile], {
      account: workspace.account,
      cwd: this.#directory,
      env: { ...installation.env, ...credentials },
      name: "walarc serve",
      logFile: this.logFile,
    });
    this.#service = service;
    await eventually(
      "walarc serve is ready",
      async () => {
        if (!service.isRunning) {
          throw new Hopeless(`it ended with ${await service.ended}\n${this.logTail()}`);
        }
        if ((await this.get("/readyz")).status !== readiness) return false;
        // Its last listener is open, too.
        return this.log().includes('"walarc is serving"');
      },
      { evidence: () => this.logTail() },
    );
  }

  /** Ends it in its graceful way; resolves with its exit status. */
  async stop(): Promise<number | NodeJS.Signals> {
    this.#running.signal("SIGTERM");
    return this.#running.ended;
  }

  /** Ends it without a chance to tidy up. */
  async kill(): Promise<void> {
    this.#running.signal("SIGKILL");
    await this.#running.ended;
  }

  /** Makes it hang: connections are accepted by the kernel, and nobody answers. */
  freeze(): void {
    this.#running.signal("SIGSTOP");
  }

  /** Makes it read its configuration again. */
  hangUp(): void {
    this.#running.signal("SIGHUP");
  }

  /**
   * Writes another configuration: this TOML after the generated tables, or after what there is.
   * Nobody is told.
   */
  async configure(
    moreConfig: string,
    options: { append?: true; change?: (text: string) => string } = {},
  ): Promise<void> {
    const { change = (text: string) => text } = options;
    const before = options.append ? readLog(this.#configFile) : this.#config("");
    await this.#options.workspace.writeFile(this.#configFile, change(before + moreConfig));
  }

  thaw(): void {
    this.#running.signal("SIGCONT");
  }

  /** Where the stored object of a WAL file is. */
  objectFile(name: string, cluster = "main"): string {
    const timeline = name.slice(0, 8);
    const rest = name.endsWith(".history") ? [name] : [name.slice(8, 16), name];
    return join(this.storeDirectory, "clusters", cluster, "wal", timeline, ...rest);
  }

  /** Asks over the unix socket. */
  async get(path: string): Promise<Answer> {
    const answer = await get(this.socketPath, path);
    await requireDocumented({ method: "GET", path, ...answer });
    return answer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#service?.killAll();
  }

  get #configFile(): string {
    return join(this.#directory, "walarc.toml");
  }

  get #running(): Service {
    if (this.#service === undefined) throw new Error("walarc serve was never started");
    return this.#service;
  }

  #config(more?: string): string {
    const { listen = "", moreStore = "", bucket } = this.#options;
    const moreConfig = more ?? this.#options.moreConfig ?? "";
    const disk = `[store]\nkind = "disk"\npath = "${this.storeDirectory}"\n`;
    return `[server]
listen = "${listen}"
socket = "${this.socketPath}"

${bucket === undefined ? disk : storeTable(bucket)}${moreStore}
${moreConfig}`;
  }
}

function get(socketPath: string, path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, timeout: 5000, agent: false }, (response) => {
      const chunks: Buffer[] = [];
      response.on("data", (chunk: Buffer) => chunks.push(chunk));
      response.once("error", reject);
      response.once("end", () => {
        const { statusCode = 0, headers } = response;
        resolve({ status: statusCode, headers, body: Buffer.concat(chunks) });
      });
    });
    asked.once("timeout", () => asked.destroy(new Error(`no answer to GET ${path} within 5 s`)));
    asked.once("error", reject);
    asked.end();
  });
}
