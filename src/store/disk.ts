import { dirname } from "node:path";
import { setTimeout } from "node:timers/promises";
import { errno, isErrno, storeFailure } from "../disk/failure.ts";
import type { FileSystem, ReadableFile } from "../disk/file-system.ts";
import { NodeFileSystem } from "../disk/node-file-system.ts";
import { StoreRoot } from "../disk/root.ts";
import { StagedFile } from "../disk/staged-file.ts";
import { listTree } from "../disk/tree.ts";
import { WalarcError } from "../errors.ts";
import { clusterOfKey, clusterOfPrefix, isClusterName } from "./key.ts";
import { Objects } from "./objects.ts";
import type {
  ListedObject,
  OpenObject,
  Signalled,
  StagedObject,
  Store,
  StoredObject,
  StoreRoom,
} from "./store.ts";

const HIDDEN = /^clusters\/[^/]+\/(?:tmp|damaged)\/$/;
const PROBE_BYTES = 4096;

/** Pushes leave this much free, so that restart points and holds can be kept on a full disk. */
const RESERVE_BYTES = 1024 * 1024;
const RESERVE_FILES = 4;

/** So long the start waits for a cluster's directory that may be on a disk that hangs. */
const PATIENCE_MS = 5_000;

export interface DiskStoreOptions {
  readonly fileSystem?: FileSystem;
  readonly reserveBytes?: number;
}

/**
 * The store's promises on a local directory, which only one process may have open. How an object
 * becomes durable stands with `Objects`; here is what callers see of it.
 */
export class DiskStore implements Store {
  readonly isShared = false;
  readonly #root: StoreRoot;
  readonly #fileSystem: FileSystem;
  readonly #reserveBytes: number;
  readonly #objects: Objects;

  private constructor(root: StoreRoot, fileSystem: FileSystem, reserveBytes: number) {
    this.#root = root;
    this.#fileSystem = fileSystem;
    this.#reserveBytes = reserveBytes;
    this.#objects = new Objects(root.path, fileSystem);
  }

