import { chown, mkdir, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach } from "vitest";
import { type Outcome, runCommand } from "./child.ts";
import { type DaemonOptions, WalarcDaemon } from "./daemon.ts";
import { eventually } from "./eventually.ts";
import { type Installation, installWalarc } from "./installation.ts";
import type { MadeFile } from "./wal-maker.ts";
import { Workspace } from "./workspace.ts";

export interface SceneDaemonOptions extends Partial<DaemonOptions> {
  /**
   * Threads for calls on files. One makes their order, and so the n-th call, the same every time;
   * and io_uring, which strace cannot see, stays off.
   */
  readonly workers?: number;
}

/** `moreConfig` for an archive with backup history files of which nothing may be pruned. */
export const KEEP_ALL = `[clusters.main.retention]
keep_backups = 10000
`;

/** Real daemons and real commands, for faults to be played on; no PostgreSQL takes part. */
export class FaultScene implements AsyncDisposable {
  readonly workspace: Workspace;
  readonly installation: Installation;
  readonly #stack: AsyncDisposableStack;
  readonly #daemons: WalarcDaemon[] = [];

  private constructor(stack: AsyncDisposableStack, parts: [Workspace, Installation]) {
    this.#stack = stack;
    [this.workspace, this.installation] = parts;
  }

  static async open(): Promise<FaultScene> {
    await using stack = new AsyncDisposableStack();
    const workspace = stack.use(await Workspace.create());
    const installation = await installWalarc(workspace);
    return new FaultScene(stack.move(), [workspace, installation]);
  }

  /** A daemon that is not started yet; it ends with the scene. */
  async prepareDaemon(options: SceneDaemonOptions = {}): Promise<WalarcDaemon> {
    const { workers, ...others } = options;
    const { workspace, installation } = this;
    const name = `walarc${this.#daemons.length}`;
    const threads = workers === undefined ? {} : { UV_THREADPOOL_SIZE: String(workers) };
    const env = { ...installation.env, UV_USE_IO_URING: "0", ...threads };
    const daemon = await WalarcDaemon.prepare({
      workspace,
      installation: { ...installation, env },
      name,
      ...others,
    });
    this.#daemons.push(daemon);
    this.#stack.use(daemon);
    return daemon;
  }

  async daemon(options: SceneDaemonOptions = {}): Promise<WalarcDaemon> {
    const daemon = await this.prepareDaemon(options);
    await daemon.start();
    return daemon;
  }

  /** Keeps something until the scene ends; what was kept last ends first. */
  keep<T extends AsyncDisposable>(thing: T): T {
    return this.#stack.use(thing);
  }

  /** A directory for a store on a file system of its own, owned by the daemon's account. */
  async storeOn(mountPoint: string): Promise<string> {
    const { uid, gid } = this.workspace.account;
    const directory = join(mountPoint, "store");
    await mkdir(directory, { mode: 0o700 });
    await chown(directory, uid, gid);
    return directory;
  }

  /** Runs `walarc` as the archiver of a server would. */
  async walarc(
    args: readonly string[],
    options: { server: string; timeoutSeconds?: number; cwd?: string },
  ): Promise<Outcome> {
    const { workspace, installation } = this;
    const timeout = { WALARC_TIMEOUT: String(options.timeoutSeconds ?? 30) };
    return runCommand(installation.walarc, args, {
      account: workspace.account,
      cwd: options.cwd ?? workspace.directory,
      env: { ...installation.env, WALARC_SERVER: options.server, ...timeout },
      timeoutMs: 120_000,
    });
  }

  /** `walarc push` of a file in a directory of its own; its exit status. */
  async push(
    file: MadeFile,
    options: { server: string; cluster?: string; timeoutSeconds?: number },
  ): Promise<Outcome> {
    const cluster = options.cluster === undefined ? [] : ["--cluster", options.cluster];
    return this.walarc(["push", ...cluster, await this.source(file)], options);
  }

  /** Writes the file where the commands can read it; its path. */
  async source(file: MadeFile): Promise<string> {
    const directory = this.workspace.path(`source${(this.#sources += 1)}`);
    await mkdir(directory, { mode: 0o755 });
    const path = join(directory, file.name);
    await writeFile(path, file.bytes, { mode: 0o644 });
    return path;
  }
  #sources = 0;

  /** The end of every daemon's log. */
  logTails(): string {
    return this.#daemons.map((daemon) => daemon.logTail()).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

/** Prints what the daemons said when a test fails. */
export function reportLogsOf(scene: () => FaultScene | undefined): void {
  afterEach(({ task }) => {
    if (task.result?.state === "fail") process.stderr.write(`${scene()?.logTails()}\n`);
  });
}

/** Every file below `directory` that callers have brought: path relative to it, size and inode. */
export async function filesBelow(directory: string): Promise<Map<string, StoredFile>> {
  const files = new Map<string, StoredFile>();
  const entries = await readdir(directory, { recursive: true, withFileTypes: true });
  for (const entry of entries.filter((entry) => entry.isFile() && !OWN_WRITING.test(entry.name))) {
    const path = join(entry.parentPath, entry.name);
    const { size, ino } = await stat(path);
    files.set(path.slice(directory.length + 1), { sizeBytes: size, inode: ino });
  }
  return files;
}

/** What the daemon writes by itself at any time: its probes, and how long it has served. */
export const OWN_WRITING = /(?:^|\/)(?:walarc\.tmp\.[^/]*|service\.json)$/;

export interface StoredFile {
  readonly sizeBytes: number;
  readonly inode: number;
}

/** Resolves when a store holds nothing temporary: what is staged, and what the probes write. */
export async function nothingStaged(storeDirectory: string): Promise<void> {
  let staged: string[] = [];
  const look = async () => {
    const paths = (await readdir(storeDirectory, { recursive: true })).sort();
    staged = paths.filter((path) => /(?:^|\/)tmp\/.|^walarc\.tmp\./.test(path));
    return staged.length === 0;
  };
  const patience = { deadlineMs: 5_000, evidence: () => staged.join("\n") };
  await eventually(`${storeDirectory} holds nothing temporary`, look, patience);
}
