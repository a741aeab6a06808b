/**
 * The directory of a spool. It belongs to others as much as to us: every call here expects that
 * what a name stands for changes between two calls, and follows no link.
 */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import {
  copyFile,
  link,
  lstat,
  mkdir,
  open,
  opendir,
  readdir,
  realpath,
  rename,
  statfs,
  unlink,
  type FileHandle,
} from "node:fs/promises";
import { basename, dirname, join, relative } from "node:path";
import { isErrno } from "../disk/failure.ts";
import { WalarcError } from "../errors.ts";
import { cannotUse, SPOOL_LOCK } from "./apart.ts";
import { type EntryStatus, isSameContent, REJECTED_DIRECTORY } from "./entry.ts";
import { SpoolFile, statusAt } from "./file.ts";

const { O_NOFOLLOW, O_NONBLOCK, O_RDONLY } = constants;
const WRITABLE_BY_ALL = 0o002;
const WRITABLE_BY_OTHERS = 0o022;
const STICKY = 0o1000;
/** What is being removed, or was when we died: never a name that somebody looks for. */
const HIDDEN = /^\.removing\.(.+)\.[0-9a-f]{12}$/s;
/** Names read from a directory at once; each costs some hundred bytes for a moment. */
const NAMES_AT_ONCE = 2048;
const NAME_LENGTH_MAX = 60;

/** What became of a name that was to be taken out of the spool. */
export type Removal =
  | { readonly kind: "done"; readonly as?: string }
  /** The name stands for something else by now, which is untouched. */
  | { readonly kind: "changed" }
  | { readonly kind: "gone" };

export class SpoolDirectory {
  readonly path: string;
  /** As it was when it was found good. */
  #goodState: string | undefined;
  /** Something may stand under a hidden name that is to get its own back. */
  #hasInterrupted = true;

  constructor(path: string) {
    this.path = path;
  }

  /**
   * Rejects with `usage` when nobody should drain it as it is, and with `local` when that cannot be
   * told or it is not there.
   */
  async requireUsable(): Promise<void> {
    const found = await this.#local(() => lstat(this.path));
    // What was found good stays so until somebody changes it; looking is all that idling costs.
    const state = [found.dev, found.ino, found.mode, found.uid].join();
    if (state === this.#goodState && !found.isSymbolicLink()) return;
    if (found.isSymbolicLink()) {
      // A link that an administrator made is fine; what it points to must be as well.
      const target = await this.#local(() => realpath(this.path));
      return new SpoolDirectory(target).requireUsable();
    }
    if (!found.isDirectory()) {
      throw new WalarcError("usage", `the spool "${this.path}" is no directory`);
    }
    await this.#requireSafe(found);
    await this.#requireRejected();
    this.#goodState = state;
  }

  async #requireSafe(found: { mode: number; uid: number }): Promise<void> {
    if ((found.mode & WRITABLE_BY_ALL) !== 0) {
      throw new WalarcError("usage", `the spool "${this.path}" is writable by everybody`, {
        hint: `look at what is in it, then: chmod o-w ${this.path}`,
      });
    }
    // Whoever may rename it, or what it lies in, may put something else in its place.
    let owner = found.uid;
    let below = await this.#local(() => realpath(this.path));
    for (let above = dirname(below); above !== below; above = dirname(above)) {
      const { mode, uid } = await this.#local(() => lstat(above));
      const isOurs = owner === process.geteuid?.() || owner === 0;
      if ((mode & WRITABLE_BY_ALL) !== 0 && !((mode & STICKY) !== 0 && isOurs)) {
        throw new WalarcError("usage", `the spool lies in "${above}", which everybody can change`, {
          hint: "choose a place that only administrators can change",
        });
      }
      [below, owner] = [above, uid];
    }
  }

