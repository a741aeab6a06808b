import { constants } from "node:fs";
import {
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  realpath,
  rename,
  rmdir,
  statfs,
  unlink,
  type FileHandle,
} from "node:fs/promises";
import type {
  DirectoryEntry,
  FileKind,
  FileStatus,
  FileSystem,
  FileSystemRoom,
  ReadableFile,
  WritableFile,
} from "./file-system.ts";
import { errno, isErrno } from "./failure.ts";
import { lockFile } from "./lock.ts";

const { O_CREAT, O_DIRECTORY, O_EXCL, O_NOFOLLOW, O_NONBLOCK, O_RDONLY, O_WRONLY } = constants;

const FILE_MODE = 0o600;
const DIRECTORY_MODE = 0o700;

/**
 * The file system of this machine. Only asynchronous calls: a disk that hangs takes threads of the
 * pool, and never the event loop.
 */
export class NodeFileSystem implements FileSystem {
  async resolve(path: string): Promise<string | undefined> {
    return expecting("ENOENT", undefined, realpath(path));
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    const found = await expecting("ENOENT", undefined, lstat(path, { bigint: true }));
    if (found === undefined) return undefined;
    return {
      kind: kindOf(found),
      sizeBytes: Number(found.size),
      mode: Number(found.mode) & 0o7777,
      device: found.dev,
      inode: found.ino,
    };
  }

  async makeDirectory(path: string): Promise<"made" | "exists"> {
    const made = await expecting("EEXIST", "exists", mkdir(path, { mode: DIRECTORY_MODE }));
    if (made === "exists") return "exists";
    // A umask takes permissions away, and one meant for files (0177) would lock us out.
    await chmod(path, DIRECTORY_MODE);
    return "made";
  }

  async create(path: string): Promise<WritableFile> {
    return new NodeWritableFile(
      await open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, FILE_MODE),
    );
  }

  async open(path: string): Promise<ReadableFile | undefined> {
    // Non-blocking, or a pipe in the place of a file would hold the thread until somebody writes.
    const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK;
    const handle = await expecting("ENOENT", undefined, open(path, flags));
    if (handle === undefined) return undefined;
    try {
      const found = await handle.stat();
      if (!found.isFile()) throw errno("EINVAL", `not a regular file, open "${path}"`);
      return new NodeReadableFile(handle, found.size);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  async link(from: string, to: string): Promise<"linked" | "exists"> {
    const linked = await expecting("EEXIST", "exists", link(from, to));
    return linked ?? "linked";
  }

  async rename(from: string, to: string): Promise<void> {
    await rename(from, to);
  }

  async removeDirectory(path: string): Promise<"removed" | "occupied"> {
    try {
      await rmdir(path);
    } catch (error) {
      if (!isErrno(error)) throw error;
      if (error.code === "ENOTEMPTY" || error.code === "EEXIST") return "occupied";
      if (error.code !== "ENOENT") throw error;
    }
    return "removed";
  }

  async remove(path: string): Promise<"removed" | "absent"> {
    const removed = await expecting("ENOENT", "absent", unlink(path));
    return removed ?? "removed";
  }

  async syncDirectory(path: string): Promise<"synced" | "absent"> {
    const handle = await expecting("ENOENT", undefined, open(path, O_RDONLY | O_DIRECTORY));
    if (handle === undefined) return "absent";
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
    return "synced";
  }

  async list(path: string): Promise<DirectoryEntry[] | undefined> {
    const entries = await expecting("ENOENT", undefined, readdir(path, { withFileTypes: true }));
    return entries?.map((entry) => ({ name: entry.name, kind: kindOf(entry) }));
  }

  async room(path: string): Promise<FileSystemRoom> {
    const { bsize, bavail, blocks, files, ffree } = await statfs(path);
    return {
      freeBytes: bavail * bsize,
      totalBytes: blocks * bsize,
      freeFiles: files === 0 ? undefined : ffree,
    };
  }

  async lock(path: string): Promise<Disposable> {
    return lockFile(path);
  }
}

class NodeWritableFile implements WritableFile {
  readonly #handle: FileHandle;

  constructor(handle: FileHandle) {
    this.#handle = handle;
  }

  async write(bytes: Uint8Array): Promise<void> {
    // At the file's own offset, not at one we count: a write that the system claims and never does
    // then leaves the file too short, and the size tells.
    let done = 0;
    while (done < bytes.byteLength) {
      const { bytesWritten } = await this.#handle.write(bytes, done, bytes.byteLength - done, null);
      if (bytesWritten === 0) throw errno("EIO", "write made no progress");
      done += bytesWritten;
    }
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async sizeBytes(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

class NodeReadableFile implements ReadableFile {
  readonly sizeBytes: number;
  readonly #handle: FileHandle;

  constructor(handle: FileHandle, sizeBytes: number) {
    this.#handle = handle;
    this.sizeBytes = sizeBytes;
  }

  async read(position: number, length: number): Promise<Buffer> {
    const buffer = Buffer.allocUnsafe(length);
    let done = 0;
    while (done < length) {
      const wanted = length - done;
      const { bytesRead } = await this.#handle.read(buffer, done, wanted, position + done);
      if (bytesRead === 0) break;
      done += bytesRead;
    }
    return buffer.subarray(0, done);
  }

  async sync(): Promise<void> {
    await this.#handle.sync();
  }

  async close(): Promise<void> {
    await this.#handle.close();
  }
}

interface HasKind {
  isFile(): boolean;
  isDirectory(): boolean;
}

function kindOf(entry: HasKind): FileKind {
  if (entry.isFile()) return "file";
  return entry.isDirectory() ? "directory" : "other";
}

/** The promise's value, or `instead` where it fails with the one error its caller expects. */
async function expecting<T, const U>(
  code: string,
  instead: U,
  promise: Promise<T>,
): Promise<T | U> {
  try {
    return await promise;
  } catch (error) {
    if (isErrno(error) && error.code === code) return instead;
    throw error;
  }
}
