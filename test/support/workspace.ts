import { chmodSync, rmSync } from "node:fs";
import {
  chmod,
  chown,
  copyFile,
  link,
  mkdir,
  mkdtemp,
  rm,
  stat,
  writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Account, serverAccount } from "./account.ts";
import { runCommand } from "./child.ts";

/** Directories not yet disposed, so that a test run which dies early removes them too. */
const directories = new Set<string>();
process.once("exit", () => {
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
});

/**
 * A temporary directory that the server account owns and can enter, whoever runs the tests and
 * wherever the checkout lies. Paths are short, because a unix socket's may have 107 bytes only.
 */
export class Workspace implements AsyncDisposable {
  readonly directory: string;
  readonly account: Account;

  private constructor(directory: string, account: Account) {
    this.directory = directory;
    this.account = account;
  }

  static async create(): Promise<Workspace> {
    const account = serverAccount();
    for (const parent of [tmpdir(), "/tmp"]) {
      const directory = await mkdtemp(join(parent, "walarc-"));
      directories.add(directory);
      const workspace = new Workspace(directory, account);
      await chmod(directory, 0o755);
      await workspace.#give(directory);
      const surroundings = { account, cwd: "/", env: {} };
      const entered = await runCommand("/usr/bin/env", ["test", "-w", directory], surroundings);
      if (entered.status === 0) return workspace;
      await workspace[Symbol.asyncDispose]();
    }
    throw new Error(`the account ${account.name} can write neither in ${tmpdir()} nor in /tmp`);
  }

  path(...parts: string[]): string {
    return join(this.directory, ...parts);
  }

  /** A new directory that belongs to the account. */
  async makeDirectory(...parts: string[]): Promise<string> {
    const path = this.path(...parts);
    await mkdir(path, { mode: 0o700 });
    await this.#give(path);
    return path;
  }

  /** A file that belongs to the account. */
  async writeFile(path: string, content: string | Uint8Array, mode = 0o644): Promise<string> {
    await writeFile(path, content, { mode });
    await this.#give(path);
    return path;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.directory, { recursive: true, force: true, maxRetries: 5 });
    directories.delete(this.directory);
  }

  async #give(path: string): Promise<void> {
    if (process.getuid?.() === 0) await chown(path, this.account.uid, this.account.gid);
  }
}

/** The same file at a second place, readable by all: linked where that will do, else copied. */
export async function linkOrCopy(source: string, target: string): Promise<void> {
  const { mode } = await stat(source);
  const open =
    mode |
    ((mode & 0o400) >> 3) |
    ((mode & 0o400) >> 6) |
    ((mode & 0o100) >> 6) |
    ((mode & 0o100) >> 3);
  if ((mode & 0o777) === (open & 0o777)) {
    try {
      return await link(source, target);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code !== "EXDEV" && code !== "EPERM" && code !== "EMLINK") throw error;
    }
  }
  await copyFile(source, target);
  chmodSync(target, open & 0o777);
}
