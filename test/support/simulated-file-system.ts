import { basename, dirname } from "node:path";
import { errno } from "../../src/disk/failure.ts";
import type {
  DirectoryEntry,
  FileStatus,
  FileSystem,
  FileSystemRoom,
  ReadableFile,
  WritableFile,
} from "../../src/disk/file-system.ts";
import { WalarcError } from "../../src/errors.ts";
import { Chance } from "./chance.ts";
import { SimulatedDirectory, SimulatedFile, type SimulatedNode } from "./simulated-disk.ts";

export type Verb =
  | Exclude<keyof FileSystem, "resolve" | "lock">
  | "write"
  | "sync"
  | "read"
  | "close";

/** One call that goes wrong: the `nth` of its verb, counting from 1. */
export interface Fault {
  readonly verb: Verb;
  readonly nth: number;
  readonly code: string;
}

/** What a process gets once its machine has lost power, or it was killed: no answer any more. */
export class PowerLost extends Error {}

/**
 * A file system that forgets at a crash what was never synced, on either side of every promise that
 * POSIX makes: content of files and names in directories survive or do not, each for itself, until
 * the file or the directory is synced. It can lose power after any verb, and fail any verb.
 */
export class SimulatedFileSystem implements FileSystem {
  readonly #root: SimulatedDirectory;
  readonly #counts = new Map<Verb, number>();
  readonly #locks = new Set<string>();
  #steps = 0;
  #crashAfterStep = Number.POSITIVE_INFINITY;
  #hasPower = true;
  #faults: Fault[] = [];
  #losesWrite = false;

  constructor(root = new SimulatedDirectory()) {
    this.#root = root;
  }

  /** Verbs so far. */
  get steps(): number {
    return this.#steps;
  }

  get hasPower(): boolean {
    return this.#hasPower;
  }

  /** How often a verb was called. */
  count(verb: Verb): number {
    return this.#counts.get(verb) ?? 0;
  }

  /** The power fails right after the step: it has had its effect, and nobody hears of it. */
  crashAfterStep(step: number): void {
    this.#crashAfterStep = step;
  }

  /** `nth` counts from now. Replaces the faults that were set before. */
  failNext(...faults: Fault[]): void {
    this.#faults = faults.map((fault) => ({ ...fault, nth: this.count(fault.verb) + fault.nth }));
  }

  /** The next write succeeds as far as anybody is told, and writes nothing. */
  loseNextWrite(): void {
    this.#losesWrite = true;
  }

  /** The machine goes on, and only the process died: everything is as it left it. */
  afterKill(): SimulatedFileSystem {
    this.#hasPower = false;
    return new SimulatedFileSystem(this.#root);
  }

  /** The machine after a reboot, its disk in one of the states possible; the seed chooses. */
  afterCrash(seed: number): SimulatedFileSystem {
    this.#hasPower = false;
    return new SimulatedFileSystem(this.#root.survivor(new Chance(seed)));
  }

  async resolve(path: string): Promise<string | undefined> {
    return this.#find(path) === undefined ? undefined : path;
  }

  async stat(path: string): Promise<FileStatus | undefined> {
    await this.#step("stat");
    const node = this.#find(path);
    if (node === undefined) return undefined;
    const inode = BigInt(node.id);
    if (node instanceof SimulatedDirectory) {
      return { kind: "directory", sizeBytes: 0, mode: 0o700, device: 1n, inode };
    }
    return { kind: "file", sizeBytes: node.content.length, mode: 0o600, device: 1n, inode };
  }

  async makeDirectory(path: string): Promise<"made" | "exists"> {
    return this.#step("makeDirectory", () => {
      const parent = this.#parent(path);
      if (parent.get(basename(path)) !== undefined) return "exists";
      parent.set(basename(path), new SimulatedDirectory());
      return "made";
    });
  }

