import { execFile } from "node:child_process";
import { mkdtemp, rmdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const run = promisify(execFile);

/** A small file system in memory, to be filled, remounted and thrown away. Needs root. */
export class TmpfsMount implements AsyncDisposable {
  readonly path: string;

  private constructor(path: string) {
    this.path = path;
  }

  /** `options` as mount takes them: `size=8m,nr_inodes=20`. */
  static async create(options: string): Promise<TmpfsMount> {
    const path = await mkdtemp(join(tmpdir(), "walarc-tmpfs-"));
    await run("mount", ["-t", "tmpfs", "-o", `mode=0700,${options}`, "walarc-test", path]);
    return new TmpfsMount(path);
  }

  async remount(options: string): Promise<void> {
    await run("mount", ["-o", `remount,${options}`, this.path]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await run("umount", ["--lazy", this.path]);
    await rmdir(this.path);
  }
}
