import { type ChildProcess, spawn } from "node:child_process";
import { chmodSync } from "node:fs";
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
import { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Account, serverAccount } from "./account.ts";
import { runCommand } from "./child.ts";

/**
 * Tidies up after a test run that was broken off: it ends what was started from the directory, and
 * removes that. It hears of the end by the pipe between them, which closes whatever ends the run;
 * of a workspace that was disposed it is told by a line.
 */
const GUARD = `
read -r line && exit
for signal in QUIT KILL; do
  for file in $(grep -lsF "$1/" /proc/[0-9]*/cmdline); do
    pid=\${file#/proc/}
    kill -$signal "\${pid%/cmdline}" 2>/dev/null
  done
  sleep 1
done
rm -rf "$1"
`;

/**
 * A temporary directory that the server account owns and can enter, whoever runs the tests and
 * wherever the checkout lies. Paths are short, because a unix socket's may have 107 bytes only.
 */
export class Workspace implements AsyncDisposable {
  readonly directory: string;
  readonly account: Account;
  readonly #guard: ChildProcess;

  private constructor(directory: string, account: Account) {
    this.directory = directory;
    this.account = account;
    this.#guard = guard(directory);
  }

  static async create(): Promise<Workspace> {
    const account = serverAccount();
    for (const parent of [tmpdir(), "/tmp"]) {
      const directory = await mkdtemp(join(parent, "walarc-"));
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
    this.#guard.stdin?.end("done\n");
  }

  async #give(path: string): Promise<void> {
    if (process.getuid?.() === 0) await chown(path, this.account.uid, this.account.gid);
  }
}

function guard(directory: string): ChildProcess {
  const child = spawn("/bin/sh", ["-c", GUARD, "guard", directory], {
    detached: true, // Not to be ended by what ends the run.
    stdio: ["pipe", "ignore", "ignore"],
  });
  // The run need not wait for it.
  child.unref();
  if (child.stdin instanceof Socket) child.stdin.unref();
  return child;
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
