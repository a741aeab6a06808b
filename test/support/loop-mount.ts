import { execFile, execFileSync } from "node:child_process";
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { eventually } from "./eventually.ts";
import { systemEnvironment } from "./fault-tools.ts";

const run = promisify(execFile);

export type FileSystemKind = "ext4" | "xfs";

export interface LoopOptions {
  /** New mkfs.xfs wants 300 MB at least. */
  readonly sizeBytes?: number;
  /** More arguments for mkfs (`-N` for few inodes). */
  readonly mkfs?: readonly string[];
}

/** Tells our directories from others', and whether their test run is still alive. */
const PREFIX = "walarc-loop-";

/** FS_IOC_SHUTDOWN (linux/fs.h, XFS_IOC_GOINGDOWN) with "do not flush the log". */
const SHUTDOWN = 0x8004587d;
const NO_LOG_FLUSH = 2;

const mounted = new Set<LoopMount>();
process.once("exit", () => {
  for (const mount of mounted) mount.abandon();
});

/**
 * A file system of its own in a file, on which the power can be cut. What was not made durable is
 * then gone, as after a real cut: the page cache, and what the journal had not yet committed. ext4
 * is mounted with commit=300, so that no timer commits the journal for a writer who forgot to.
 */
export class LoopMount implements AsyncDisposable {
  /** The mount point. */
  readonly path: string;
  readonly kind: FileSystemKind;
  readonly #directory: string;
  readonly #image: string;
  #frozen = false;

  private constructor(kind: FileSystemKind, directory: string) {
    this.kind = kind;
    this.#directory = directory;
    this.#image = join(directory, "image");
    this.path = join(directory, "mount");
  }

  static async create(kind: FileSystemKind, options: LoopOptions = {}): Promise<LoopMount> {
    sweepLeftovers();
    const directory = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`));
    const loop = new LoopMount(kind, directory);
    mounted.add(loop);
    try {
      chmodSync(directory, 0o755);
      mkdirSync(loop.path);
      writeFileSync(loop.#image, "");
      truncateSync(loop.#image, options.sizeBytes ?? 512 * 1024 * 1024);
      await system(`mkfs.${kind}`, "-q", ...(options.mkfs ?? []), loop.#image);
      await loop.#mount();
      return loop;
    } catch (error) {
      await loop[Symbol.asyncDispose]();
      throw error;
    }
  }

  /**
   * From now on the file system answers every call with an error, and nothing more reaches its
   * disk. Synchronous, so that not one more call of this process slips in between.
   */
  pullPlug(): void {
    const script = `open(F, "<", $ARGV[0]) or die $!; $how = pack("I", ${NO_LOG_FLUSH});
      ioctl(F, ${SHUTDOWN}, $how) or die $!`;
    execFileSync("perl", ["-e", script, this.path], { env: systemEnvironment() });
  }

  /** What a machine finds when it comes up again. Whoever used the file system must be dead. */
  async comeBack(): Promise<void> {
    await this.unmount();
    await this.#mount();
  }

  /** The power fails and comes back. */
  async cutPower(): Promise<void> {
    this.pullPlug();
    await this.comeBack();
  }

  async remount(options: string): Promise<void> {
    await system("mount", "-o", `remount,${options}`, this.path);
  }

  /** Every write waits, uninterruptibly, until `thaw`: what a hung disk looks like from above. */
  async freeze(): Promise<void> {
    await system("fsfreeze", "--freeze", this.path);
    this.#frozen = true;
  }

  async thaw(): Promise<void> {
    this.#frozen = false;
    await system("fsfreeze", "--unfreeze", this.path);
  }

  /** Shows the file system at a second place as well, until disposed. */
  async showAt(path: string): Promise<AsyncDisposable> {
    await system("mount", "--bind", this.path, path);
    this.#shownAt.push(path);
    return { [Symbol.asyncDispose]: () => this.#hide(path) };
  }
  readonly #shownAt: string[] = [];

  async #hide(path: string): Promise<void> {
    if (isMounted(path)) await system("umount", "--lazy", path);
  }

  async unmount(): Promise<void> {
    // A killed process lets go of its files a moment after its death was reported.
    const patience = { deadlineMs: 10_000, intervalMs: 20 };
    await eventually(
      `${this.path} is free`,
      async () => {
        await system("umount", this.path);
        return true;
      },
      patience,
    );
    // Mount namespaces that other tests have made meanwhile hold copies of the mount, for a moment
    // or as long as they last. Until they let go it would be the same file system that comes back.
    await eventually(
      `${this.#image} is free`,
      async () => {
        const { stdout } = await run("losetup", ["-j", this.#image], { env: systemEnvironment() });
        return stdout.trim() === "";
      },
      { ...patience, deadlineMs: 60_000 },
    );
  }

  async #mount(): Promise<void> {
    const options = this.kind === "ext4" ? "loop,commit=300" : "loop";
    await system("mount", "-t", this.kind, "-o", options, this.#image, this.path);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#frozen) await this.thaw();
    for (const path of this.#shownAt) await this.#hide(path);
    if (isMounted(this.path)) {
      await this.unmount().catch(() => system("umount", "--lazy", this.path));
    }
    rmSync(this.#directory, { recursive: true, force: true });
    mounted.delete(this);
  }

  /** The last resort of a test run that dies early. */
  abandon(): void {
    const thaw = ["--unfreeze", this.path];
    if (this.#frozen) execFileSync("fsfreeze", thaw, { env: systemEnvironment() });
    for (const path of this.#shownAt.filter(isMounted)) {
      execFileSync("umount", ["--lazy", path], { env: systemEnvironment() });
    }
    removeLeftover(this.#directory);
  }
}

/** Removes what test runs left that died without a chance to clean up. */
function sweepLeftovers(): void {
  for (const entry of readdirSync(tmpdir())) {
    const [, pid] = new RegExp(`^${PREFIX}(\\d+)-`).exec(entry) ?? [];
    if (pid !== undefined && !isAlive(Number(pid))) removeLeftover(join(tmpdir(), entry));
  }
}

function removeLeftover(directory: string): void {
  const mountPoint = join(directory, "mount");
  // Lazily: a process that died with the run may still be letting go.
  if (isMounted(mountPoint)) {
    execFileSync("umount", ["--lazy", mountPoint], { env: systemEnvironment() });
  }
  rmSync(directory, { recursive: true, force: true });
}

function isMounted(path: string): boolean {
  return readFileSync("/proc/self/mounts", "utf8").includes(` ${path} `);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

async function system(program: string, ...args: string[]): Promise<void> {
  await run(program, args, { env: systemEnvironment() });
}
