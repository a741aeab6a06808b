import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { basename, join } from "node:path";
import { zstdDecompressSync } from "node:zlib";
import type { Outcome } from "./child.ts";
import type { ClientScene } from "./client-scene.ts";
import { eventually } from "./eventually.ts";
import { sha256Of } from "./faults.ts";
import { isRunning } from "./recovering-server.ts";
import { type MadeFile, SYSTEM_IDENTIFIER } from "./wal-maker.ts";

const LEDGER = "pg_wal/pgsql_tmp.walarc-push";

/** An archive that takes what it is sent, counts it, and can be held up or out of order. */
export class TakingArchive implements AsyncDisposable {
  readonly url: string;
  readonly files = new Map<string, Buffer>();
  /** What a push of a name waits for, once it was sent. */
  readonly holds = new Map<string, Promise<void>>();
  /** Names whose push fails with `store-failed`. */
  readonly troubled = new Set<string>();
  /** What it says of a frame beside the digest of its content. Older daemons say nothing. */
  frameDigest: (frame: Buffer) => string | undefined = sha256Of;
  readonly #server: Server;
  readonly #counts = new Map<string, number>();

  private constructor(path: string) {
    this.url = `unix:${path}`;
    this.#server = createServer((request, response) => {
      this.#take(request, response).catch(() => response.destroy()); // The client has gone.
    });
    this.#server.listen({ path, writableAll: true });
  }

  static async open(scene: ClientScene): Promise<TakingArchive> {
    const archive = new TakingArchive(`${scene.newPath()}.sock`);
    await once(archive.#server, "listening");
    return archive;
  }

  /** How often it was sent this file. */
  pushesOf({ name }: MadeFile): number {
    return this.#counts.get(name) ?? 0;
  }

  has(file: MadeFile): boolean {
    return this.files.get(file.name)?.equals(file.bytes) ?? false;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#server.close();
    await once(this.#server, "close");
  }

  async #take(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const name = request.url?.split("/").at(-1) ?? "";
    if (request.method !== "PUT") return refuse(response, 400, "usage");
    this.#counts.set(name, (this.#counts.get(name) ?? 0) + 1);
    await this.holds.get(name);
    if (this.troubled.has(name)) return refuse(response, 503, "store-failed");
    const sent = Buffer.concat(chunks);
    const isFrame = request.headers["content-encoding"] === "zstd";
    const body = isFrame ? zstdDecompressSync(sent) : sent;
    const held = this.files.get(name);
    if (held !== undefined && !held.equals(body)) return refuse(response, 409, "conflict");
    this.files.set(name, body);
    const frameDigest = isFrame ? this.frameDigest(sent) : undefined;
    response.setHeader("walarc-sha256", sha256Of(body));
    if (frameDigest !== undefined) response.setHeader("walarc-frame-sha256", frameDigest);
    response.writeHead(held ? 200 : 201).end();
  }
}

function refuse(response: ServerResponse, status: number, code: string): void {
  const body = JSON.stringify({ code, detail: "because of the test" });
  response.writeHead(status, { "content-type": "application/problem+json" }).end(body);
}

/** A data directory with WAL that waits to be archived, and a process that stands for a server. */
export class ArchivingServer implements AsyncDisposable {
  readonly path: string;
  readonly #scene: ClientScene;
  readonly #postmaster: ChildProcess;

  private constructor(scene: ClientScene, path: string, postmaster: ChildProcess) {
    this.#scene = scene;
    this.path = path;
    this.#postmaster = postmaster;
  }

  static async start(scene: ClientScene, files: readonly MadeFile[]): Promise<ArchivingServer> {
    const { path } = await scene.makeDataDirectory("other");
    const { uid, gid } = scene.workspace.account;
    const owner = process.getuid?.() === 0 ? { uid, gid } : {};
    const postmaster = spawn("/bin/sleep", ["300"], { ...owner, stdio: "ignore" });
    const server = new ArchivingServer(scene, path, postmaster);
    const control = Buffer.alloc(8192);
    control.writeBigUInt64LE(BigInt(SYSTEM_IDENTIFIER), 0);
    control.writeUInt32LE(1300, 8);
    await scene.workspace.makeDirectory(basename(path), "global");
    await scene.workspace.makeDirectory(basename(path), "pg_wal", "archive_status");
    await server.write("global/pg_control", control);
    await server.write("postmaster.pid", `${postmaster.pid}\n${path}\n`);
    for (const file of files) await server.ready(file);
    return server;
  }

  async write(name: string, content: string | Buffer): Promise<void> {
    await this.#scene.workspace.writeFile(join(this.path, name), content);
  }

  async ready({ name, bytes }: MadeFile): Promise<void> {
    await this.write(`pg_wal/${name}`, bytes);
    await this.write(`pg_wal/archive_status/${name}.ready`, "");
  }

  /** PostgreSQL's archive_command. */
  async push(
    { name }: MadeFile,
    server: string,
    more: { flags?: readonly string[]; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Outcome> {
    const args = ["push", "--server", server, ...(more.flags ?? []), `pg_wal/${name}`];
    return await this.#scene.run(args, { cwd: this.path, env: more.env ?? {} });
  }

  /** Where a file of the ledger is. */
  ledgerPath(name: string): string {
    const ledger = join(this.path, LEDGER);
    const [key = ""] = existsSync(ledger) ? readdirSync(ledger) : [];
    return join(ledger, key, name);
  }

  hasLedger(): boolean {
    return existsSync(join(this.path, LEDGER));
  }

  /** Resolves when the shipper has been told that the segment is archived. */
  async confirmed({ name }: MadeFile): Promise<void> {
    await eventually(`${name} is confirmed`, () => existsSync(this.ledgerPath(name)), {
      intervalMs: 5,
    });
  }

  /** The process that archives ahead. */
  async shipper(): Promise<number> {
    return await eventually("there is a shipper", () => {
      return Number.parseInt(readFileSync(this.ledgerPath("owner"), "latin1"), 10);
    });
  }

  /** Ends the process that stands for the server. */
  end(): void {
    this.#postmaster.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    await eventually("its shipper is gone", () => !this.hasLedger() || !this.#hasShipper());
    await rm(this.path, { recursive: true, force: true, maxRetries: 5 });
  }

  #hasShipper(): boolean {
    try {
      return isRunning(Number.parseInt(readFileSync(this.ledgerPath("owner"), "latin1"), 10));
    } catch {
      return false; // It is just going, or has never come.
    }
  }
}
