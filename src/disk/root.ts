import { randomUUID } from "node:crypto";
import { dirname, join, resolve } from "node:path";
import { WalarcError } from "../errors.ts";
import { isErrno } from "./failure.ts";
import type { FileStatus, FileSystem } from "./file-system.ts";
import { StagedFile } from "./staged-file.ts";

const FORMAT = 1;
const MARKER = "walarc.json";
const LOCK = "walarc.lock";
const TEMPORARY = "walarc.tmp.";
const MARKER_BYTES_MAX = 64 * 1024;
const WRITABLE_BY_ALL = 0o002;

/**
 * The directory of a disk store: made when it is not there, marked with the format it has, locked
 * against a second daemon. Whatever has no mark, or one that we do not know, is left untouched.
 *
 * On a file system that is read-only it opens without the lock, so that a recovery can still fetch;
 * the first write then asks for the lock again.
 */
export class StoreRoot implements Disposable {
  readonly path: string;
  readonly #fileSystem: FileSystem;
  #lock: Disposable | undefined;
  #marker: FileStatus | undefined;

  private constructor(path: string, fileSystem: FileSystem) {
    this.path = path;
    this.#fileSystem = fileSystem;
  }

  /**
   * Rejects with `usage` when the directory is not one for us, `store-failed` when it is locked.
   */
  static async open(path: string, fileSystem: FileSystem): Promise<StoreRoot> {
    await makeDurably(resolve(path), fileSystem);
    const root = new StoreRoot((await fileSystem.resolve(path)) ?? path, fileSystem);
    await root.#requireSafe();
    const format = await root.#readFormat();
    if (format === undefined) await root.#requireEmpty();
    try {
      root.#lock = await fileSystem.lock(join(root.path, LOCK));
    } catch (error) {
      if (!isErrno(error) || error.code !== "EROFS" || format === undefined) throw error;
    }
    try {
      if ((await root.#readFormat()) === undefined) await root.#mark();
      root.#marker = await fileSystem.stat(join(root.path, MARKER));
      return root;
    } catch (error) {
      root[Symbol.dispose]();
      throw error;
    }
  }

  /**
   * Rejects with `store-failed` when the directory we opened is not here any more: removed, moved,
   * unmounted. Then a missing file says nothing, and nothing may be made in its place.
   */
  async requirePresent(): Promise<void> {
    const found = await this.#fileSystem.stat(join(this.path, MARKER));
    const { device, inode } = this.#marker ?? {};
    if (found !== undefined && found.device === device && found.inode === inode) return;
    throw new WalarcError("store-failed", `the store "${this.path}" is gone`, {
      hint: `Has it been removed, moved, unmounted, or its ${MARKER} replaced? Then restart walarc`,
    });
  }

  async requireWritable(): Promise<void> {
    await this.requirePresent();
    this.#lock ??= await this.#fileSystem.lock(join(this.path, LOCK));
  }

  /** A name in the root for a file that does not stay. */
  temporaryPath(): string {
    return join(this.path, TEMPORARY + randomUUID());
  }

  /** Removes what a crash left in the root itself. */
  async sweep(): Promise<void> {
    for (const { name } of (await this.#fileSystem.list(this.path)) ?? []) {
      if (name.startsWith(TEMPORARY)) await this.#fileSystem.remove(join(this.path, name));
    }
  }

  [Symbol.dispose](): void {
    this.#lock?.[Symbol.dispose]();
    this.#lock = undefined;
  }

  async #requireSafe(): Promise<void> {
    const found = await this.#fileSystem.stat(this.path);
    if (found?.kind !== "directory") {
      throw new WalarcError("usage", `the store "${this.path}" is not a directory`);
    }
    if ((found.mode & WRITABLE_BY_ALL) === 0) return;
    throw new WalarcError("usage", `the store "${this.path}" is writable by everybody`, {
      hint: `Look at what is in it, then: chmod o-w ${this.path}`,
    });
  }

  /** `undefined` where there is no mark; rejects with `usage` where it is not ours. */
  async #readFormat(): Promise<number | undefined> {
    const path = join(this.path, MARKER);
    const file = await this.#fileSystem.open(path);
    if (file === undefined) return undefined;
    let text;
    try {
      text = (await file.read(0, MARKER_BYTES_MAX)).toString();
    } finally {
      await file.close();
    }
    const format = formatIn(text);
    if (format === FORMAT) return format;
    if (typeof format === "number") {
      throw new WalarcError("usage", `the store "${this.path}" has format ${format}`, {
        hint: `This walarc knows format ${FORMAT} and changed nothing; use the one that made it`,
      });
    }
    throw new WalarcError("usage", `"${path}" does not tell the format of the store`, {
      hint: `If the directory is a store of format ${FORMAT}, write {"format": ${FORMAT}} into it`,
    });
  }

  async #requireEmpty(): Promise<void> {
    const entries = (await this.#fileSystem.list(this.path)) ?? [];
    const foreign = entries.find(({ name }) => {
      return name !== "lost+found" && !name.startsWith(LOCK) && !name.startsWith(TEMPORARY);
    });
    if (foreign === undefined) return;
    throw new WalarcError("usage", `"${this.path}" is not a store of walarc, but is not empty`, {
      hint: `Is it the right directory? It holds "${foreign.name}" and no ${MARKER}`,
    });
  }

  async #mark(): Promise<void> {
    await using file = await StagedFile.create(this.temporaryPath(), this.#fileSystem);
    await file.write(Buffer.from(`${JSON.stringify({ format: FORMAT })}\n`));
    await file.seal();
    await this.#fileSystem.rename(file.path, join(this.path, MARKER));
    await file.take();
    await this.#fileSystem.syncDirectory(this.path);
  }
}

function formatIn(text: string): unknown {
  try {
    const parsed: unknown = JSON.parse(text);
    return typeof parsed === "object" && parsed !== null
      ? Reflect.get(parsed, "format")
      : undefined;
  } catch {
    return undefined; // No JSON, so no format either.
  }
}

/** Makes a directory and what is missing above it, each durable before the next. */
async function makeDurably(path: string, fileSystem: FileSystem): Promise<void> {
  const parent = dirname(path);
  if ((await fileSystem.resolve(path)) !== undefined) {
    // An earlier start may have made it and died before syncing its name.
    return syncIfAllowed(parent, fileSystem);
  }
  await makeDurably(parent, fileSystem);
  await fileSystem.makeDirectory(path);
  await fileSystem.syncDirectory(parent);
}

/** What we may not even open for reading is not where we made a directory. */
async function syncIfAllowed(path: string, fileSystem: FileSystem): Promise<void> {
  try {
    await fileSystem.syncDirectory(path);
  } catch (error) {
    if (!isErrno(error) || !["EACCES", "EPERM", "EROFS", "EINVAL"].includes(error.code))
      throw error;
  }
}
