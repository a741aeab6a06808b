import { execFileSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, writeFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pino } from "pino";
import { Archive } from "../../src/archive/archive.ts";
import type { Push } from "../../src/spool/drain.ts";
import type { SpoolOptions } from "../../src/spool/handling.ts";
import { type RunningSpool, startSpool } from "../../src/spool/running.ts";
import type { SpoolStatus } from "../../src/spool/status.ts";
import { DiskStore } from "../../src/store/disk.ts";
import { requireWalName } from "../../src/wal/name.ts";
import { serverAccount } from "./account.ts";
import { eventually } from "./eventually.ts";
import { makeSegment, MIB, type MadeFile, type SegmentWish } from "./wal-maker.ts";

const { signal } = new AbortController();

/** Segments of 1 MB. */
export function segment(number: number, wish: Partial<SegmentWish> = {}): MadeFile {
  return makeSegment({ number, segmentSizeBytes: MIB, content: "mixed", ...wish });
}

/** A spool in a temporary directory that is drained into a real archive beside it. */
export class SpoolScene implements AsyncDisposable {
  readonly directory: string;
  readonly archive: Archive;
  /** One per log line: the message, and what it is about. */
  readonly lines: Record<string, unknown>[] = [];
  readonly counted: string[] = [];
  readonly #root: string;
  readonly #stack: AsyncDisposableStack;
  #running: RunningSpool | undefined;

  private constructor(root: string, stack: AsyncDisposableStack, archive: Archive) {
    this.#root = root;
    this.#stack = stack;
    this.directory = join(root, "spool");
    this.archive = archive;
  }

  /** `store`: a directory for the store, on a file system of its own perhaps. */
  static async open(options: { store?: string } = {}): Promise<SpoolScene> {
    await using stack = new AsyncDisposableStack();
    const root = mkdtempSync(join(tmpdir(), "walarc-spool-"));
    stack.defer(() => rm(root, { recursive: true, force: true }));
    mkdirSync(join(root, "spool"), { mode: 0o700 });
    const store = stack.use(await DiskStore.open(options.store ?? join(root, "store")));
    const log = pino({ level: "silent" });
    const parts = { store, log, compressionLevel: 1, clusters: new Map(), signal };
    const archive = stack.use(await Archive.open(parts));
    return new SpoolScene(root, stack.move(), archive);
  }

  /** Until disposed, this process may not read everything; everything here is its own. */
  withoutRights(): Disposable {
    if (process.geteuid?.() !== 0) return { [Symbol.dispose]: () => {} };
    const { uid, gid } = serverAccount();
    execFileSync("chown", ["-R", `${uid}:${gid}`, this.#root]);
    process.seteuid?.(uid);
    return { [Symbol.dispose]: () => process.seteuid?.(0) };
  }

  /** Starts to drain, as the daemon does. */
  async start(options: Partial<SpoolOptions> = {}): Promise<RunningSpool> {
    const note = (level: string) => (fields: object, message: string) => {
      this.lines.push({ ...fields, message, level });
    };
    const log = { info: note("info"), warn: note("warn"), error: note("error") };
    this.#running = await startSpool({
      path: this.directory,
      cluster: "main",
      settleMs: 200,
      incompleteAfterMs: 60_000,
      push: this.push,
      log: log as unknown as SpoolOptions["log"],
      count: {
        pushed: (outcome) => this.counted.push(outcome),
        rejected: (reason) => this.counted.push(reason),
      },
      ...options,
    });
    return this.#running;
  }

  /** Stops draining; what is under way is left where it is. */
  async stop(): Promise<void> {
    await this.#running?.[Symbol.asyncDispose]();
    this.#running = undefined;
  }

  readonly push: Push = (name, body, options) => this.archive.push("main", name, body, options);

  get status(): SpoolStatus {
    if (this.#running === undefined) throw new Error("the spool is not running");
    return this.#running.spool.status();
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** Outside the spool. */
  elsewhere(name: string): string {
    return join(this.#root, name);
  }

  /** Puts a file into the spool as `cp` does; its path. */
  put(file: MadeFile): string {
    writeFileSync(this.path(file.name), file.bytes);
    return this.path(file.name);
  }

  /** What stands in the spool, hidden files and all, without the spool's own furniture. */
  names(): string[] {
    return readdirSync(this.directory)
      .filter((name) => name !== "rejected")
      .sort();
  }

  rejected(): string[] {
    if (!existsSync(this.path("rejected"))) return [];
    // But for the lock, which nobody looks for.
    return readdirSync(this.path("rejected"))
      .filter((name) => !name.startsWith(".walarc.lock"))
      .sort();
  }

  async archived(name: string): Promise<Buffer | undefined> {
    try {
      await using verified = await this.archive.fetch("main", requireWalName(name), { signal });
      return Buffer.concat(await Array.fromAsync(verified.plain()));
    } catch {
      return undefined;
    }
  }

  /**
   * Resolves when the spool is empty and has told everything about it: a file is gone from the
   * directory a moment before the spool has counted that.
   */
  async drained(deadlineMs = 30_000): Promise<void> {
    let emptyLooks = 0;
    const isEmpty = () => {
      const { files, rejected, problem } = this.status;
      const setAside = this.rejected();
      if (this.names().length > 0 || setAside.some(isHidden)) return false;
      return files === 0 && rejected === setAside.length && problem === null;
    };
    const look = () => {
      emptyLooks = isEmpty() ? emptyLooks + 1 : 0;
      return emptyLooks > 1;
    };
    const patience = { deadlineMs, evidence: () => this.evidence() };
    await eventually("the spool is empty", look, patience);
  }

  async until(what: string, probe: () => boolean, deadlineMs = 15_000): Promise<void> {
    await eventually(what, probe, { deadlineMs, intervalMs: 10, evidence: () => this.evidence() });
  }

  evidence(): string {
    const lines = this.lines
      .slice(-20)
      .map((line) => `${String(line["message"])} ${describe(line)}`);
    return [...this.names().slice(0, 20), ...lines, JSON.stringify(this.status)].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    await this.#stack.disposeAsync();
  }
}

function describe({ wal, entry, why, err }: Record<string, unknown>): string {
  return [wal, entry, why, err instanceof Error ? err.message : undefined].join(" ");
}

/** On its way into `rejected/`, or out of it. */
function isHidden(name: string): boolean {
  return name.startsWith(".");
}