  async create(path: string): Promise<WritableFile> {
    return this.#step("create", () => {
      const parent = this.#parent(path);
      if (parent.get(basename(path)) !== undefined) throw errno("EEXIST", `create "${path}"`);
      const file = new SimulatedFile();
      parent.set(basename(path), file);
      return this.#writable(file);
    });
  }

  async open(path: string): Promise<ReadableFile | undefined> {
    return this.#step("open", () => {
      const file = this.#find(path);
      if (file === undefined) return undefined;
      if (file instanceof SimulatedDirectory) throw errno("EINVAL", `open "${path}"`);
      return this.#readable(file);
    });
  }

  async link(from: string, to: string): Promise<"linked" | "exists"> {
    return this.#step("link", () => {
      const node = this.#require(from);
      const parent = this.#parent(to);
      if (parent.get(basename(to)) !== undefined) return "exists";
      parent.set(basename(to), node);
      return "linked";
    });
  }

  async rename(from: string, to: string): Promise<void> {
    await this.#step("rename", () => {
      const node = this.#require(from);
      const existing = this.#find(to);
      if (existing === node) return; // Both names of one file: POSIX keeps both.
      this.#parent(to).set(basename(to), node);
      this.#parent(from).set(basename(from), undefined);
    });
  }

  async remove(path: string): Promise<"removed" | "absent"> {
    return this.#step("remove", () => {
      if (this.#find(path) === undefined) return "absent";
      this.#parent(path).set(basename(path), undefined);
      return "removed";
    });
  }

  async removeDirectory(path: string): Promise<"removed" | "occupied"> {
    return this.#step("removeDirectory", () => {
      const directory = this.#find(path);
      if (directory === undefined) return "removed";
      if (!(directory instanceof SimulatedDirectory)) throw errno("ENOTDIR", `remove "${path}"`);
      if (directory.names().length > 0) return "occupied";
      this.#parent(path).set(basename(path), undefined);
      return "removed";
    });
  }

  async syncDirectory(path: string): Promise<"synced" | "absent"> {
    return this.#step("syncDirectory", () => {
      const directory = this.#find(path);
      if (!(directory instanceof SimulatedDirectory)) return "absent";
      directory.sync();
      return "synced";
    });
  }

  async list(path: string): Promise<DirectoryEntry[] | undefined> {
    return this.#step("list", () => {
      const directory = this.#find(path);
      if (!(directory instanceof SimulatedDirectory)) return undefined;
      return directory.names().map((name) => {
        const isFile = directory.get(name) instanceof SimulatedFile;
        return { name, kind: isFile ? "file" : "directory" };
      });
    });
  }

  async room(): Promise<FileSystemRoom> {
    await this.#step("room");
    return { freeBytes: 2 ** 40, totalBytes: 2 ** 41, freeFiles: undefined };
  }

  async lock(path: string): Promise<Disposable> {
    if (this.#locks.has(path)) throw new WalarcError("store-failed", `"${path}" is locked`);
    this.#locks.add(path);
    return { [Symbol.dispose]: () => void this.#locks.delete(path) };
  }

  #writable(file: SimulatedFile): WritableFile {
    return {
      write: async (bytes) => {
        const copy = Buffer.from(bytes);
        const half = copy.subarray(0, copy.length >> 1);
        await this.#step(
          "write",
          () => this.#append(file, copy),
          () => file.append(half),
        );
      },
      sync: () =>
        this.#step(
          "sync",
          () => file.sync(),
          () => file.loseUnsynced(),
        ),
      sizeBytes: async () => {
        await this.#step("stat");
        return file.content.length;
      },
      close: () => this.#step("close"),
    };
  }

  #append(file: SimulatedFile, bytes: Buffer): void {
    if (!this.#losesWrite) file.append(bytes);
    this.#losesWrite = false;
  }

  #readable(file: SimulatedFile): ReadableFile {
    return {
      sizeBytes: file.content.length,
      read: async (position, length) => {
        await this.#step("read");
        return Buffer.from(file.content.subarray(position, position + length));
      },
      sync: () =>
        this.#step(
          "sync",
          () => file.sync(),
          () => file.loseUnsynced(),
        ),
      close: () => this.#step("close"),
    };
  }

  /** One verb: it happens, or fails with what a failure leaves behind, or the power is lost. */
  async #step<T = void>(
    verb: Verb,
    effect: () => T = () => undefined as T,
    failure: () => void = () => {},
  ): Promise<T> {
    await Promise.resolve(); // Others may come between, as on a real disk.
    if (!this.#hasPower) throw new PowerLost();
    this.#steps += 1;
    this.#counts.set(verb, this.count(verb) + 1);
    const fault = this.#faults.find((fault) => {
      return fault.verb === verb && fault.nth === this.count(verb);
    });
    const result = fault === undefined ? effect() : failure();
    if (this.#steps >= this.#crashAfterStep) {
      this.#hasPower = false;
      throw new PowerLost();
    }
    if (fault !== undefined) throw errno(fault.code, `injected into ${verb}`);
    return result as T;
  }

  #find(path: string): SimulatedNode | undefined {
    let node: SimulatedNode | undefined = this.#root;
    for (const name of path.split("/").filter((part) => part !== "")) {
      node = node instanceof SimulatedDirectory ? node.get(name) : undefined;
    }
    return node;
  }

  #require(path: string): SimulatedNode {
    const node = this.#find(path);
    if (node === undefined) throw errno("ENOENT", `no such file "${path}"`);
    return node;
  }

  #parent(path: string): SimulatedDirectory {
    const parent = this.#find(dirname(path));
    if (parent instanceof SimulatedDirectory) return parent;
    throw errno("ENOENT", `no such directory "${dirname(path)}"`);
  }
}
