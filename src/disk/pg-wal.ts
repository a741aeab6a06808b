/** The WAL directory of a PostgreSQL server on this host, read by the daemon itself. */
import { constants } from "node:fs";
import { access, type FileHandle, open, opendir } from "node:fs/promises";
import { join } from "node:path";
import { WalarcError } from "../errors.ts";
import { isErrno } from "./failure.ts";
import { pageAligned, WalBlocks } from "./wal-blocks.ts";

/** A file for which there is no room as a whole comes in chunks of this size. */
const BLOCK_BYTES = 1024 * 1024;

const wholeBlocks = new WalBlocks();

/** One opened WAL file of PostgreSQL. */
export interface LocalWalFile extends AsyncDisposable {
  readonly sizeBytes: number;
  /** `device:inode:size:mtime_ns`: the same only for the same file with the same content. */
  readonly identity: string;
  /**
   * Its content; a chunk is valid until the next one is asked for. Rejects with `rejected` when the
   * file has changed meanwhile: PostgreSQL recycles a segment by writing the next one into it.
   */
  chunks(): AsyncIterable<Buffer>;
}

const STATUS_DIRECTORY = "archive_status";
const READY = ".ready";
/** Of one reading of a directory; a backlog can have a hundred thousand entries. */
const ENTRIES_AT_ONCE = 1024;

/**
 * `pg_wal` below a data directory. Names come parsed, so they never lead out of it, and what
 * stands under a name is opened without following links. Nothing is ever written.
 */
export class PgWal {
  readonly #directory: string;

  constructor(dataDirectory: string) {
    this.#directory = join(dataDirectory, "pg_wal");
  }

  /** Rejects with `usage` when the daemon cannot read it there: the caller has to send it. */
  async open(name: string): Promise<LocalWalFile> {
    const path = join(this.#directory, name);
    const { O_RDONLY, O_NOFOLLOW, O_NONBLOCK } = constants;
    let handle: FileHandle | undefined;
    try {
      handle = await open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
      return await PgWalFile.of(handle, path);
    } catch (error) {
      await handle?.close();
      if (!isErrno(error)) throw error;
      throw new WalarcError("usage", `the daemon cannot read "${path}" (${error.code})`, {
        hint: "send the file itself, or let the daemon's account read the data directory",
        cause: error,
      });
    }
  }

  /**
   * Names that have a `.ready` in `archive_status`, in no order: files that PostgreSQL has finished
   * and wants to see archived. None where that cannot be read.
   */
  async *ready(): AsyncGenerator<string, void, void> {
    const directory = join(this.#directory, STATUS_DIRECTORY);
    try {
      for await (const { name } of await opendir(directory, { bufferSize: ENTRIES_AT_ONCE })) {
        if (name.endsWith(READY)) yield name.slice(0, -READY.length);
      }
    } catch (error) {
      if (!isErrno(error)) throw error;
    }
  }

  /** Whether PostgreSQL wants to see the file archived and is not done with it. */
  async isReady(name: string): Promise<boolean> {
    try {
      await access(join(this.#directory, STATUS_DIRECTORY, name + READY));
      return true;
    } catch (error) {
      if (!isErrno(error)) throw error;
      return false;
    }
  }
}

class PgWalFile implements LocalWalFile {
  readonly sizeBytes: number;
  readonly identity: string;
  readonly #handle: FileHandle;
  readonly #path: string;

  private constructor(handle: FileHandle, path: string, found: FileIdentity) {
    this.#handle = handle;
    this.#path = path;
    this.sizeBytes = Number(found.size);
    this.identity = identityOf(found);
  }

  static async of(handle: FileHandle, path: string): Promise<PgWalFile> {
    const found = await handle.stat({ bigint: true });
    if (!found.isFile()) throw new WalarcError("usage", `"${path}" is no regular file`);
    return new PgWalFile(handle, path, found);
  }

  async *chunks(): AsyncGenerator<Buffer, void, void> {
    const whole = this.sizeBytes > 0 ? wholeBlocks.take(this.sizeBytes) : undefined;
    if (whole === undefined) return yield* this.#chunksIn(pageAligned(BLOCK_BYTES));
    let isFree = false;
    try {
      yield* this.#chunksIn(whole);
      isFree = true;
    } finally {
      // Whoever did not come to the end may have another thread that still reads it.
      if (isFree) wholeBlocks.giveBack(whole);
      else wholeBlocks.drop(whole);
    }
  }

  async *#chunksIn(block: Buffer): AsyncGenerator<Buffer, void, void> {
    let position = 0;
    for (;;) {
      const { bytesRead } = await this.#handle.read(block, 0, block.length, position);
      if (bytesRead === 0) break;
      position += bytesRead;
      if (position >= this.sizeBytes) await this.#requireUnchanged();
      yield block.subarray(0, bytesRead);
    }
    await this.#requireUnchanged();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#handle.close();
  }

  async #requireUnchanged(): Promise<void> {
    if (identityOf(await this.#handle.stat({ bigint: true })) === this.identity) return;
    throw new WalarcError("rejected", `"${this.#path}" changed while it was read`);
  }
}

interface FileIdentity {
  readonly dev: bigint;
  readonly ino: bigint;
  readonly size: bigint;
  readonly mtimeNs: bigint;
}

function identityOf({ dev, ino, size, mtimeNs }: FileIdentity): string {
  return `${dev}:${ino}:${size}:${mtimeNs}`;
}