  /**
   * Opens the store in a directory, or makes one where there is nothing. Rejects with `usage` when
   * the directory is no store, or one of a format we do not know, and with `store-failed` when it
   * cannot be used now: locked by another daemon, unreadable.
   */
  static async open(path: string, options: DiskStoreOptions = {}): Promise<DiskStore> {
    const fileSystem = options.fileSystem ?? new NodeFileSystem();
    return doing(`open the store "${path}"`, async () => {
      using stack = new DisposableStack();
      const root = stack.use(await StoreRoot.open(path, fileSystem));
      const store = new DiskStore(root, fileSystem, options.reserveBytes ?? RESERVE_BYTES);
      const clusters = await store.#objects.start();
      await Promise.race([store.#sweep(clusters), patience()]);
      stack.move();
      return store;
    });
  }

  async stat(key: string, { signal }: Signalled): Promise<StoredObject | undefined> {
    signal.throwIfAborted();
    return doing(`look for "${key}"`, async () => {
      const found = await this.#fileSystem.stat(this.#objects.path(key));
      if (found?.kind === "file") return { key, storedBytes: found.sizeBytes };
      if (found !== undefined) throw new WalarcError("store-failed", `"${key}" is not a file`);
      await this.#requireCluster(clusterOfKey(key));
      return undefined;
    });
  }

  async open(key: string, { signal }: Signalled): Promise<OpenObject | undefined> {
    signal.throwIfAborted();
    return doing(`open "${key}"`, async () => {
      const file = await this.#fileSystem.open(this.#objects.path(key));
      if (file !== undefined) return new OpenFile(key, file);
      await this.#requireCluster(clusterOfKey(key));
      return undefined;
    });
  }

  async *list(
    prefix: string,
    { signal, after }: Signalled & { after?: string },
  ): AsyncGenerator<ListedObject, void, void> {
    try {
      await this.#requireCluster(clusterOfPrefix(prefix));
      const tree = {
        root: this.#root.path,
        fileSystem: this.#fileSystem,
        isHidden: (path: string) => HIDDEN.test(path),
      };
      for await (const key of listTree(tree, { prefix, after, signal })) yield { key };
    } catch (error) {
      throw storeFailure(error, `list "${prefix}"`);
    }
  }

  async clusters(options: Signalled): Promise<string[]> {
    options.signal.throwIfAborted();
    return doing("list the clusters", async () => {
      await this.#root.requirePresent();
      const names = (await this.#objects.clusters()).filter(isClusterName).sort();
      const used = await Promise.all(names.map((name) => this.#isUsed(name, options)));
      return names.filter((_, index) => used[index]);
    });
  }

  async stage(cluster: string, { signal }: Signalled): Promise<StagedObject> {
    signal.throwIfAborted();
    return doing(`stage an object of cluster "${cluster}"`, async () => {
      await this.#root.requireWritable();
      const file = await this.#objects.stage(cluster);
      try {
        await this.#requireRoom(dirname(file.path));
      } catch (error) {
        await file[Symbol.asyncDispose]();
        throw error;
      }
      return this.#staged(file);
    });
  }

  async settle(key: string, { signal }: Signalled): Promise<void> {
    signal.throwIfAborted();
    await doing(`settle "${key}"`, async () => {
      await this.#root.requirePresent();
      await this.#objects.settle(key);
    });
  }

  async replace(key: string, bytes: Uint8Array, options: Signalled): Promise<void> {
    options.signal.throwIfAborted();
    await doing(`replace "${key}"`, async () => {
      await this.#root.requireWritable();
      await using file = await this.#objects.stage(clusterOfKey(key));
      await file.write(bytes);
      await this.#objects.replace(file, key, options);
    });
  }

  async remove(key: string, { signal }: Signalled): Promise<void> {
    signal.throwIfAborted();
    await doing(`remove "${key}"`, async () => {
      await this.#root.requireWritable();
      await this.#objects.removeAll([key]);
    });
  }

  async removeAll(keys: readonly string[], { signal }: Signalled): Promise<void> {
    signal.throwIfAborted();
    await doing(`remove ${keys.length} objects`, async () => {
      await this.#root.requireWritable();
      await this.#objects.removeAll(keys);
    });
  }

  async probe({ signal }: Signalled): Promise<StoreRoom> {
    signal.throwIfAborted();
    return doing("write a probe", async () => {
      await this.#root.requireWritable();
      await using file = await StagedFile.create(this.#root.temporaryPath(), this.#fileSystem);
      await file.write(Buffer.alloc(PROBE_BYTES));
      await file.seal();
      return await this.#requireRoom(this.#root.path);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#root[Symbol.dispose]();
  }

  #staged(file: StagedFile): StagedObject {
    const objects = this.#objects;
    return {
      write: (bytes) =>
        doing("write an object", async () => {
          await file.write(bytes);
          await this.#requireRoom(dirname(file.path));
        }),
      publish: (key, options) =>
        doing(`publish "${key}"`, () => objects.publish(file, key, options)),
      repair: (key, options) => doing(`repair "${key}"`, () => objects.repair(file, key, options)),
      [Symbol.asyncDispose]: () => file[Symbol.asyncDispose](),
    };
  }

  async #sweep(clusters: string[]): Promise<void> {
    const sweeps = clusters.map((cluster) => this.#objects.sweep(cluster));
    for (const { reason } of rejected(await Promise.allSettled([this.#root.sweep(), ...sweeps]))) {
      // What stays wastes room, no more, and whoever wants to fetch from a failing disk still can.
      if (!isErrno(reason)) throw reason;
    }
  }

  /** A cluster that does not answer, or only with errors, may hold something: so it counts. */
  async #isUsed(cluster: string, options: Signalled): Promise<boolean> {
    const listing = this.list(`clusters/${cluster}/`, options);
    try {
      const first = await Promise.race([listing.next(), patience()]);
      return first?.done !== true;
    } catch (error) {
      if (!(error instanceof WalarcError)) throw error;
      return true;
    }
  }

  /** Rejects when "not there" may mean that the store, or the cluster's directory, is gone. */
  async #requireCluster(cluster: string | undefined): Promise<void> {
    await this.#root.requirePresent();
    if (cluster !== undefined) await this.#objects.requireCluster(cluster);
  }

  async #requireRoom(path: string): Promise<StoreRoom> {
    const { freeBytes, totalBytes, freeFiles } = await this.#fileSystem.room(path);
    if (freeBytes < this.#reserveBytes) {
      throw errno("ENOSPC", `only ${freeBytes} bytes are free, a reserve for small files`);
    }
    if (freeFiles !== undefined && freeFiles < RESERVE_FILES) {
      throw errno("ENOSPC", `only ${freeFiles} inodes are free, a reserve for small files`);
    }
    return { freeBytes, totalBytes };
  }
}

class OpenFile implements OpenObject {
  readonly notedSha256 = undefined;
  readonly storedBytes: number;
  readonly #key: string;
  readonly #file: ReadableFile;

  constructor(key: string, file: ReadableFile) {
    this.#key = key;
    this.#file = file;
    this.storedBytes = file.sizeBytes;
  }

  async read(position: number, length: number): Promise<Buffer> {
    const bytes = await doing(`read "${this.#key}"`, () => this.#file.read(position, length));
    if (bytes.length === length) return bytes;
    const end = position + bytes.length;
    throw new WalarcError("corrupt", `"${this.#key}" ends at byte ${end}, too early`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#file.close();
  }
}

/** Runs a step, and tells what was being done when the disk fails it. */
async function doing<T>(what: string, step: () => Promise<T>): Promise<T> {
  try {
    return await step();
  } catch (error) {
    throw storeFailure(error, what);
  }
}

async function patience(): Promise<undefined> {
  await setTimeout(PATIENCE_MS, undefined, { ref: false });
}

function rejected(results: PromiseSettledResult<unknown>[]): PromiseRejectedResult[] {
  return results.filter((result) => result.status === "rejected");
}
