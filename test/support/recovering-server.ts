import { type ChildProcess, spawn } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { basename, join } from "node:path";
import { parseWalName } from "../../src/wal/name.ts";
import type { Outcome } from "./child.ts";
import type { ClientScene } from "./client-scene.ts";
import { eventually } from "./eventually.ts";
import { fileAnswer, problem } from "./faults.ts";
import { FaultServer, type Fault } from "./fault-server.ts";
import { type MadeFile, makeSegment, MIB, SYSTEM_IDENTIFIER } from "./wal-maker.ts";

const STOCK = "pg_wal/pgsql_tmp.walarc";

/** Segment `number` as this file's archives hold it. */
export function segment(number: number, wish: { systemIdentifier?: string } = {}): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB, ...wish });
}

/** An archive of a few segments that counts what it is asked for, and may strike at each name. */
export class SmallArchive implements AsyncDisposable {
  readonly #server: FaultServer;
  readonly #files: Map<string, Buffer>;
  readonly faults = new Map<string, Fault>();

  private constructor(server: FaultServer, files: readonly MadeFile[]) {
    this.#server = server;
    this.#files = new Map(files.map(({ name, bytes }) => [name, bytes]));
    server.fault = {
      moment: "received",
      script: (socket, request) => {
        const name = nameIn(request.head);
        const file = this.#files.get(name);
        const fault = this.faults.get(name);
        if (fault !== undefined) return fault.script(socket, request);
        return void socket.end(file === undefined ? problem(404, "absent") : fileAnswer(file));
      },
    };
  }

  static async of(scene: ClientScene, files: readonly MadeFile[]): Promise<SmallArchive> {
    const silent: Fault = { moment: "received", script: () => {} };
    return new SmallArchive(await scene.serve(silent), files);
  }

  get url(): string {
    return this.#server.url;
  }

  add({ name, bytes }: MadeFile): void {
    this.#files.set(name, bytes);
  }

  /** How often it was asked for this file. */
  requestsFor({ name }: MadeFile): number {
    return this.#server.requests.filter(({ head }) => nameIn(head) === name).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server[Symbol.asyncDispose]();
  }
}

/** The first of them that a test needs, and all that could be fetched behind it. */
export const SUCCESSION = Array.from({ length: 12 }, (_, index) => segment(5 + index)) as [
  MadeFile,
  MadeFile,
  MadeFile,
  ...MadeFile[],
];

/**
 * A data directory as a recovering PostgreSQL has it, with a process that stands for the server:
 * all that a prefetcher looks at.
 */
export class RecoveringServer implements AsyncDisposable {
  readonly path: string;
  readonly destination = "pg_wal/RECOVERYXLOG";
  readonly #scene: ClientScene;
  readonly #postmaster: ChildProcess;

  private constructor(scene: ClientScene, path: string, postmaster: ChildProcess) {
    this.#scene = scene;
    this.path = path;
    this.#postmaster = postmaster;
  }

  static async start(
    scene: ClientScene,
    setting: "recovery" | "standby" = "recovery",
  ): Promise<RecoveringServer> {
    const { path } = await scene.makeDataDirectory(setting);
    const { uid, gid } = scene.workspace.account;
    const owner = process.getuid?.() === 0 ? { uid, gid } : {};
    const postmaster = spawn("/bin/sleep", ["300"], { ...owner, stdio: "ignore" });
    const server = new RecoveringServer(scene, path, postmaster);
    await scene.workspace.makeDirectory(basename(path), "global");
    await server.become(SYSTEM_IDENTIFIER);
    await server.write("postmaster.pid", `${postmaster.pid}\n${path}\n`);
    return server;
  }

  /** Another database cluster in the same place. */
  async become(systemIdentifier: string): Promise<void> {
    const control = Buffer.alloc(8192);
    control.writeBigUInt64LE(BigInt(systemIdentifier), 0);
    control.writeUInt32LE(1300, 8);
    await this.write("global/pg_control", control);
  }

  async write(name: string, content: string | Buffer): Promise<void> {
    await this.#scene.workspace.writeFile(join(this.path, name), content);
  }

  async remove(name: string): Promise<void> {
    // Again where a prefetcher puts something into it meanwhile.
    const patience = { maxRetries: 10, retryDelay: 10 };
    await rm(join(this.path, name), { recursive: true, force: true, ...patience });
  }

  /** PostgreSQL's restore_command. */
  async fetch(
    { name }: MadeFile,
    server: string,
    more: { flags?: readonly string[]; env?: Readonly<Record<string, string>> } = {},
  ): Promise<Outcome> {
    await this.remove(this.destination);
    const args = ["fetch", "--server", server, ...(more.flags ?? []), name, this.destination];
    return await this.#scene.run(args, { cwd: this.path, env: more.env ?? {} });
  }

  async delivered(): Promise<Buffer> {
    return await readFile(join(this.path, this.destination));
  }

  /** Files of the stock, relative to it, those that only keep it in order left out. */
  stock(): string[] {
    return namesIn(join(this.path, STOCK))
      .flatMap((key) => namesIn(join(this.path, STOCK, key)))
      .filter((name) => parseWalName(name.replace(/\.part$/, "")) !== undefined)
      .sort();
  }

  /** Where a file of the stock is. */
  stockPath(name: string): string {
    const [key = ""] = namesIn(join(this.path, STOCK));
    return join(this.path, STOCK, key, name);
  }

  /** Where the process that fills the stock answers calls. */
  socketPath(): string {
    const names = namesIn(join(this.path, "pg_wal"));
    const name = names.find((name) => name.startsWith(`${basename(STOCK)}.`)) ?? "";
    return join(this.path, "pg_wal", name);
  }

  hasStock(): boolean {
    return namesIn(join(this.path, "pg_wal")).includes(basename(STOCK));
  }

  /** Resolves when the segment is in stock. */
  async stocked({ name }: MadeFile): Promise<void> {
    await eventually(`${name} is in stock`, () => this.stock().includes(name), { intervalMs: 5 });
  }

  /** The process that fills the stock. */
  async prefetcher(): Promise<number> {
    return await eventually("there is a prefetcher", () => {
      return Number.parseInt(readFileSync(this.stockPath("owner"), "latin1"), 10);
    });
  }

  /** Ends the process that stands for the server. */
  end(): void {
    this.#postmaster.kill("SIGKILL");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
    await eventually("its prefetcher is gone", () => !this.hasStock() || !this.#hasPrefetcher());
    await rm(this.path, { recursive: true, force: true, maxRetries: 5 });
  }

  #hasPrefetcher(): boolean {
    try {
      return isRunning(Number.parseInt(readFileSync(this.stockPath("owner"), "latin1"), 10));
    } catch {
      return false;
    }
  }
}

/** Whether the process is there and no zombie. */
export function isRunning(pid: number): boolean {
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    return false;
  }
}

/** Kills the process unless it ends by itself just now; whether it was there. */
export function killIfRunning(pid: number): boolean {
  try {
    return process.kill(pid, "SIGKILL");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
    return false;
  }
}

function nameIn(head: string): string {
  return /^GET \/v1\/clusters\/[^/]+\/wal\/(\S+) /.exec(head)?.[1] ?? "";
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}
