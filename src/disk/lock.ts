import { access, constants, open, readFile, stat } from "node:fs/promises";
import { DatabaseSync } from "node:sqlite";
import { WalarcError } from "../errors.ts";
import { isErrno } from "./failure.ts";

const SQLITE_BUSY = 5;

/**
 * Takes `path` against every other process, and against a second time in this one.
 *
 * Node has no file lock of its own, but SQLite, which it carries, takes the kernel's for its files.
 * So the lock belongs to this process and not to what a file says: `kill -9` releases it, and no
 * stale number can name a stranger.
 *
 * What is held is a *shared* lock on a file open for reading: a file open for writing would forbid
 * to remount the file system read-only. It excludes all the same, because whoever takes it first
 * needs it exclusively for a moment, and one after another, through the gate. The databases stay
 * empty and the journal in memory: nothing is ever written, whatever becomes of the disk.
 *
 * Rejects with `store-failed` when it is taken, and with the system's error when the file cannot be
 * written (EROFS).
 */
export async function lockFile(path: string): Promise<Disposable> {
  const gatePath = `${path}.gate`;
  for (const file of [path, gatePath]) {
    await makeLockFile(file);
    await access(file, constants.W_OK); // SQLite would silently settle for a shared lock.
  }
  using _gate = await lock(gatePath, EXCLUSIVELY);
  {
    using _alone = await lock(path, EXCLUSIVELY);
  }
  return await lock(path, SHARED); // Not before it is held does the gate open.
}

interface LockKind {
  readonly readOnly: boolean;
  readonly sql: string;
}

const EXCLUSIVELY = { readOnly: false, sql: "PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE" };
const SHARED = { readOnly: true, sql: "BEGIN; SELECT * FROM sqlite_schema" };

async function lock(path: string, { readOnly, sql }: LockKind): Promise<Disposable> {
  const database = new DatabaseSync(path, { timeout: 0, readOnly });
  try {
    database.exec(sql);
  } catch (error) {
    database.close();
    if (!isBusy(error)) throw unusable(path, error);
    throw new WalarcError("store-failed", `"${path}" is locked by ${await holderOf(path)}`, {
      hint: "Does another walarc daemon serve this store? Two must never write one directory",
      cause: error,
    });
  }
  return { [Symbol.dispose]: () => database.close() };
}

/**
 * Never opens a file that is there: closing any descriptor of it would drop the lock that this very
 * process may hold on it (POSIX).
 */
async function makeLockFile(path: string): Promise<void> {
  try {
    const file = await open(path, "wx", 0o600);
    await file.close();
  } catch (error) {
    if (!isErrno(error) || error.code !== "EEXIST") throw error;
  }
}

function isBusy(error: unknown): boolean {
  return error instanceof Error && Reflect.get(error, "errcode") === SQLITE_BUSY;
}

function unusable(path: string, error: unknown): WalarcError {
  const why = error instanceof Error ? error.message : String(error);
  return new WalarcError("store-failed", `cannot lock "${path}": ${why}`, {
    hint: "Does the file system support locks, and is this file what walarc made?",
    cause: error,
  });
}

/** Who holds the lock, as far as the kernel says: it knows no process of another machine. */
async function holderOf(path: string): Promise<string> {
  try {
    const { ino } = await stat(path, { bigint: true });
    for (const line of (await readFile("/proc/locks", "utf8")).split("\n")) {
      // 1: POSIX  ADVISORY  READ 7235 fe:00:9978081 1073741826 1073742335
      const [, pid, inode] = /\s(?:READ|WRITE)\s+(\d+)\s+\S+:\S+:(\d+)\s/.exec(line) ?? [];
      if (pid !== undefined && inode === String(ino)) return `process ${pid}`;
    }
  } catch {
    // Only the message is poorer: the lock is refused either way.
  }
  return "another process";
}
