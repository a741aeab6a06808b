import { randomBytes } from "node:crypto";
import { lstatSync, readdirSync, unlinkSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { VerifiedFile } from "../client/verified-file.ts";
import { WalarcError } from "../errors.ts";

/** Names no WAL file can have, so that PostgreSQL never takes an unfinished one for a segment. */
const TEMPORARY_NAME = /^\.walarc-fetch\.([1-9][0-9]{0,9})\.[0-9a-f]{12}$/;

/** No fetch runs for so long: whatever is older has no owner, even where its number lives on. */
const ABANDONED_AFTER_MS = 3_600_000;

/** What PostgreSQL or a person ends a command with. */
const SIGNALS = ["SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT"] as const;

/**
 * A file on its way to `destination`: written beside it under a name of its own, and renamed when
 * it is proven whole. Without `publish` nothing remains, also when a signal ends the process. It is
 * not synced: PostgreSQL syncs what it restores (durable_rename in xlogarchive.c; pg_rewind syncs
 * the whole data directory), and a file that a power cut takes is fetched again.
 */
export class Delivery implements Disposable {
  readonly #destination: string;
  #file: VerifiedFile | undefined;

  /** Creates the temporary file. Throws `local`. */
  constructor(destination: string) {
    this.#destination = destination;
    const name = `.walarc-fetch.${process.pid}.${randomBytes(6).toString("hex")}`;
    for (const signal of SIGNALS) process.once(signal, this.#die);
    this.#local(() => {
      requireReplaceable(destination);
      this.#file = new VerifiedFile(join(dirname(destination), name));
    });
  }

  write(bytes: Buffer): void {
    this.#local(() => this.#file?.write(bytes));
  }

  /** Puts the file in place if its bytes have this digest (hex). Throws `corrupt`, `local`. */
  publish(sha256: string): void {
    this.#local(() => {
      this.#file?.proveDigest(sha256);
      this.#file?.publish(this.#destination);
    });
  }

  [Symbol.dispose](): void {
    this.#file?.discard();
    for (const signal of SIGNALS) process.removeListener(signal, this.#die);
  }

  /** Leaves nothing behind and dies as if there had been no handler, which PostgreSQL looks at. */
  readonly #die = (signal: NodeJS.Signals): void => {
    this[Symbol.dispose]();
    process.kill(process.pid, signal);
  };

  #local<T>(step: () => T): T {
    try {
      return step();
    } catch (error) {
      this[Symbol.dispose]();
      throw error instanceof WalarcError ? error : cannotWrite(this.#destination, error);
    }
  }
}

/** What a failure of the local file system means to the caller. */
export function cannotWrite(destination: string, error: unknown): WalarcError {
  const why = error instanceof Error ? error.message : String(error);
  const what = `cannot write ${JSON.stringify(destination)}`;
  return new WalarcError("local", `${what}: ${why}`, { cause: error });
}

/** Removes what killed fetches left in the directory; whatever cannot be removed stays. */
export function sweepAbandoned(directory: string): void {
  for (const name of namesIn(directory)) {
    const [, pid] = TEMPORARY_NAME.exec(name) ?? [];
    if (pid === undefined) continue;
    const path = join(directory, name);
    try {
      if (isAbandoned(path, Number(pid))) unlinkSync(path);
    } catch {
      // Somebody else swept it, or it is not ours to remove.
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return []; // The delivery itself will say what is wrong with the directory.
  }
}

function isAbandoned(path: string, pid: number): boolean {
  // Our own number is a former owner's: in containers they come round quickly.
  if (pid === process.pid || !isRunning(pid)) return true;
  return Date.now() - lstatSync(path).mtimeMs > ABANDONED_AFTER_MS;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== "ESRCH";
  }
}

/** Throws `local`: a rename would silently replace a device or a link by a file. */
export function requireReplaceable(destination: string): void {
  const stats = lstatSync(destination, { throwIfNoEntry: false });
  if (stats === undefined || stats.isFile()) return;
  const what = stats.isDirectory() ? "is a directory" : "is no regular file";
  const hint = stats.isDirectory() ? { hint: `name the file: ${join(destination, "NAME")}` } : {};
  throw new WalarcError("local", `${JSON.stringify(basename(destination))} ${what}`, hint);
}
