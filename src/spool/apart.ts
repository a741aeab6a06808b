/** Which directories can be spools beside each other, and why one cannot be used. */
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { isErrno } from "../disk/failure.ts";
import { lockFile } from "../disk/lock.ts";
import { isFailure, WalarcError } from "../errors.ts";
import { REJECTED_DIRECTORY } from "./entry.ts";

/** In `rejected/`, where only we may write; what stands beside it begins like it. */
export const SPOOL_LOCK = ".walarc.lock";

/** Rejects with `usage` when two are one directory: each would get a part of the other's WAL. */
export async function requireApart(paths: readonly string[]): Promise<void> {
  const known = new Map<string, string>();
  for (const path of paths) {
    // One that is not there yet cannot be compared.
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found === undefined) continue;
    const identity = `${found.dev}:${found.ino}`;
    const other = known.get(identity);
    if (other !== undefined) {
      throw new WalarcError("usage", `the spools "${other}" and "${path}" are one directory`, {
        hint: "give each a directory of its own: is one of them a link?",
      });
    }
    known.set(identity, path);
  }
}

/** A failure of the file system as the operator has to see it; what is none passes unchanged. */
export function cannotUse(path: string, error: unknown): unknown {
  if (!isErrno(error)) return error;
  const isMissing = error.code === "ENOENT" || error.code === "ENOTDIR";
  const why = isMissing ? "is not there" : `cannot be used: ${error.message}`;
  return new WalarcError("local", `the spool "${path}" ${why}`, {
    hint: isMissing
      ? "make it, or mount what it lies on; it is looked for again and again"
      : "the user that walarc runs as must be allowed to read and remove what is in it",
    cause: error,
  });
}

/**
 * Takes a usable spool against every other daemon. Rejects with `local` when another one drains it,
 * or nothing can be locked there.
 */
export async function lockSpool(path: string): Promise<Disposable> {
  try {
    return await lockFile(join(path, REJECTED_DIRECTORY, SPOOL_LOCK));
  } catch (error) {
    if (!isFailure(error, "store-failed")) throw cannotUse(path, error);
    throw new WalarcError("local", `the spool "${path}" is not ours alone: ${error.message}`, {
      hint: "two daemons must never drain one directory; give each one of its own",
      cause: error,
    });
  }
}
