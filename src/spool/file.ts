import { type BigIntStats } from "node:fs";
import { lstat, type FileHandle } from "node:fs/promises";
import { isErrno } from "../disk/failure.ts";
import type { EntryStatus } from "./entry.ts";

/** One open file of a spool: the same content from here on, whatever its name comes to mean. */
export class SpoolFile implements AsyncDisposable {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async status(): Promise<EntryStatus> {
    return entryStatus(await this.#handle.stat({ bigint: true }));
  }

  /** Fills the buffer from `position` on as far as the file reaches; how many bytes. */
  async read(buffer: Buffer, position: number): Promise<number> {
    let filled = 0;
    while (filled < buffer.length) {
      const left = buffer.length - filled;
      const { bytesRead } = await this.#handle.read(buffer, filled, left, position + filled);
      if (bytesRead === 0) break;
      filled += bytesRead;
    }
    return filled;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }
}

/** What stands at the path, no link followed; `undefined` when nothing does. */
export async function statusAt(path: string): Promise<EntryStatus | undefined> {
  try {
    return entryStatus(await lstat(path, { bigint: true }));
  } catch (error) {
    if (isErrno(error) && error.code === "ENOENT") return undefined;
    throw error;
  }
}

function entryStatus(found: BigIntStats): EntryStatus {
  return {
    kind: kindOf(found),
    device: found.dev,
    inode: found.ino,
    sizeBytes: Number(found.size),
    modifiedNs: found.mtimeNs,
    changedNs: found.ctimeNs,
  };
}

function kindOf(found: BigIntStats): EntryStatus["kind"] {
  if (found.isFile()) return "file";
  if (found.isSymbolicLink()) return "symlink";
  return found.isDirectory() ? "directory" : "special";
}