  /** Only what nobody else can change is a safe place to move things to. */
  async #requireRejected(): Promise<void> {
    const path = join(this.path, REJECTED_DIRECTORY);
    try {
      await mkdir(path, { mode: 0o700 });
    } catch (error) {
      if (!isErrno(error) || error.code !== "EEXIST") throw cannotUse(this.path, error);
    }
    const found = await this.#local(() => lstat(path));
    const isOwn = found.uid === process.geteuid?.() || found.uid === 0;
    if (found.isDirectory() && isOwn && (found.mode & WRITABLE_BY_OTHERS) === 0) return;
    throw new WalarcError("usage", `"${path}" is no directory of walarc's own`, {
      hint: "nobody but the user that walarc runs as may write into it; move it away",
    });
  }

  /** Something waits for its own name to become free. */
  get hasInterrupted(): boolean {
    return this.#hasInterrupted;
  }

  /** Every name, in no order, a few thousand in memory at a time. */
  async *names(options: { signal: AbortSignal }): AsyncGenerator<string, void, void> {
    const directory = await this.#local(() => opendir(this.path, { bufferSize: NAMES_AT_ONCE }));
    for await (const entry of directory) {
      yield entry.name;
      options.signal.throwIfAborted();
    }
  }

  /** `undefined` when the name is gone. */
  async look(name: string): Promise<EntryStatus | undefined> {
    return this.#statusAt(name);
  }

  /**
   * The regular file of that name, open for reading, whatever else it may have become meanwhile.
   */
  async openFile(name: string): Promise<SpoolFile | "gone" | "no-file" | "unreadable"> {
    let handle: FileHandle;
    try {
      // Non-blocking, or a pipe would hold a thread until somebody writes into it.
      handle = await open(join(this.path, name), O_RDONLY | O_NOFOLLOW | O_NONBLOCK);
    } catch (error) {
      if (!isErrno(error)) throw error;
      if (error.code === "ENOENT") return "gone";
      if (["ELOOP", "ENXIO", "EISDIR", "ENODEV"].includes(error.code)) return "no-file";
      if (error.code === "EACCES" || error.code === "EPERM") return "unreadable";
      throw cannotUse(this.path, error);
    }
    const file = new SpoolFile(handle);
    if ((await file.status()).kind === "file") return file;
    await file[Symbol.asyncDispose]();
    return "no-file";
  }

  /** Deletes the name if it still stands for the content that was seen. */
  async remove(name: string, seen: EntryStatus): Promise<Removal> {
    const hidden = hiddenName(name);
    const taken = await this.#take(name, seen, hidden);
    if (taken === "done") await this.#local(() => unlink(join(this.path, hidden)));
    return { kind: taken };
  }

  /** Moves the name into `rejected/`, under the same name where that is free. */
  async reject(name: string, seen: EntryStatus): Promise<Removal> {
    const hidden = hiddenName(name);
    const taken = await this.#take(name, seen, hidden);
    if (taken !== "done") return { kind: taken };
    let as = name;
    while ((await this.#statusAt(join(REJECTED_DIRECTORY, as))) !== undefined) {
      as = `${name.slice(0, NAME_LENGTH_MAX)}.${randomBytes(4).toString("hex")}`;
    }
    // Nobody else writes there, so what was free is free.
    await this.#local(() =>
      rename(join(this.path, hidden), join(this.path, REJECTED_DIRECTORY, as)),
    );
    return { kind: "done", as };
  }

  /**
   * Renames, then looks what it was that got renamed: between any two calls a writer may have put
   * another file under the name. If so, it gets its name back.
   */
  async #take(name: string, seen: EntryStatus, to: string): Promise<Removal["kind"]> {
    const target = join(this.path, to);
    try {
      await rename(join(this.path, name), target);
    } catch (error) {
      if (isErrno(error) && error.code === "ENOENT") return "gone";
      throw cannotUse(this.path, error);
    }
    const found = await this.#statusAt(to);
    if (found !== undefined && isSameContent(found, seen)) return "done";
    await this.#giveBack(target, name);
    return "changed";
  }

  /** Where the name is taken again by now, this waits until it is free. */
  async #giveBack(from: string, name: string): Promise<void> {
    const to = join(this.path, name);
    const status = await this.#local(() => statusAt(from));
    if (status?.kind === "directory") {
      if ((await this.#statusAt(name)) === undefined) await this.#local(() => rename(from, to));
      else this.#hasInterrupted = true;
      return;
    }
    try {
      await link(from, to);
    } catch (error) {
      const code = isErrno(error) ? error.code : undefined;
      // Linux lets nobody link what belongs to another user (fs.protected_hardlinks).
      if (code === "EPERM") return this.#giveBackCopy(from, name);
      this.#hasInterrupted = true;
      if (code !== "EEXIST") throw cannotUse(this.path, error);
      return;
    }
    await this.#local(() => unlink(from));
  }

  /** What cannot be copied either gets a name in `rejected/` that a person sees. */
  async #giveBackCopy(from: string, name: string): Promise<void> {
    const file = await this.openFile(relative(this.path, from));
    if (file === "gone") return;
    if (file === "no-file" || file === "unreadable") {
      const shown = join(this.path, REJECTED_DIRECTORY, basename(from).slice(1));
      return this.#local(() => rename(from, shown));
    }
    await file[Symbol.asyncDispose]();
    // Should we be killed, it is swept as any unfinished hand-over is.
    const copy = join(this.path, `.walarc-push.${process.pid}.${randomBytes(6).toString("hex")}`);
    try {
      await copyFile(from, copy, constants.COPYFILE_EXCL);
      await sync(copy);
      await link(copy, join(this.path, name));
      await sync(this.path);
      await unlink(from);
    } catch (error) {
      this.#hasInterrupted = true;
      if (!isErrno(error) || error.code !== "EEXIST") throw cannotUse(this.path, error);
    } finally {
      await unlink(copy).catch(() => {});
    }
  }

  /**
   * Gives back what was being removed when the daemon was killed, or what a writer had put in the
   * place of what was to be removed. To be called while nothing is being removed.
   */
  async restoreInterrupted(): Promise<void> {
    if (!this.#hasInterrupted) return;
    this.#hasInterrupted = false;
    const rejected = join(this.path, REJECTED_DIRECTORY);
    for (const entry of await this.#local(() => readdir(rejected))) {
      const name = HIDDEN.exec(entry)?.[1];
      if (name !== undefined) await this.#giveBack(join(rejected, entry), name);
    }
  }

  /** How much lies in `rejected/`, and since when it has not changed. */
  async rejectedCount(): Promise<number> {
    const names = await this.#local(() => readdir(join(this.path, REJECTED_DIRECTORY)));
    return names.filter((name) => !HIDDEN.test(name) && !name.startsWith(SPOOL_LOCK)).length;
  }

  /** When `rejected/` last changed; where it is gone, everything is looked at anew. */
  async rejectedChangedNs(): Promise<bigint> {
    const found = await this.#statusAt(REJECTED_DIRECTORY);
    if (found?.kind !== "directory") this.#goodState = undefined;
    return found?.modifiedNs ?? 0n;
  }

  /** Room on its file system, for unprivileged processes. */
  async room(): Promise<{ freeBytes: number; totalBytes: number }> {
    const { bsize, bavail, blocks } = await this.#local(() => statfs(this.path));
    return { freeBytes: bavail * bsize, totalBytes: blocks * bsize };
  }

  async #statusAt(name: string): Promise<EntryStatus | undefined> {
    return this.#local(() => statusAt(join(this.path, name)));
  }

  async #local<T>(step: () => Promise<T>): Promise<T> {
    try {
      return await step();
    } catch (error) {
      throw cannotUse(this.path, error);
    }
  }
}

async function sync(path: string): Promise<void> {
  await using handle = await open(path, O_RDONLY);
  await handle.sync();
}

function hiddenName(name: string): string {
  return join(REJECTED_DIRECTORY, `.removing.${name}.${randomBytes(6).toString("hex")}`);
}
